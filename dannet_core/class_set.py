"""A class set is data: names, colours, ids in label files, which classes stand still. Cityscapes' 19 are built in."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import yaml

from dannet_core.classes import (
    CITYSCAPES_CLASS_SHARES,
    CLASS_COLORS,
    CLASS_NAMES,
    IGNORE_ID,
    LABEL_ID_TO_TRAIN_ID,
    STATIC_CLASSES,
)
from dannet_core.errors import SettingsError

MAX_CLASSES: Final = 255
UNKNOWN: Final = "unknown"
"""What reports call pixels that were given no label."""
_GOLDEN_RATIO: Final = 0.618033988749895
_SHOWN: Final = 4

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ClassSet:
    """2 to 255 classes; a class's place in it is its train id.

    Attributes:
        name: what messages call it.
        names: of the classes, all different.
        colors: RGB, 0..255 each.
        label_ids: of each class, the ids that mean it in label files with ids of their own, such as ``*_labelIds.png``.
        static: train ids of the classes that stand still between the two pictures of a pair (DANNet, section 3.4).
        ignored_ids: further ids in such files that mean "not labelled", besides 255.
        shares: a_k of equation 1 where they are known, each above 0; None = counted from the labels, or all alike.

    Raises:
        SettingsError: on construction: anything that does not fit, saying what.
    """

    name: str
    names: tuple[str, ...]
    colors: tuple[Color, ...]
    label_ids: tuple[tuple[int, ...], ...]
    static: tuple[int, ...] = ()
    ignored_ids: tuple[int, ...] = ()
    shares: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        count = len(self.names)
        _require(2 <= count <= MAX_CLASSES, self.name, f"got {count} classes, expected 2 to {MAX_CLASSES}")
        _require(all(self.names), self.name, "got a class without a name")
        _require(
            UNKNOWN not in self.names, self.name, f"got class '{UNKNOWN}', which pixels without a label are called"
        )
        double = next((name for name in self.names if self.names.count(name) > 1), None)
        _require(double is None, self.name, f"got class '{double}' twice, expected different names")
        _require(len(self.colors) == len(self.label_ids) == count, self.name, "got colours or ids of other classes")
        _require(
            all(len(color) == 3 and all(0 <= part <= 255 for part in color) for color in self.colors),
            self.name,
            "got a colour that is none, expected [red, green, blue] of 0 to 255 each",
        )
        self._check_ids()
        _require(all(0 <= one < count for one in self.static), self.name, "got a static class that is none")
        if self.shares is not None:
            fits = len(self.shares) == count and all(0 < share <= 1 for share in self.shares)
            _require(fits, self.name, f"got shares {self.shares}, expected one of each class, above 0 and up to 1")

    def _check_ids(self) -> None:
        taken: dict[int, str] = dict.fromkeys(self.ignored_ids, "ignore")
        for name, ids in zip(self.names, self.label_ids, strict=True):
            for one in ids:
                _require(
                    0 <= one < IGNORE_ID, self.name, f"class '{name}': got id {one}, expected 0 to {IGNORE_ID - 1}"
                )
                _require(one not in taken, self.name, f"id {one} is both '{taken.get(one)}' and '{name}', expected one")
                taken[one] = name
        _require(all(0 <= one <= IGNORE_ID for one in self.ignored_ids), self.name, "ignore: expected ids of 0 to 255")

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        """How many classes, of what, and the first of them."""
        shown = ", ".join(self.names[:_SHOWN]) + (", ..." if len(self.names) > _SHOWN else "")
        return f"the {len(self.names)} classes of {self.name} ({shown})"

    @cached_property
    def colormap(self) -> npt.NDArray[np.uint8]:
        """256 x 3 uint8 RGB by train id, black elsewhere (255 included)."""
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: len(self)] = self.colors
        return table

    @cached_property
    def train_ids(self) -> npt.NDArray[np.uint8]:
        """(256,) uint8: train id of every label id, 255 where it is not labelled or none of this set's."""
        table = np.full(256, IGNORE_ID, dtype=np.uint8)
        for train_id, ids in enumerate(self.label_ids):
            table[list(ids)] = train_id
        return table

    @cached_property
    def unknown_label_ids(self) -> npt.NDArray[np.uint8]:
        """(256,) uint8: 1 for every id that may not stand in a label file with ids of its own."""
        unknown = np.ones(256, dtype=np.uint8)
        unknown[[one for ids in self.label_ids for one in ids]] = 0
        unknown[[*self.ignored_ids, IGNORE_ID]] = 0
        return unknown

    def last_id(self, label_ids: bool) -> tuple[int | None, str]:
        """The largest id that label files may hold besides 255, where all below it may stand there too, and in words.

        Args:
            label_ids: of files with ids of their own; False = of files with train ids.
        """
        if not label_ids:
            return len(self) - 1, f"0..{len(self) - 1} or {IGNORE_ID}"
        known = np.flatnonzero(self.unknown_label_ids[:IGNORE_ID] == 0)
        last = int(known[-1])
        if known.size == last + 1:
            return last, f"0..{last} or {IGNORE_ID}"
        return None, f"{', '.join(map(str, known))} or {IGNORE_ID}, as {self.name} has them"

    @property
    def known_shares(self) -> tuple[float, ...]:
        """``shares``, or all alike: then re-weighting changes nothing."""
        return self.shares or (1 / len(self),) * len(self)


