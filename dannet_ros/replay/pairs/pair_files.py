"""Pairs on disk in Dark Zurich's layout, with a record and a contact sheet."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from dannet_core.atomic_files import write_whole
from dannet_core.errors import ImageError
from dannet_core.pixels import Rgb, write_png
from dannet_ros.replay.bag_reading import BagError
from dannet_ros.replay.pairs.contact_sheet import SheetPair, draw_sheet, small
from dannet_ros.replay.pairs.drive import Drive

SHEET_NAME: Final = "pair_drives.png"
_LIST: Final = "lists/zurich_dn_pair_train.csv"


@dataclass(frozen=True)
class FramePair:
    """A pair of frames.

    Attributes:
        night, day: their drives.
        night_at, day_at: their places in the drives' arrays.
        distance_m, angle_deg: between them; NaN without positions.
    """

    night: Drive
    night_at: int
    day: Drive
    day_at: int
    distance_m: float
    angle_deg: float

    @property
    def apart(self) -> str:
        """How far, in words."""
        if math.isnan(self.distance_m):
            return "distance unknown"
        return f"{self.distance_m:.1f} m, {self.angle_deg:.0f} deg"


@dataclass
class _Side:
    """Pictures of one drive as they are written.

    Attributes:
        written: stem of the file below ``rgb_anon`` by place in the drive's arrays.
        brightness: mean of the pixels, of each.
        thumbs: small pictures of those that go onto the sheet.
    """

    written: dict[int, str] = field(default_factory=dict)
    brightness: list[float] = field(default_factory=list)
    thumbs: dict[int, Rgb] = field(default_factory=dict)


class PairFiles:
    """Writes into a folder."""

    def __init__(self, folder: Path, drives: Sequence[Drive], sheet: int) -> None:
        """Prepare.

        Args:
            folder: an empty one.
            drives: all, for the names of the sequences.
            sheet: how many pairs go onto the contact sheet.
        """
        self._folder, self._sheet = folder, sheet
        self._names = dict(zip(map(id, drives), _sequences(drives), strict=True))
        self._sides = {id(drive): _Side() for drive in drives}
        self.size: tuple[int, int] | None = None

    def write(self, pairs: Sequence[FramePair]) -> list[dict[str, Any]]:
        """Write pictures, lists and the sheet; one record of plain values for every pair that could be written.

        A picture that is damaged or of another size is left out with its pair, and counted in its drive.

        Raises:
            BagError: the drives' pictures are of different sizes, or none could be read.
            OutputError: the folder cannot be written to.
        """
        shown = set(_evenly(pairs, self._sheet))
        for drive, wanted in _wanted(pairs, night=True):
            self._pictures(drive, wanted, {pairs[one].night_at for one in shown if pairs[one].night is drive})
        pairs_left = [pair for pair in pairs if pair.night_at in self._sides[id(pair.night)].written]
        for drive, wanted in _wanted(pairs_left, night=False):
            self._pictures(drive, wanted, {pairs[one].day_at for one in shown if pairs[one].day is drive})
        whole = [pair for pair in pairs_left if pair.day_at in self._sides[id(pair.day)].written]
        self._remove_single(pairs_left, whole)
        if not whole:
            raise BagError(f"{pairs[0].night.bag.path}: none of the {len(pairs)} pairs can be read: "
                           f"{dict(pairs[0].night.left_out + pairs[0].day.left_out)}")  # fmt: skip
        records = [self._record(pair) for pair in whole]
        self._lists(records)
        self._draw([pairs[one] for one in sorted(shown) if pairs[one] in whole], len(whole))
        return records

    def brightness(self, night: bool, drives: Sequence[Drive]) -> float:
        """Mean of the written pictures, 0..255."""
        return float(np.mean([one for drive in drives if drive.night is night
                              for one in self._sides[id(drive)].brightness]))  # fmt: skip

    def _pictures(self, drive: Drive, wanted: set[int], shown: set[int]) -> None:
        side, sequence = self._sides[id(drive)], self._names[id(drive)]
        by_number = {int(drive.numbers[at]): at for at in wanted}
        with tqdm(total=len(wanted), desc=drive.bag.path.name, unit="picture", leave=False, disable=None) as progress:
            for number, message in enumerate(drive.bag.pictures([drive.topic])):
                at = by_number.get(number)
                if at is None:
                    continue
                progress.update()
                try:
                    rgb = drive.bag.image(message).rgb
                except ImageError:
                    drive.left_out["damaged pictures"] += 1
                    continue
                if not self._fits(drive, rgb, first=not side.written):
                    continue
                stem = f"train/{drive.when}/{sequence}/{sequence}_frame_{number:06d}"
                _write_picture(self._folder, stem, rgb)
                side.written[at] = stem
                side.brightness.append(float(rgb.mean()))
                if at in shown:
                    side.thumbs[at] = small(rgb)

    def _fits(self, drive: Drive, rgb: Rgb, first: bool) -> bool:
        size = rgb.shape[1], rgb.shape[0]
        self.size = self.size or size
        if size == self.size:
            return True
        if first:
            raise BagError(f"{drive.bag.path}: got pictures of {size[0]}x{size[1]} pixels, expected "
                           f"{self.size[0]}x{self.size[1]} like the other drives: a pair needs one size")  # fmt: skip
        drive.left_out[f"pictures not of {self.size[0]}x{self.size[1]} pixels"] += 1
        return False

    def _remove_single(self, pairs: Sequence[FramePair], whole: Sequence[FramePair]) -> None:
        kept = {(id(pair.night), pair.night_at) for pair in whole}
        for pair in pairs:
            if (id(pair.night), pair.night_at) not in kept:
                stem = self._sides[id(pair.night)].written[pair.night_at]
                _picture(self._folder, stem).unlink()
                pair.night.left_out["without its day picture, which cannot be read or is of another size"] += 1

    def _record(self, pair: FramePair) -> dict[str, Any]:
        known = not math.isnan(pair.distance_m)
        return {
            "night": self._sides[id(pair.night)].written[pair.night_at],
            "day": self._sides[id(pair.day)].written[pair.day_at],
            "distance_m": round(pair.distance_m, 3) if known else None,
            "angle_deg": round(pair.angle_deg, 1) if known else None,
            "night_stamp_ns": int(pair.night.header_ns[pair.night_at]),
            "day_stamp_ns": int(pair.day.header_ns[pair.day_at]),
        }

    def _lists(self, records: Sequence[dict[str, Any]]) -> None:
        lines = [f"{record['night']},{record['day']}\n" for record in records]
        for record, line in zip(records, lines, strict=True):
            _write_text(self._folder / "corresp" / f"{record['night']}_ref_day.csv", line)
        _write_text(self._folder / _LIST, "".join(lines))

    def _draw(self, pairs: Sequence[FramePair], total: int) -> None:
        if not pairs:
            return
        cells = [
            SheetPair(
                self._sides[id(pair.day)].thumbs[pair.day_at],
                self._sides[id(pair.night)].thumbs[pair.night_at],
                f"{pair.apart}   frames {pair.day.numbers[pair.day_at]}, {pair.night.numbers[pair.night_at]}",
            )
            for pair in pairs
        ]
        title = f"day left, night right: {len(pairs)} of {total} pairs, evenly picked, the farthest apart among them"
        write_png(self._folder / SHEET_NAME, draw_sheet(cells, title))


def _wanted(pairs: Sequence[FramePair], night: bool) -> Iterator[tuple[Drive, set[int]]]:
    """Drives in the order of their first pair, each with the frames that are needed of it."""
    drives = {id(pair.night if night else pair.day): pair.night if night else pair.day for pair in pairs}
    for drive in drives.values():
        yield drive, {pair.night_at if night else pair.day_at for pair in pairs
                      if (pair.night if night else pair.day) is drive}  # fmt: skip


def _evenly(pairs: Sequence[FramePair], most: int) -> list[int]:
    """Numbers of pairs for the sheet: evenly picked, with the one that is farthest apart."""
    if not most:
        return []
    chosen = np.linspace(0, len(pairs) - 1, min(most, len(pairs))).round().astype(int).tolist()
    distances = [-1.0 if math.isnan(pair.distance_m) else pair.distance_m for pair in pairs]
    farthest = int(np.argmax(distances))
    if farthest not in chosen:
        nearest = min(range(len(chosen)), key=lambda index: abs(chosen[index] - farthest))
        chosen[nearest] = farthest
    return [int(one) for one in chosen]


def _sequences(drives: Sequence[Drive]) -> list[str]:
    """Names of the drives' bags, as folders may be called, each once."""
    sequences: list[str] = []
    for drive in drives:
        path = drive.bag.path.resolve()
        name = re.sub(r"[^A-Za-z0-9-]+", "_", path.name if path.is_dir() else path.stem).strip("_") or "drive"
        others = itertools.count(2)
        unique = name
        while unique in sequences:
            unique = f"{name}_{next(others)}"
        sequences.append(unique)
    return sequences


def _picture(folder: Path, stem: str) -> Path:
    return folder / "rgb_anon" / f"{stem}_rgb_anon.png"


def _write_picture(folder: Path, stem: str, rgb: Rgb) -> None:
    path = _picture(folder, stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, rgb)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
