"""CUDA's errors in words that say what to do."""

from __future__ import annotations

from typing import Final

from dannet_core.errors import EngineError

OUT_OF_MEMORY: Final = "out of memory"
STICKY: Final = (
    "illegal memory access",
    "illegal address",
    "illegal instruction",
    "misaligned address",
    "invalid address space",
    "invalid program counter",
    "hardware stack error",
    "unspecified launch failure",
    "launch timed out",
    "device-side assert",
    "uncorrectable ECC",
    "uncorrectable NVLink",
    "external process",
)
"""After these every call in this process fails: the driver keeps the error until the process ends."""
LOST: Final = (
    "no CUDA-capable device",
    "device is lost",
    "GPU is lost",
    "unknown error",
    "initialization error",
    "driver shutting down",
    "device unavailable",
    "devices unavailable",
    "not yet initialized",
    "invalid device ordinal",
)
TOO_OLD: Final = ("driver version is insufficient", "no kernel image", "unsupported toolchain", "provided PTX")


def engine_error(doing: str, error: BaseException, free_mib: int | None = None) -> EngineError:
    """The error to raise for what CUDA or TensorRT said.

    Args:
        doing: what failed, e.g. ``"tensorrt: copying a frame to the GPU"``.
        error: what pycuda or TensorRT raised.
        free_mib: free memory of the GPU, where it could still be asked.
    """
    said = " ".join(str(error).split()) or type(error).__name__
    folded = said.lower()
    if OUT_OF_MEMORY in folded or type(error).__name__ == "MemoryError":
        free = "" if free_mib is None else f" ({free_mib} MiB free)"
        advice = (
            f"the GPU has not enough memory{free}: end other programs on it, or build the engine for a smaller input"
        )
        return EngineError(f"{doing}: {said}: {advice}", fatal=False)
    if _is_one_of(folded, STICKY):
        return EngineError(
            f"{doing}: {said}: the GPU context of this process is lost: start the process again", fatal=True
        )
    if _is_one_of(folded, LOST):
        return EngineError(
            f"{doing}: {said}: the GPU is gone: check `nvidia-smi` and start the process again", fatal=True
        )
    if _is_one_of(folded, TOO_OLD):
        return EngineError(f"{doing}: {said}: driver and CUDA do not fit: update the NVIDIA driver", fatal=True)
    return EngineError(f"{doing}: {said}", fatal=False)


def _is_one_of(folded: str, phrases: tuple[str, ...]) -> bool:
    return any(phrase.lower() in folded for phrase in phrases)
