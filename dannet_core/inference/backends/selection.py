"""Which backend and which of several files of one model run best here: tried in order, with the reasons against."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from dannet_core.errors import DannetError, ModelFileError
from dannet_core.inference.backends.backend import Backend
from dannet_core.inference.gpu import find_gpu

SUFFIX_OF_BACKEND: Final = MappingProxyType(
    {
        "pytorch": ".safetensors",
        "openvino": ".onnx",
        "onnxruntime": ".onnx",
        "tensorrt": ".engine",
    }
)
"""Which backend runs which files. A new backend is a file here with an `open_file`, and a line in this table."""
INTEL_DEVICE: Final = re.compile(r"gpu(\.\d+)?|npu")
"""Devices that only OpenVINO has."""
LOG: Final = logging.getLogger("dannet_core.inference")
OpenFile = Callable[[str, Path, str], Backend]


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


def check_backend(backend: str) -> None:
    """Refuse a name that no backend has.

    Raises:
        ModelFileError: an unknown backend.
    """
    known = ("auto", *SUFFIX_OF_BACKEND)
    if backend not in known:
        raise ModelFileError(f"backend: got '{backend}', expected one of {', '.join(known)}")


def backends_of(suffix: str) -> list[str]:
    """Names of the backends that read such files, as in the table."""
    return [name for name, read in SUFFIX_OF_BACKEND.items() if read == suffix]


def backends_here(suffix: str, device: str) -> list[str]:
    """Names of the backends that could read such files on a device here, best first, each once."""
    names = [name for name, _ in _order(device, find_gpu() is not None) if SUFFIX_OF_BACKEND[name] == suffix]
    return list(dict.fromkeys(names))


def candidates(stem: Path, backend: str = "auto") -> dict[str, Path]:
    """Files of the model ``stem`` by suffix; with a backend's name only those that it reads."""
    wanted = SUFFIX_OF_BACKEND.values() if backend == "auto" else [SUFFIX_OF_BACKEND[backend]]
    paths = {suffix: stem.with_name(stem.name + suffix) for suffix in wanted}
    return {suffix: path for suffix, path in paths.items() if path.is_file()}


def choose(found: dict[str, Path], device: str, open_file: OpenFile, backend: str = "auto") -> Choice:
    """Open the best candidate that opens.

    On an NVIDIA GPU TensorRT, PyTorch, ONNX Runtime; on the CPU OpenVINO, ONNX Runtime, PyTorch; then all others.

    Args:
        found: files by suffix, at least one.
        device: see `choose_backend`.
        open_file: opens a file with a backend on a device.
        backend: ``auto``, or the only one to try.

    Raises:
        DannetError: none opens; what was against the last one, after what was against the others.
    """
    against: list[str] = []
    has_gpu = find_gpu() is not None
    if ".engine" in found and backend in ("auto", "tensorrt") and (device == "cpu" or not has_gpu):
        reason = "the CPU was asked for" if device == "cpu" else "no NVIDIA GPU here"
        against.append(f"{found['.engine'].name}: {reason}")
    failure: DannetError | None = None
    for name, where in _order(device, has_gpu):
        path = found.get(SUFFIX_OF_BACKEND[name])
        if path is None or backend not in ("auto", name):
            continue
        try:
            opened = open_file(name, path, where)
        except DannetError as error:
            against.append(f"{path.name}{_with(name)}: {error}")
            failure = error
            continue
        return _chosen(opened, path, against)
    said = "; ".join(against)
    raise (type(failure) if failure is not None else ModelFileError)(f"no file of this model runs here: {said}")


def choose_reader(path: Path, device: str, open_file: OpenFile) -> Choice:
    """Open one file with the best backend that reads it.

    Args:
        path: with a suffix of the table.
        device: see `choose_backend`.
        open_file: see `choose`.

    Raises:
        DannetError: no backend opens it; what the last one said.
    """
    readers = [one for one in _order(device, find_gpu() is not None) if SUFFIX_OF_BACKEND[one[0]] == path.suffix]
    if len(backends_of(path.suffix)) == 1 or not readers:
        opened = open_file(backends_of(path.suffix)[-1], path, device)
        return Choice(opened, path, "; ".join(filter(None, (_only(path), _remark(opened)))))
    against: list[str] = []
    for number, (name, where) in enumerate(readers):
        try:
            opened = open_file(name, path, where)
        except DannetError as error:
            if number == len(readers) - 1:
                raise
            against.append(f"{name}: {error}")
            continue
        return _chosen(opened, path, against)
    raise AssertionError("the last one opens or raises")


def _order(device: str, has_gpu: bool) -> Sequence[tuple[str, str]]:
    """Backends and the devices for them, best first; those of the table that nobody ranks come last."""
    order = list[tuple[str, str]]()
    if INTEL_DEVICE.fullmatch(device):
        return [("openvino", device), *_unranked(device)]
    if device != "cpu" and has_gpu:
        cuda = "cuda" if device == "auto" else device
        order = [("tensorrt", device), ("pytorch", cuda), ("onnxruntime", cuda)]
    if device in ("auto", "cpu"):
        order += [("openvino", "cpu")] if find_spec("openvino") is not None else []
        order += [("onnxruntime", "cpu"), ("pytorch", "cpu")]
    elif not has_gpu:
        order.append(("onnxruntime", device))
    return order + _unranked(device)


def _unranked(device: str) -> list[tuple[str, str]]:
    ranked = ("pytorch", "openvino", "onnxruntime", "tensorrt")
    return [(name, device) for name in SUFFIX_OF_BACKEND if name not in ranked]


def _chosen(opened: Backend, path: Path, against: Sequence[str]) -> Choice:
    if (opened.name, opened.device) == ("onnxruntime", "cpu") and find_spec("openvino") is None:
        against = [*against, "openvino: it is not installed (pip install openvino)"]
    reasons = (f"not {reason}" for reason in against)
    why = "; ".join(filter(None, ("the best that runs here", *reasons, _remark(opened))))
    LOG.info("%s on %s runs %s: %s", opened.name, opened.device, path, why)
    return Choice(opened, path, why)


def _remark(opened: Backend) -> str:
    """What is not as it would be at best, where a backend has something to say about that."""
    return str(getattr(opened, "remark", ""))


def _with(name: str) -> str:
    """Says which backend, where several read such files."""
    return f" with {name}" if len(backends_of(SUFFIX_OF_BACKEND[name])) > 1 else ""


def _only(path: Path) -> str:
    return f"the backend for {path.suffix} files"
