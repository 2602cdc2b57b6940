"""The bags among what a user names: bags, single files, and folders of them to any depth."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dannet_core.folders import files_below
from dannet_ros.replay.bag_metadata import NAME
from dannet_ros.replay.bag_reading import BagError
from dannet_ros.replay.bag_report import JSON_NAME
from dannet_ros.replay.bag_storage import is_storage

_ROS1: Final = ".bag"
_OURS: Final = b'"dannet_ros evaluate_bag'
_MAX_NAME: Final = 200
"""Bytes of a folder's name, with room for what is put around it while it is written."""


@dataclass(frozen=True)
class FoundBag:
    """One bag.

    Attributes:
        path: as a user would name it.
        name: its folder's among the results; no other bag of the search has it.
    """

    path: Path
    name: str


@dataclass
class FoundBags:
    """What a search gave.

    Attributes:
        bags: each once, in the order in which they were named, those of a folder by their paths.
        single: one bag was named, and not by a folder that it lies in.
        notes: what was left out on purpose, one line each.
        problems: where it could not be looked, one line each.
    """

    bags: list[FoundBag] = field(default_factory=list)
    single: bool = False
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def find_bags(paths: Sequence[Path], out: Path | None = None) -> FoundBags:
    """Find every bag.

    A folder with a ``metadata.yaml`` is a bag, and so is one whose storage files have lost it. In a folder with bags
    in folders below, storage files that lie about are bags of their own. Hidden folders are not entered.

    Args:
        paths: bags, and folders of bags.
        out: where results are written: what lies there already is left out without a word.

    Raises:
        BagError: a path that is not there, or, of several, a folder without a bag.
    """
    found = FoundBags()
    chosen: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    for path in paths:
        if not path.exists():
            raise BagError(f"{path}: no such bag")
        inside = _in_folder(path, found.problems, left_out) if path.is_dir() else [path]
        if not inside and len(paths) > 1:
            raise BagError(f"{path}: no bag in it, expected folders with {NAME}, or .mcap or .db3 files")
        # Of the only one the reader says best what is wrong with it.
        chosen += inside or [path]
    found.single = len(paths) == 1 and chosen == list(paths)
    if not found.single:
        found.problems = [_shown(problem) for problem in found.problems]
        found.problems += [f"{_shown(path)}: its name is no text (UTF-8): rename it" for path in chosen if _odd(path)]
        chosen = [path for path in chosen if not _odd(path)]
    found.notes = [note for place, note in left_out if out is None or out.resolve() not in place.resolve().parents]
    once = _each_once(chosen, found.notes)
    found.bags = [FoundBag(path, name) for path, name in zip(once, names_of(once), strict=True)]
    return found


def _in_folder(folder: Path, problems: list[str], notes: list[tuple[Path, str]]) -> list[Path]:
    if (folder / NAME).is_file():
        return [folder]
    files = [file for file in files_below(folder, problems.append) if not _hidden(file.relative_to(folder))]
    every = {file.parent for file in files if file.name == NAME}
    results = {bag for bag in every if _is_result(bag)}
    bags = {bag for bag in every if every.isdisjoint(bag.parents)}
    notes += [(bag, f"{bag} left out: an evaluation wrote it") for bag in sorted(results)]
    notes += [(bag, f"{bag} left out: it lies inside another bag") for bag in sorted(every - bags - results)]
    loose: dict[Path, list[Path]] = {}
    for file in files:
        if (is_storage(file) or file.suffix == _ROS1) and bags.isdisjoint(file.parents):
            loose.setdefault(file.parent, []).append(file)
    bags -= results
    # From below: whether a folder's files are one bag depends on what was found in the folders under it.
    for parent in sorted(loose, key=lambda one: len(one.parts), reverse=True):
        alone = not any(parent in bag.parents for bag in bags)
        of_one = [file for file in loose[parent] if alone and is_storage(file)]
        bags |= {parent} if of_one else set()
        bags |= set(loose[parent]).difference(of_one)
    return sorted(bags)


def _odd(path: Path) -> bool:
    """Whether a path has bytes that no JSON and no page can hold."""
    return str(path) != _shown(path)


def _shown(text: Path | str) -> str:
    return str(text).encode("utf-8", "backslashreplace").decode()


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_result(bag: Path) -> bool:
    """Whether `evaluate_bag` wrote it: the same drive once more, with its labels."""
    try:
        with (bag.parent / JSON_NAME).open("rb") as file:
            return _OURS in file.read(200)
    except OSError:
        return False


def _each_once(paths: Sequence[Path], notes: list[str]) -> list[Path]:
    taken: dict[Path, Path] = {}
    real = {path: path.resolve() for path in paths}
    every = set(real.values())
    for path in paths:
        same = taken.get(real[path])
        whole = next((one for one in [real[path].parent] if one in every and path.is_file()), None)
        if same is not None:
            notes.append(f"{path}: the same bag as {same}: counted once" if path != same else
                         f"{path}: named twice: counted once")  # fmt: skip
        elif whole is not None:
            notes.append(f"{path}: a part of {whole}: counted once, with it")
        else:
            taken[real[path]] = path
    return list(taken.values())


def names_of(paths: Sequence[Path]) -> list[str]:
    """A name for each path that tells it from the others: its own, with its folders' where that is not enough."""
    parts = [_parts(path) for path in paths]
    depths = [1] * len(parts)
    for _ in range(max(map(len, parts), default=0)):
        names = ["_".join(one[-depth:]) for one, depth in zip(parts, depths, strict=True)]
        often = Counter(name.casefold() for name in names)
        depths = [depth + (often[name.casefold()] > 1) for name, depth in zip(names, depths, strict=True)]
    taken: set[str] = set()
    return [_untaken("_".join(one[-depth:]), taken) for one, depth in zip(parts, depths, strict=True)]


def _parts(path: Path) -> list[str]:
    return [part for part in Path(os.path.abspath(path)).parts if part.strip("/")]  # noqa: PTH100  keeps links' names


def _untaken(name: str, taken: set[str]) -> str:
    plain = os.fsencode(name.lstrip("."))[:_MAX_NAME].decode(errors="ignore") or "bag"
    choices = (plain, *(f"{plain}_{number}" for number in range(2, len(taken) + 3)))
    chosen = next(one for one in choices if one.casefold() not in taken)
    taken.add(chosen.casefold())
    return chosen
