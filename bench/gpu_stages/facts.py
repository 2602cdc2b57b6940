"""What machine this is, and its ceilings: what no program on it can exceed."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from typing import Any, Final

from gpu_stages.here import torch_cuda
from gpu_stages.record import Record, event_ms, run

PACKAGES: Final = (
    "torch", "torchvision", "timm", "numpy", "onnx", "onnxruntime", "opencv-python-headless", "safetensors", "pycuda",
    "cupy-cuda13x", "tensorrt", "tensorrt-rtx-cu13", "nvidia-cuda-nvrtc", "nvidia-cudnn-cu13", "pytest",
)  # fmt: skip
TOOLS: Final = ("nvcc", "g++", "gcc", "git", "make", "nvidia-smi")
ASKED: Final = "driver_version,memory.total,memory.used,clocks.sm,clocks.mem,power.draw,power.limit,temperature.gpu"
PRODUCT_SIDE: Final = 8192
COPIED_BYTES: Final = 1 << 32
FRAME_BYTES: Final = 1920 * 1080 * 3


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def nvidia_smi() -> dict[str, str]:
    if shutil.which("nvidia-smi") is None:
        return {"skipped": "it is not here"}
    command = ["nvidia-smi", f"--query-gpu={ASKED}", "--format=csv,noheader", "--id=0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return dict(zip(ASKED.split(","), map(str.strip, done.stdout.strip().split(",")), strict=True))


def product(torch: Any, kind: str) -> dict[str, float]:
    """Two large square matrices."""
    a, b = (torch.randn(PRODUCT_SIDE, PRODUCT_SIDE, device="cuda").to(getattr(torch, kind)) for _ in range(2))
    out = torch.empty_like(a)
    times = event_ms(torch, lambda: torch.mm(a, b, out=out), 20)
    flops = 2 * PRODUCT_SIDE**3
    return {"tflop_per_s": round(flops / times["p50"] / 1e9, 1), "best": round(flops / times["min"] / 1e9, 1)}


def copy_on_device(torch: Any) -> dict[str, float]:
    """Bytes read and written, together."""
    a = torch.zeros(COPIED_BYTES, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    ms = event_ms(torch, lambda: b.copy_(a), 20)["p50"]
    return {"tb_per_s": round(2 * COPIED_BYTES / ms / 1e9, 3)}


def copy_frame(torch: Any, *, up: bool, pinned: bool) -> dict[str, float]:
    """One 1080p rgb8 picture between host and device."""
    host = torch.empty(FRAME_BYTES, dtype=torch.uint8, pin_memory=pinned)
    device = torch.empty(FRAME_BYTES, dtype=torch.uint8, device="cuda")
    target, source = (device, host) if up else (host, device)
    ms = event_ms(torch, lambda: target.copy_(source, non_blocking=True), 20)["p50"]
    return {"ms": ms, "gb_per_s": round(FRAME_BYTES / ms / 1e6, 1)}


def ceilings(record: Record) -> None:
    import torch

    record.add("torch", {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()})
    for kind in ("float16", "bfloat16", "float32"):
        record.attempt(f"product {kind}", lambda kind=kind: product(torch, kind))
    record.attempt("copy on the device", lambda: copy_on_device(torch))
    for up in (True, False):
        for pinned in (True, False):
            name = f"1080p frame {'up' if up else 'down'}, {'pinned' if pinned else 'pageable'}"
            record.attempt(name, lambda up=up, pinned=pinned: copy_frame(torch, up=up, pinned=pinned))
    one = torch.empty(1, device="cuda")
    record.attempt("empty launch us", lambda: round(event_ms(torch, one.zero_, 200)["p50"] * 1e3, 2))


def facts(record: Record, _arguments: argparse.Namespace) -> None:
    record.add("python", {"version": sys.version.split()[0], "cpus": os.cpu_count(), "kernel": platform.release()})
    record.add("packages", {name: found for name in PACKAGES if (found := version(name))})
    record.add("tools", [name for name in TOOLS if shutil.which(name)])
    record.attempt("nvidia-smi", nvidia_smi)
    if torch_cuda() is None:
        record.add("ceilings", {"skipped": "torch with CUDA is not installed"})
    else:
        ceilings(record)


if __name__ == "__main__":
    run(facts)
