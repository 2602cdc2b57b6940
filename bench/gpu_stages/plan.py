"""Which stages there are, in order of value: what each needs, may take and does."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpu_stages.here import CORE, ROOT, Here


@dataclass(frozen=True)
class Given:
    """What the caller gave, as far as stages ask for it.

    Attributes:
        work: folder for models and figures.
        released: a checkout of the released code, or None.
        tests: files with tests marked gpu.
    """

    work: Path
    released: Path | None = None
    tests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """One stage: a process of its own.

    Attributes:
        name: as for ``--stages``.
        limit_s: the most it may take.
        does: what it measures, completing "would ...".
        needs: of `gpu_stages.here.HOW_TO_GET`, beside the GPU.
        words: of its command after Python; ``{work}`` and the like are filled in. Empty: the module of its name.
        takes_released: whether it measures the released code too.
    """

    name: str
    limit_s: int
    does: str
    needs: tuple[str, ...]
    words: tuple[str, ...] = ()
    takes_released: bool = False

    def command(self, given: Given, limit_s: float) -> list[str]:
        """Its command line."""
        if self.words:
            work, record = str(given.work), str(self.record(given))
            filled = [word.replace("{work}", work).replace("{record}", record) for word in self.words]
            return [sys.executable, *filled, *(given.tests if self.name == "tests" else ())]
        own = ["--record", str(self.record(given)), "--limit", f"{limit_s:.0f}", "--work", str(given.work)]
        released = ["--released", str(given.released)] if self.takes_released and given.released else []
        return [sys.executable, "-m", f"gpu_stages.{self.name}", *own, *released]

    def record(self, given: Given) -> Path:
        """Where its figures are."""
        return given.work / f"{self.name}.json"

    def described(self, given: Given) -> str:
        """What it does, and what of it is left out for want of the released code."""
        without = ", without the released code: no --released DIR"
        return self.does + (without if self.takes_released and given.released is None else "")


_PYTEST: Final = ("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "--durations", "8", "-ra")
# The project's own options name a plugin that a bare pytest does not have.
_ANY_PYTEST: Final = ("-o", "addopts=", "--import-mode=importlib")
_TENSORRT: Final = (
    "bench/inference.py", "--arch", "pspnet", "efficientvit", "--backend", "tensorrt", "--input-size", "540", "960",
    "--soak", "500", "--work", "{work}", "--out", "{record}",
)  # fmt: skip
_NODE: Final = (
    "bench/node_rate.py", "--seconds", "20", "--outputs", "label", "--model", "{work}/pspnet.safetensors", "--out",
    "{record}",
)  # fmt: skip

_CAMERAS: Final = ("bench/cameras.py", "--torch", "pspnet", "--seconds", "5", "--out", "{record}")

STAGES: Final = (
    Stage(
        "facts",
        60,
        "name the machine and measure its ceilings: matrix products in fp16, bf16 and fp32, copies",
        (),
    ),
    Stage(
        "tests",
        120,
        "run the tests marked gpu",
        (*CORE, "pytest", "onnx", "onnxruntime"),
        (*_PYTEST, *_ANY_PYTEST),
    ),
    Stage(
        "kernels",
        70,
        "compare both kernels with the CPU paths in every encoding and time them, and raise the flag for NaN",
        (*CORE, "pycuda", "NVRTC or nvcc"),
    ),
    Stage(
        "frame",
        60,
        "time a whole 1080p frame around a network that only copies: graphs, overlap, stages, memory",
        (*CORE, "pycuda", "NVRTC or nvcc"),
    ),
    Stage(
        "networks",
        190,
        "time PyTorch CUDA for the paper's and the light networks at 960x540 and 1920x1080, beside the released loop",
        (*CORE, "torch with CUDA", "safetensors"),
        takes_released=True,
    ),
    Stage(
        "training",
        130,
        "time a training step at the paper's sizes in bf16 and fp32, beside the released step",
        (*CORE, "torch with CUDA", "safetensors"),
        takes_released=True,
    ),
    Stage(
        "tensorrt",
        120,
        "build and time TensorRT engines of PSPNet and EfficientViT at 960x540",
        (*CORE, "pycuda", "NVRTC or nvcc", "TensorRT", "torch with CUDA", "onnx", "timm", "safetensors"),
        _TENSORRT,
    ),
    Stage(
        "node",
        60,
        "run the node at 30 Hz on PSPNet by PyTorch CUDA, between a camera and a subscriber on DDS",
        (*CORE, "rclpy", "torch with CUDA", "safetensors"),
        _NODE,
    ),
    Stage(
        "cameras",
        45,
        "time PSPNet at 960x540 for one to three cameras as one batch",
        (*CORE, "torch with CUDA", "safetensors"),
        _CAMERAS,
    ),
)
NAMES: Final = tuple(stage.name for stage in STAGES)


def gpu_test_files(here: Here) -> tuple[str, ...]:
    """Files with tests marked gpu, without those whose packages are not here: collecting them would stop the others."""
    kept = []
    for path in sorted((ROOT / "test").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        wants_more = "hypothesis" in text and not here.has("hypothesis")
        if "pytest.mark.gpu" in text and not wants_more and "bench" not in path.parts:
            kept.append(str(path.relative_to(ROOT)))
    return tuple(kept)


def reason_against(stage: Stage, given: Given, here: Here, *, assume_gpu: bool = False) -> str:
    """Why a stage cannot run here; empty where it can.

    Args:
        stage: it.
        given: see there.
        here: the machine.
        assume_gpu: say it as if there were a GPU.
    """
    against = here.missing((*(() if assume_gpu else ("GPU",)), *stage.needs))
    if not against and stage.name == "node" and not assume_gpu and not (given.work / "pspnet.safetensors").is_file():
        return "the stage networks left no pspnet.safetensors"
    return against
