"""The data sets by name. A new one is a file with its `DataSetLayout` called `LAYOUT`, and its line in `_FILES`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dannet_core.class_set import CITYSCAPES, ClassSet
from dannet_core.data.dark_zurich import open_dark_zurich_pairs
from dannet_core.data.layout import DataSetLayout, open_split
from dannet_core.data.sample import DataSet, Pair
from dannet_core.errors import DataSetError

_FILES: Final = (
    "cityscapes",
    "dark_zurich",
    "nighttime_driving",
    "acdc",
)
DATA_SETS: Final = MappingProxyType[str, DataSetLayout](
    {layout.name: layout for layout in (import_module(f"dannet_core.data.{file}").LAYOUT for file in _FILES)}
)
"""The data sets by name."""
PAIRS: Final = MappingProxyType[str, Callable[[str | Path, str | Path | None], tuple[Pair, ...]]](
    {"dark-zurich": open_dark_zurich_pairs}
)
"""Readers of day-night pairs: root folder and optional pair list to pairs."""


def open_data_set(
    name: str,
    root: str | Path,
    split: str | None = None,
    *,
    need_images: bool = True,
    encoding: str | None = None,
    classes: ClassSet = CITYSCAPES,
) -> DataSet:
    """Open one split of a data set and check its files by their headers, which takes a second for thousands.

    Args:
        name: one of `DATA_SETS`.
        root: its folder, see the data set's own module for what lies inside.
        split: e.g. ``train``; None = the one to evaluate on.
        need_images: False opens the labels alone.
        encoding: ``label_ids`` or ``train_ids`` to insist on one kind of label files; None = see `DataSetLayout`.
        classes: what the ids in the label files mean.

    Raises:
        DataSetError: an unknown name or split, or any file missing, unpaired, unreadable or of the wrong size.
    """
    layout = _known(name)
    return open_split(layout, root, split or layout.evaluation_split, need_images, encoding, classes)


def open_data_sets(
    names: Sequence[str],
    roots: Sequence[str | Path],
    splits: Sequence[str] = (),
    encoding: str | None = None,
    classes: ClassSet = CITYSCAPES,
) -> list[DataSet]:
    """Open several data sets, each in its own root; see `open_data_set`.

    Args:
        names: of `DATA_SETS`.
        roots: as many as names.
        splits: none (each its own to evaluate on), one for all, or as many as names.
        encoding: see `open_data_set`.
        classes: see `open_data_set`.

    Raises:
        DataSetError: the numbers do not match, or any of the data sets is wrong.
    """
    if len(roots) != len(names) or len(splits) not in (0, 1, len(names)):
        given = f"{len(names)} data sets, {len(roots)} root folders and {len(splits)} splits"
        raise DataSetError(f"got {given}, expected one root for each data set, and one split for all or for each")
    each: Sequence[str | None] = splits or [None]
    if len(each) == 1:
        each = [each[0]] * len(names)
    return [open_data_set(*place, encoding=encoding, classes=classes) for place in zip(names, roots, each, strict=True)]


def open_pairs(name: str, root: str | Path, pair_list: str | Path | None = None) -> tuple[Pair, ...]:
    """Open a data set's day-night pairs; ``pair_list`` names a CSV of them where it does not lie in the root.

    Raises:
        DataSetError: an unknown name, a data set without pairs, or any file missing, unreadable or of the wrong size.
    """
    _known(name)
    if name not in PAIRS:
        raise DataSetError(f"{name}: has no day-night pairs, expected one of {', '.join(PAIRS)}")
    return PAIRS[name](root, pair_list)


def _known(name: str) -> DataSetLayout:
    if name not in DATA_SETS:
        raise DataSetError(f"data set: got '{name}', expected one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
