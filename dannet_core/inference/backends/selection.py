"""Which of several files of one model runs best here: tried in order, with the reasons against those passed over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from dannet_core.errors import DannetError, ModelFileError
from dannet_core.inference.backends.backend import Backend
from dannet_core.inference.gpu import find_gpu

BACKEND_OF_SUFFIX: Final = MappingProxyType(
    {
        ".safetensors": "pytorch",
        ".onnx": "onnxruntime",
        ".engine": "tensorrt",
    }
)
"""Which backend runs which file. A new backend is a file here with an `open_file`, and its name in this table."""
LOG: Final = logging.getLogger("dannet_core.inference")


class Choice(NamedTuple):
    """An opened backend.

    Attributes:
        backend: ready to run.
        path: the file it runs.
        why: why this one, in a few words, with what was against better ones.
    """

    backend: Backend
    path: Path
    why: str


def candidates(stem: Path, backend: str = "auto") -> dict[str, Path]:
    """Files of the model ``stem`` by suffix; with a backend's name only those that it reads.

    Raises:
        ModelFileError: an unknown backend.
    """
    if backend != "auto" and backend not in BACKEND_OF_SUFFIX.values():
        known = ", ".join(("auto", *BACKEND_OF_SUFFIX.values()))
        raise ModelFileError(f"backend: got '{backend}', expected one of {known}")
    paths = {suffix: stem.with_name(stem.name + suffix) for suffix in BACKEND_OF_SUFFIX}
    return {
        suffix: path
        for suffix, path in paths.items()
        if path.is_file() and backend in ("auto", BACKEND_OF_SUFFIX[suffix])
    }


def choose(found: dict[str, Path], device: str, open_file: Callable[[Path, str], Backend]) -> Choice:
    """Open the best candidate that opens: TensorRT, PyTorch on CUDA, ONNX Runtime, PyTorch on the CPU.

    Args:
        found: files by suffix, at least one.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        open_file: opens a file on a device.

    Raises:
        DannetError: none opens; what was against the last one, after what was against the others.
    """
    against: list[str] = []
    failure: DannetError | None = None
    for suffix, where in _order(found, device, against):
        try:
            backend = open_file(found[suffix], where)
        except DannetError as error:
            against.append(f"{found[suffix].name}: {error}")
            failure = error
            continue
        why = "; ".join(["the best that runs here", *(f"not {reason}" for reason in against)])
        LOG.info("%s on %s runs %s: %s", backend.name, backend.device, found[suffix], why)
        return Choice(backend, found[suffix], why)
    said = "; ".join(against)
    raise (type(failure) if failure is not None else ModelFileError)(f"no file of this model runs here: {said}")


def _order(found: dict[str, Path], device: str, against: list[str]) -> Sequence[tuple[str, str]]:
    has_gpu = device != "cpu" and find_gpu() is not None
    order = [(".engine", device), (".safetensors", "cuda" if device == "auto" else device)] if has_gpu else []
    if not has_gpu and ".engine" in found:
        against.append(
            f"{found['.engine'].name}: {'the CPU was asked for' if device == 'cpu' else 'no NVIDIA GPU here'}"
        )
    order.append((".onnx", device))
    if device in ("auto", "cpu"):
        order.append((".safetensors", "cpu"))
    order += [(suffix, device) for suffix in found if suffix not in (".engine", ".onnx", ".safetensors")]
    return [(suffix, where) for suffix, where in order if suffix in found]