def _require(fits: bool, name: str, problem: str) -> None:
    if not fits:
        raise SettingsError(f"class set {name}: {problem}")


CITYSCAPES: Final = ClassSet(
    "cityscapes",
    CLASS_NAMES,
    CLASS_COLORS,
    tuple((label_id,) for label_id in LABEL_ID_TO_TRAIN_ID),
    STATIC_CLASSES,
    tuple(one for one in range(max(LABEL_ID_TO_TRAIN_ID) + 1) if one not in LABEL_ID_TO_TRAIN_ID),
    CITYSCAPES_CLASS_SHARES,
)
"""The built-in class set."""


def require_same_classes(model: ClassSet, data: ClassSet, where: str) -> None:
    """Raise SettingsError that names both unless a model and data (``where`` says which) have the same classes."""
    if model.names != data.names:
        raise SettingsError(f"classes: the model has {model}, but {where} has {data}, expected the same")


def made_up_color(index: int) -> Color:
    """A colour for a class that has none: far from its neighbours' on the colour circle."""
    red, green, blue = colorsys.hsv_to_rgb(
        (index * _GOLDEN_RATIO) % 1, 0.55 + 0.4 * (index % 2), 0.9 - 0.25 * (index % 3)
    )
    return round(255 * red), round(255 * green), round(255 * blue)


def read_class_set(path: str | Path) -> ClassSet:
    """Read a class set from YAML.

    ``classes`` is a list of names, or of mappings with ``name`` and, where they are known, ``color`` ([R, G, B]),
    ``ids`` (in label files; without: the class's place), ``static`` (false) and ``share``; ``ignore`` lists further ids
    that are not labelled; ``name`` names the set (without: the file).

    Raises:
        SettingsError: the file is missing or no YAML, or something in it does not fit; the message says what.
    """
    file = Path(path).expanduser()
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot read the class set: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not a YAML file: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or not isinstance(content.get("classes"), list):
        raise SettingsError(f"{path}: got no list 'classes', expected one: classes: [{{name: road, color: [0, 0, 0]}}]")
    unknown = sorted(set(map(str, content)) - {"name", "classes", "ignore"})
    if unknown:
        raise SettingsError(f"{path}: unknown key '{unknown[0]}', expected name, classes, ignore")
    name = str(content.get("name", file.stem))
    entries = [_entry(path, index, entry) for index, entry in enumerate(content["classes"])]
    return _from_entries(path, name, entries, content.get("ignore", []))


def _from_entries(path: str | Path, name: str, entries: Sequence[Mapping[str, Any]], ignore: Any) -> ClassSet:
    shares = [entry["share"] for entry in entries if "share" in entry]
    if shares and len(shares) < len(entries):
        raise SettingsError(f"{path}: got shares of {len(shares)} of {len(entries)} classes, expected all or none")
    try:
        return ClassSet(
            name,
            tuple(str(entry["name"]) for entry in entries),
            tuple(entry.get("color", made_up_color(index)) for index, entry in enumerate(entries)),
            tuple(entry.get("ids", (index,)) for index, entry in enumerate(entries)),
            tuple(index for index, entry in enumerate(entries) if entry.get("static", False)),
            _integers(f"{path}: ignore", ignore),
            tuple(shares) or None,
        )
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def _entry(path: str | Path, index: int, entry: Any) -> dict[str, Any]:
    if isinstance(entry, str):
        return {"name": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise SettingsError(f"{path}: class {index}: got {entry!r}, expected a name, or a mapping with one")
    where = f"{path}: class '{entry['name']}'"
    unknown = sorted(set(map(str, entry)) - {"name", *_CHECKS})
    if unknown:
        raise SettingsError(f"{where}: unknown key '{unknown[0]}', expected name, {', '.join(_CHECKS)}")
    return {key: _CHECKS[key](f"{where}: {key}", value) if key in _CHECKS else value for key, value in entry.items()}


def _integers(where: str, values: Any) -> tuple[int, ...]:
    listed = [values] if type(values) is int else values
    if not isinstance(listed, list) or not all(type(value) is int for value in listed):
        raise SettingsError(f"{where}: got {values!r}, expected a list of whole numbers")
    return tuple(listed)


def _boolean(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{where}: got {value!r}, expected true or false")
    return value


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"{where}: got {value!r}, expected a number above 0 and up to 1")
    return float(value)


_CHECKS: Final[dict[str, Callable[[str, Any], Any]]] = {
    "color": _integers,
    "ids": _integers,
    "static": _boolean,
    "share": _number,
}
