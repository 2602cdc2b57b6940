"""The kernels compiled by NVRTC, NVIDIA's compiler as a library: no toolkit, no C++ compiler, no GPU needed."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from dannet_core.errors import BackendError

FOLDER: Final = Path(__file__).parent
SOURCE: Final = "frame.cu"
HEADERS: Final = ("frame_math.cuh",)
MAJOR_VERSIONS: Final = ("13", "12", "11.2")


def find_nvrtc() -> Any | None:
    """The library of a CUDA installation or of a pip package (``nvidia-cuda-nvrtc``; torch brings it); None without."""
    names = [f"libnvrtc.so.{version}" for version in MAJOR_VERSIONS]
    for folder in _pip_folders():
        for path in (folder / name for name in names):
            if path.is_file():
                # NVRTC opens this one by its bare name, which only finds it where it is loaded already.
                for builtins in sorted(folder.glob("libnvrtc-builtins.so*")):
                    ctypes.CDLL(str(builtins))
                return ctypes.CDLL(str(path))
    for name in names:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    return None


def compile_cubin(nvrtc: Any, compute_capability: str, options: Sequence[str] = ()) -> bytes:
    """Machine code of both kernels for one kind of GPU.

    Args:
        nvrtc: from `find_nvrtc`.
        compute_capability: e.g. ``8.7``.
        options: further ones for the compiler.

    Raises:
        BackendError: the compiler does not know that GPU, or found a mistake.
    """
    headers = [(FOLDER / name).read_bytes() for name in HEADERS]
    strings = ctypes.c_char_p * len(HEADERS)
    program = ctypes.c_void_p()
    _check(
        nvrtc,
        nvrtc.nvrtcCreateProgram(
            ctypes.byref(program),
            (FOLDER / SOURCE).read_bytes(),
            SOURCE.encode(),
            len(HEADERS),
            strings(*headers),
            strings(*(name.encode() for name in HEADERS)),
        ),
    )
    try:
        words = [f"--gpu-architecture=sm_{compute_capability.replace('.', '')}", "--std=c++17", *options]
        code = nvrtc.nvrtcCompileProgram(program, len(words), (ctypes.c_char_p * len(words))(*map(str.encode, words)))
        _check(nvrtc, code, lambda: _text(nvrtc, program, "ProgramLog").decode(errors="replace"))
        return _text(nvrtc, program, "CUBIN")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(nvrtc: Any, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def _check(nvrtc: Any, code: int, log: Any = None) -> None:
    if code == 0:
        return
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
    said = nvrtc.nvrtcGetErrorString(code).decode()
    detail = " ".join(log().strip("\0").split())[:300] if log is not None else ""
    raise BackendError(f"kernels: NVRTC failed: {said}: {detail}")


def _pip_folders() -> Iterator[Path]:
    spec = importlib.util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or []) if spec is not None else []:
        for name in ("cu13", "cuda_nvrtc"):
            yield Path(root) / name / "lib"
