"""Which files `predict` labels, and under which names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dannet_core.folders import files_below

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES: Final = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})
ALWAYS_WRITTEN: Final = ("label", "color", "overlay")
"""NAME_KIND.png of every image; a video has NAME_overlay.mp4."""
KINDS: Final = (*ALWAYS_WRITTEN, "confidence", "relit")

_APPLE_DOUBLE: Final = b"\x00\x05\x16\x07"
_MAX_NAME_BYTES: Final = 220
"""File systems hold 255; the kind, the suffix and the mark of a file that is not finished need the rest."""


@dataclass
class Inputs:
    """What was found.

    Attributes:
        jobs: image and video files by the name their outputs get: the path below the given folder, without suffix.
        problems: one line for each input that is left out.
        own_outputs: files left alone because an earlier run wrote them.
    """

    jobs: dict[str, Path] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    own_outputs: int = 0


def is_video(path: Path) -> bool:
    """Whether the suffix is a video's."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_inputs(inputs: Sequence[Path]) -> Inputs:
    """Image and video files given by name or in folders, linked ones too; see `dannet_core.folders`.

    Left alone in folders: what an earlier run wrote (NAME_label.png, NAME_color.png and NAME_overlay.png side by side,
    and NAME_overlay.mp4 where a video NAME is) and the ``._`` files of macOS.
    """
    found = Inputs()
    by_name: dict[str, list[Path]] = {}
    for given in inputs:
        for name, path in _named(given, found):
            by_name.setdefault(name, []).append(path)
    for name, paths in by_name.items():
        if len(paths) > 1:
            found.problems.append(
                f"{' and '.join(map(str, paths))} would both write {name}_label.png: predict them into two folders"
            )
        elif len(os.fsencode(paths[0].stem)) > _MAX_NAME_BYTES:
            found.problems.append(f"{paths[0]}: a name of more than {_MAX_NAME_BYTES} bytes leaves no room for _label")
        else:
            found.jobs[name] = paths[0]
    return found


def overwritten_inputs(jobs: dict[str, Path], folder: Path, kinds: Iterable[str]) -> dict[str, Path]:
    """Jobs that would put an output in the place of an input, by name: that input.

    Args:
        jobs: see `Inputs`.
        folder: where the outputs go.
        kinds: what is written of an image.
    """
    inputs = {path.parent.resolve() / path.name: path for path in jobs.values()}
    clashes = {}
    for name, path in jobs.items():
        files = [f"{name}_overlay.mp4"] if is_video(path) else [f"{name}_{kind}.png" for kind in kinds]
        taken = [inputs[target] for file in files if (target := folder.resolve() / file) in inputs]
        if taken:
            clashes[name] = taken[0]
    return clashes


def _named(given: Path, found: Inputs) -> Iterator[tuple[str, Path]]:
    """Files of one input with their names; what is wrong with it goes to ``found``."""
    if not given.exists():
        found.problems.append(f"{given}: no such file or folder")
        return
    files = files_below(given, found.problems.append) if given.is_dir() else [given]
    wanted = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
    own = _own_outputs(wanted) if given.is_dir() else set[Path]()
    found.own_outputs += len(own)
    if len(wanted) == len(own):
        but = " but what an earlier run wrote" if own else ""
        found.problems.append(
            f"{given}: no image or video{but}, expected {', '.join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))}"
        )
    for path in wanted:
        if path not in own and not _is_apple_double(path):
            yield str(path.relative_to(given).with_suffix("")) if given.is_dir() else path.stem, path


def _own_outputs(files: Iterable[Path]) -> set[Path]:
    """A name that ends in _color alone proves nothing: data sets have such files too."""
    there = set(files)
    videos = {path.stem for path in there if is_video(path)}
    own = set()
    for path in there:
        source, _, kind = path.stem.rpartition("_")
        if path.suffix == ".png" and kind in KINDS:
            if all(path.with_name(f"{source}_{one}.png") in there for one in ALWAYS_WRITTEN):
                own.add(path)
        elif path.suffix == ".mp4" and kind == "overlay" and source in videos:
            own.add(path)
    return own


def _is_apple_double(path: Path) -> bool:
    """Where a file system cannot hold a file's attributes, macOS keeps them beside it under its name."""
    if not path.name.startswith("._"):
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(_APPLE_DOUBLE)) == _APPLE_DOUBLE
    except OSError:
        return False
