"""PyTorch CUDA through the project's door: every network at two sizes, the network alone, and the released loop."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import inference
import torch

from dannet_core import NightSegmenter, preset
from dannet_core.deploy.benchmark import BenchmarkOptions, as_json, matmul_rate, measure, seeded_pictures, with_rates
from dannet_core.inference.backends.pytorch import PyTorchBackend, TorchOptions
from dannet_core.networks import load_weights
from dannet_core.networks.flops import count_flops
from dannet_core.networks.weights import load_metadata
from gpu_stages.record import Record, event_ms, run
from gpu_stages.sizes import CAMERA, SIZES

OPTIONS: Final = BenchmarkOptions(CAMERA, frames=100, warm_up=10)
ORDER: Final = ("pspnet", "efficientvit", "refinenet", "deeplabv2", "lraspp")
NEEDS_S: Final = 12.0
COMPILE_NEEDS_S: Final = 60.0


def through_the_door(model: Path, size: tuple[int, int]) -> dict[str, Any]:
    """What a user of the `.safetensors` gets."""
    with NightSegmenter.load(model, preset("paper", input_size=size), device="cuda") as segmenter:
        metadata, waits = segmenter.metadata, hidden_waits(segmenter)
        labels = segmenter.segment(seeded_pictures(CAMERA)[0], with_relit=False).labels
        measured = measure(segmenter, model, OPTIONS, lambda: None)
    classes = len(set(labels[::7, ::7].reshape(-1).tolist()))
    return as_json(with_rates(measured, metadata)) | {"waits_in_submit": waits, "classes_seen": classes}


def hidden_waits(segmenter: NightSegmenter) -> list[str]:
    """Lines where `submit` waits for the GPU, which ends all overlap: by torch's own debug mode."""
    pictures = seeded_pictures(CAMERA)
    segmenter.warm_up(CAMERA)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            segmenter.submit(pictures[1], with_relit=False)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        segmenter.collect()
    return sorted({f"{Path(one.filename).name}:{one.lineno} {str(one.message)[:80]}" for one in caught})


def network_alone(model: Path, size: tuple[int, int], *, tuned: bool) -> dict[str, Any]:
    """The network in fp16 and channels_last as one CUDA graph, as the weights have it: norms are not folded.

    Args:
        model: `.safetensors`.
        size: (height, width) of its input.
        tuned: let cuDNN try its algorithms.
    """
    was, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, tuned
    try:
        net = load_weights(model).cuda().half().eval().to(memory_format=torch.channels_last)
        image = torch.randn(1, 3, *size, device="cuda", dtype=torch.half).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                for _ in range(3):
                    net.at_stride(image)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                net.at_stride(image)
            times = event_ms(torch, graph.replay, 50)
    finally:
        torch.backends.cudnn.benchmark = was
    return rate(model, size, times)


def rate(model: Path, size: tuple[int, int], times: dict[str, float]) -> dict[str, Any]:
    """Times with what they mean against the matrix product's rate, measured now."""
    flops, (ceiling, _) = count_flops(load_metadata(model), size), matmul_rate("cuda")
    reached = flops / times["p50"] / 1e9
    share = round(reached / ceiling, 3) if ceiling else None
    return {"ms": times, "gflop": round(flops / 1e9, 1), "tflop_per_s": round(reached, 1), "share_of_product": share}


def compiled(model: Path, size: tuple[int, int]) -> dict[str, Any]:
    """With torch.compile, which takes its minute first."""
    backend = PyTorchBackend.open(model, "cuda", options=TorchOptions(compile=True))
    with NightSegmenter(backend, preset("paper", input_size=size)) as segmenter:
        return as_json(measure(segmenter, model, OPTIONS, lambda: None))


def agreement(model: Path, size: tuple[int, int]) -> dict[str, float]:
    """Share of equal labels, half precision against single; random weights put classes close together."""
    labels = []
    for precision in ("fp32", "fp16"):
        backend = PyTorchBackend.open(model, "cuda", options=TorchOptions(precision=precision))
        with NightSegmenter(backend, preset("paper", input_size=size)) as segmenter:
            labels.append(segmenter.segment(seeded_pictures(CAMERA)[0], with_relit=False).labels)
    return {"equal_labels": round(float((labels[0] == labels[1]).mean()), 5)}


def released(arch: str, checkout: Path) -> dict[str, Any]:
    options = SimpleNamespace(
        device="cuda", released_input_size=list(inference.RELEASED_INPUT_SIZE), released_frames=20, warm_up=5
    )
    return inference.released_loop(arch, checkout, options)


def ratio(record: Record, arch: str) -> None:
    """How many times the released loop's rate is reached."""
    ours = record.values.get(f"{arch} 960x540", {}).get("latency_ms")
    theirs = record.values.get(f"{arch} released loop", {}).get("latency_ms")
    if ours and theirs:
        record.add(f"{arch} released over ours", round(theirs["p50"] / ours["p50"], 2))


def one_network(record: Record, arch: str, arguments: argparse.Namespace) -> None:
    model = record.attempt(f"{arch} weights", lambda: inference.make_weights(arch, arguments.work).name, NEEDS_S)
    if model is None:
        return
    path = arguments.work / model
    for size in SIZES:
        name = f"{arch} {size[1]}x{size[0]}"
        record.attempt(name, lambda size=size: through_the_door(path, size), NEEDS_S)
        record.attempt(f"{name} network alone", lambda s=size: network_alone(path, s, tuned=False), NEEDS_S)
        record.attempt(f"{name} network alone, tuned", lambda s=size: network_alone(path, s, tuned=True), NEEDS_S)
        torch.cuda.empty_cache()
    record.attempt(f"{arch} fp16 against fp32", lambda: agreement(path, SIZES[0]), NEEDS_S)
    if arguments.released is not None and arch in inference.RELEASED_CLASSES:
        record.attempt(f"{arch} released loop", lambda: released(arch, arguments.released), NEEDS_S)
        ratio(record, arch)
    torch.cuda.empty_cache()


def networks(record: Record, arguments: argparse.Namespace) -> None:
    if not torch.cuda.is_available():
        sys.exit("networks: torch finds no GPU here, though it was built for CUDA: driver and CUDA may not fit")
    for arch in ORDER:
        one_network(record, arch, arguments)
    path = arguments.work / "pspnet.safetensors"
    record.attempt("pspnet 960x540, torch.compile", lambda: compiled(path, SIZES[0]), COMPILE_NEEDS_S)


if __name__ == "__main__":
    run(networks)
