"""Inference backends, each for one model file type, behind one Protocol."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from dannet_core.errors import ModelFileError
from dannet_core.inference.backends.backend import Backend, StrideOutput
from dannet_core.inference.backends.selection import (
    INTEL_DEVICE,
    SUFFIX_OF_BACKEND,
    Choice,
    candidates,
    check_backend,
    choose,
    choose_reader,
)

__all__ = [
    "INTEL_DEVICE",
    "SUFFIX_OF_BACKEND",
    "Backend",
    "Choice",
    "StrideOutput",
    "choose_backend",
    "open_backend",
]


def open_backend(path: str | Path, backend: str = "auto", device: str = "auto", threads: int = 0) -> Backend:
    """Open a model file with the best backend that reads it here, or the best file of a name without a suffix.

    Args:
        path: `.safetensors`, `.onnx` or `.engine`; or such a name without its suffix, see `choose_backend`.
        backend: ``auto``, or a backend's name to insist on.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``; with OpenVINO also an Intel ``gpu``, ``gpu.N`` or ``npu``.
        threads: CPU threads inside one operator; 0 = the runtime's own choice.

    Raises:
        ModelFileError: no such file, an unknown suffix, or a backend that does not read it.
        BackendError, MissingPackageError: the backend cannot start.
    """
    return choose_backend(path, backend, device, threads).backend


def choose_backend(path: str | Path, backend: str = "auto", device: str = "auto", threads: int = 0) -> Choice:
    """Like `open_backend`, and say why this one.

    For ``models/night`` with ``night.engine``, ``night.safetensors`` and ``night.onnx`` beside each other: TensorRT if
    the engine fits this GPU, else PyTorch on CUDA, else ONNX Runtime on CUDA; without an NVIDIA GPU OpenVINO where it
    is installed, else ONNX Runtime, else PyTorch. An `.onnx` that is named goes by the same order.
    """
    file = Path(path)
    check_backend(backend)

    def open_file(name: str, one: Path, where: str) -> Backend:
        return _open(name, one, where, threads)

    if file.suffix in SUFFIX_OF_BACKEND.values():
        if not file.is_file():
            raise ModelFileError(f"{path}: no such model file: check the path, or make one with `dannet export`")
        if backend == "auto":
            return choose_reader(file, device, open_file)
        if SUFFIX_OF_BACKEND[backend] != file.suffix:
            readers = [f"'{name}'" for name, suffix in SUFFIX_OF_BACKEND.items() if suffix == file.suffix]
            raise ModelFileError(
                f"{path}: backend '{backend}' does not read {file.suffix} files, "
                f"expected {', '.join(readers)} or 'auto'"
            )
        opened = open_file(backend, file, device)
        return Choice(opened, file, "; ".join(filter(None, ["as asked", str(getattr(opened, "remark", ""))])))
    found = candidates(file, backend)
    if not found:
        got = f"got suffix '{file.suffix}', expected" if file.is_file() or file.suffix else "no such model: expected"
        raise ModelFileError(f"{path}: {got} {', '.join(dict.fromkeys(SUFFIX_OF_BACKEND.values()))}")
    return choose(found, device, open_file, backend)


def _open(name: str, file: Path, device: str, threads: int) -> Backend:
    """Imported only here: a backend's runtime costs nothing until it is to open a file."""
    module = import_module(f"{__name__}.{name}")
    backend: Backend = module.open_file(file, device, threads)
    return backend
