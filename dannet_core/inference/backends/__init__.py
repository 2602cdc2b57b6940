"""Inference backends: one per model file type, behind one Protocol."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from dannet_core.errors import ModelFileError
from dannet_core.inference.backends.backend import Backend, StrideOutput
from dannet_core.inference.backends.selection import BACKEND_OF_SUFFIX, Choice, candidates, choose

__all__ = ["BACKEND_OF_SUFFIX", "Backend", "Choice", "StrideOutput", "choose_backend", "open_backend"]


def open_backend(path: str | Path, backend: str = "auto", device: str = "auto", threads: int = 0) -> Backend:
    """Open a model file with the backend that its suffix names, or the best one of a name without a suffix.

    Args:
        path: `.safetensors`, `.onnx` or `.engine`; or such a name without its suffix, see `choose_backend`.
        backend: ``auto``, or a backend's name to insist on.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads inside one operator; 0 = the runtime's own choice.

    Raises:
        ModelFileError: no such file, an unknown suffix, or a backend that does not read it.
        BackendError, MissingPackageError: the backend cannot start.
    """
    return choose_backend(path, backend, device, threads).backend


def choose_backend(path: str | Path, backend: str = "auto", device: str = "auto", threads: int = 0) -> Choice:
    """Like `open_backend`, and say why this one.

    For ``models/night`` with ``night.engine``, ``night.safetensors`` and ``night.onnx`` beside each other: TensorRT if
    the engine fits this GPU, else PyTorch on CUDA, else ONNX Runtime, else PyTorch on the CPU.
    """
    file = Path(path)
    if file.suffix in BACKEND_OF_SUFFIX:
        name = BACKEND_OF_SUFFIX[file.suffix]
        if not file.is_file():
            raise ModelFileError(f"{path}: no such model file: check the path, or make one with `dannet export`")
        if backend not in ("auto", name):
            raise ModelFileError(
                f"{path}: backend '{backend}' does not read {file.suffix} files, expected '{name}' or 'auto'"
            )
        return Choice(_open(file, device, threads), file, f"the backend for {file.suffix} files")
    found = candidates(file, backend)
    if not found:
        got = f"got suffix '{file.suffix}', expected" if file.is_file() or file.suffix else "no such model: expected"
        raise ModelFileError(f"{path}: {got} {', '.join(BACKEND_OF_SUFFIX)}")
    return choose(found, device, lambda one, where: _open(one, where, threads))


def _open(file: Path, device: str, threads: int) -> Backend:
    """Imported only here: a backend's runtime costs nothing until a file of its suffix is opened."""
    module = import_module(f"{__name__}.{BACKEND_OF_SUFFIX[file.suffix]}")
    backend: Backend = module.open_file(file, device, threads)
    return backend
