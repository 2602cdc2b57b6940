"""Inference backends: one per model file type, behind one Protocol."""

from __future__ import annotations

from pathlib import Path

from dannet_core.errors import BackendError, ModelFileError
from dannet_core.inference.backends.backend import Backend, StrideOutput

__all__ = ["BACKEND_OF_SUFFIX", "Backend", "StrideOutput", "open_backend"]

BACKEND_OF_SUFFIX = {".safetensors": "pytorch", ".onnx": "onnxruntime", ".engine": "tensorrt"}
"""Which backend runs which file."""


def open_backend(path: str | Path, backend: str = "auto", device: str = "auto", threads: int = 0) -> Backend:
    """Open a model file with the backend that its suffix names.

    Args:
        path: `.safetensors`, `.onnx` or `.engine`.
        backend: ``auto``, or a backend's name to insist on.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads inside one operator; 0 = the runtime's own choice.

    Raises:
        ModelFileError: no such file, an unknown suffix, or a backend that does not read it.
        BackendError, MissingPackageError: the backend cannot start.
    """
    file = Path(path)
    name = BACKEND_OF_SUFFIX.get(file.suffix)
    if name is None:
        raise ModelFileError(f"{path}: got suffix '{file.suffix}', expected {', '.join(BACKEND_OF_SUFFIX)}")
    if not file.is_file():
        raise ModelFileError(f"{path}: no such model file: check the path, or make one with `dannet export`")
    if backend not in ("auto", name):
        raise ModelFileError(
            f"{path}: backend '{backend}' does not read {file.suffix} files, expected '{name}' or 'auto'"
        )
    if name == "pytorch":
        from dannet_core.inference.backends.pytorch import PyTorchBackend

        return PyTorchBackend.open(file, device, threads)
    if name == "onnxruntime":
        from dannet_core.inference.backends.onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(file, device, threads)
    raise BackendError(f"{path}: this version has no TensorRT runtime yet: use the .onnx it was built from")
