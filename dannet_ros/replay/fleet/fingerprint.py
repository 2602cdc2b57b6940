"""What a bag's result depends on: it stands while all of that is the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import dannet_core
import dannet_ros
from dannet_core.errors import DannetError
from dannet_core.folders import files_below
from dannet_core.inference.backends import SUFFIX_OF_BACKEND
from dannet_core.inference.engine_file import side_file
from dannet_core.report.page import page_missing
from dannet_core.settings import to_plain
from dannet_ros.replay.bag_options import Settings
from dannet_ros.replay.frame_scores import ModelScore
from dannet_ros.replay.one_bag import named_models

Plain = dict[str, Any]
"""Values that JSON gives back as they were."""
_CHUNK: Final = 1 << 20
_NOT_OF_RESULTS: Final = ("bag", "out", "overwrite", "jobs", "ray", "model", "compare", "classes", "labels")
"""Settings that change no result, and those that are files, which count by what is in them."""
_LIVE: Final = "live"
_PACKAGES: Final = ("numpy", "opencv-python-headless", "opencv-python", "onnxruntime", "onnxruntime-gpu", "openvino",
                    "torch", "tensorrt", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13", "pycuda", "numba", "llvmlite",
                    "pillow", "rosbags")  # fmt: skip
_SOURCES: Final = ("*.py", "*.cu*")


def fingerprint(settings: Settings, software: Plain, runs_on: Sequence[Plain]) -> Plain:
    """Everything but the bag that its result depends on.

    Args:
        settings: of the evaluation; its number of threads too changes single pixels.
        software: see `software_here`.
        runs_on: see `describe`.

    Raises:
        DannetError: a file of a model, of the classes or of labels cannot be read.
    """
    plain = to_plain(settings)
    return {
        "software": software,
        "runs_on": list(runs_on),
        "models": {name: _files(path, _model_files(path)) for name, path in named_models(settings)},
        "classes": None if settings.classes is None else _files(settings.classes, [settings.classes]),
        "labels": [_labels(one) for one in settings.labels],
        "settings": {
            key: value
            for key, value in plain.items()
            if key not in _NOT_OF_RESULTS and not key.startswith(_LIVE)
        },
    }  # fmt: skip


def describe(models: Sequence[ModelScore]) -> list[Plain]:
    """How a machine runs the opened models: another backend may round otherwise."""
    return [
        {"model": model.name, "backend": model.description["backend"], "device": model.description["device"],
         "outputs": model.outputs_by}
        for model in models
    ]  # fmt: skip


def inputs_state(settings: Settings) -> list[Any]:
    """Of the files of models, classes and labels what `bag_files` gives of a bag's."""
    files = [file for _, path in named_models(settings) for file in _model_files(path)]
    files += [settings.classes] if settings.classes is not None else []
    folders = [Path(one) for one in settings.labels if Path(one).is_dir()]
    return [bag_files(path) for path in (*files, *folders)]


@cache
def _software() -> tuple[tuple[str, str], ...]:
    found = [
        ("dannet_ros", dannet_core.__version__),
        ("its code", _code()),
        ("pages", "no" if page_missing() else "yes"),
    ]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def software_here() -> Plain:
    """Versions of what computes, by package; of this package its code too, and whether it can write pages."""
    return dict(_software())


def _code() -> str:
    digest = hashlib.sha256()
    for package in (dannet_core, dannet_ros):
        folder = Path(str(package.__file__)).parent
        for file in sorted(file for pattern in _SOURCES for file in folder.rglob(pattern)):
            digest.update(f"{file.relative_to(folder)}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In which parts two fingerprints differ, in words."""
    words = []
    for key in sorted({*one, *other}):
        first, second = one.get(key), other.get(key)
        if first == second:
            continue
        if key in ("settings", "software") and isinstance(first, dict) and isinstance(second, dict):
            words += [f"{part} was {first.get(part)}, is {second.get(part)}" for part in sorted({*first, *second})
                      if first.get(part) != second.get(part)]  # fmt: skip
        else:
            words.append(f"{key} differ" if key.endswith("s") else f"{key} differs")
    return words


def bag_files(bag: Path) -> list[list[Any]]:
    """Name, bytes, times of change and number of each file of a bag: while these are the same, so is what is in them.

    Nothing that a program can do leaves a file's ctime as it was when its bytes change.
    """
    listed: list[list[Any]] = []
    for name, file in _below(bag):
        try:
            stat = file.stat()
        except OSError as error:
            listed.append([name, str(error.strerror)])
            continue
        listed.append([name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino])
    return listed


def bag_hash(bag: Path) -> str:
    """SHA-256 over the names and bytes of a bag's files."""
    return _hash(_below(bag))


def file_hash(file: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _below(folder: Path) -> list[tuple[str, Path]]:
    if not folder.is_dir():
        return [(folder.name, folder)]
    files = files_below(folder, lambda _: None)
    return [(os.fspath(file.relative_to(folder)), file) for file in files]


def _hash(files: Iterable[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, file in files:
        try:
            content = file_hash(file)
        except OSError as error:
            content = str(error.strerror)
        digest.update(os.fsencode(name) + b"\0" + content.encode() + b"\n")
    return digest.hexdigest()


def _model_files(path: Path) -> list[Path]:
    """The file, or all of that name that the best is chosen from; with what describes an engine beside it."""
    named = [path] if path.suffix in SUFFIX_OF_BACKEND.values() else [
        path.with_name(path.name + suffix) for suffix in dict.fromkeys(SUFFIX_OF_BACKEND.values())
    ]  # fmt: skip
    return [one for file in named for one in (file, side_file(file)) if one.is_file()]


def _labels(given: str) -> Plain:
    folder = Path(given)
    return {"given": given, "sha256": _hash(_below(folder)) if folder.is_dir() else None}


def _files(given: Path, files: Sequence[Path]) -> Plain:
    try:
        return {"given": str(given), "sha256": {file.name: file_hash(file) for file in files}}
    except OSError as error:
        raise DannetError(f"{given}: cannot read: {error.strerror}") from error
