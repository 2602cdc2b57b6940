"""The toy city on disk: labelled night drives, and a miniature Cityscapes + Dark Zurich."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from dannet_core.atomic_files import write_whole
from dannet_core.classes import CLASS_NAMES, IGNORE_ID, LABEL_ID_TO_TRAIN_ID
from dannet_core.data.toy_city.render import check_size, render
from dannet_core.data.toy_city.trips import Trip
from dannet_core.data.toy_city.world import Pose, World
from dannet_core.errors import OutputError, SettingsError
from dannet_core.pixels import Labels, Rgb, write_png

FIRST_STAMP_NS = 1_700_000_000_000_000_000
"""Stamp of a drive's first frame: a plausible time of day, and the same in every run."""
MAX_FRAMES = 200_000


@dataclass(frozen=True)
class DriveSummary:
    """What `write_drive` wrote; `drive.json` holds the same.

    Attributes:
        folder: with ``frames/``, ``labels/`` and ``positions.csv``.
        size: (height, width) in pixels.
        stamps_ns: one a frame, nanoseconds.
        class_shares: share of the drive's pixels by class name, 0..1, classes that occur.
        trip: 0 = the steady drive, and not in `drive.json`.
    """

    folder: Path
    fps: float
    size: tuple[int, int]
    seed: int
    night: bool
    stamps_ns: tuple[int, ...]
    class_shares: dict[str, float]
    trip: int = 0

    def __str__(self) -> str:
        when = "night" if self.night else "day"
        return (
            f"{self.folder}: {len(self.stamps_ns)} {when} frames of {self.size[1]}x{self.size[0]} at {self.fps:g} Hz, "
            f"{len(self.class_shares)} classes"
        )


def write_drive(
    out: Path, seconds: float, fps: float, size: tuple[int, int], seed: int, night: bool = True
) -> DriveSummary:
    """Write a drive: ``out/frames/000000.png``, ``out/labels/000000.png`` (train ids), ``out/drive.json``.

    ``out/positions.csv`` says where the camera was, see `Trip.write_positions`.

    Args:
        out: a new or empty folder, or one with an earlier drive, which is replaced.
        seconds: length, above 0.
        fps: frames a second, above 0.
        size: (height, width) in pixels, 64 to 4096 each.
        seed: the same seed gives the same drive, to the byte.
        night: the same drive by night or by day.

    Raises:
        SettingsError: a value is out of range.
        OutputError, ImageError: the folder cannot be written to.
    """
    return write_trip(out, Trip(seed), seconds, fps, size, night)


def write_trip(
    out: Path, trip: Trip, seconds: float, fps: float, size: tuple[int, int], night: bool = True
) -> DriveSummary:
    """Write a drive of the street at a trip's own speeds; otherwise as `write_drive`."""
    check_size(size)
    count = _frame_count(seconds, fps)
    out, seed = Path(out), trip.world.seed
    for name in ("frames", "labels"):
        _empty_folder(out / name)
    noise = [seed, 101] if trip.number == 0 else [seed, 101, trip.number]
    pixels = np.zeros(len(CLASS_NAMES), dtype=np.int64)
    for index in tqdm(range(count), desc="toy city", unit="frame", leave=False, disable=None):
        rng = np.random.default_rng([*noise, index])
        rgb, labels = render(trip.world, trip.pose_at(index / fps), size, night, rng)
        write_png(out / "frames" / f"{index:06d}.png", rgb)
        write_png(out / "labels" / f"{index:06d}.png", labels)
        pixels += np.bincount(labels.ravel(), minlength=256)[: len(CLASS_NAMES)]
    trip.write_positions(out, (count - 1) / fps)
    stamps = tuple(FIRST_STAMP_NS + round(index * 1e9 / fps) for index in range(count))
    shares = {name: float(n / pixels.sum()) for name, n in zip(CLASS_NAMES, pixels, strict=True) if n}
    summary = DriveSummary(out, float(fps), (int(size[0]), int(size[1])), seed, night, stamps, shares, trip.number)
    record = asdict(summary) | {"folder": None}
    record.pop("folder")
    if not trip.number:
        record.pop("trip")
    write_whole(out / "drive.json", (json.dumps(record, indent=1) + "\n").encode())
    return summary


def _frame_count(seconds: float, fps: float) -> int:
    if not (np.isfinite(seconds) and seconds > 0):
        raise SettingsError(f"seconds: got {seconds}, expected a number above 0")
    if not (np.isfinite(fps) and fps > 0):
        raise SettingsError(f"fps: got {fps}, expected a number above 0")
    if seconds * fps > MAX_FRAMES:
        raise SettingsError(f"seconds * fps: got {seconds * fps:.0f} frames, expected at most {MAX_FRAMES}")
    return max(round(seconds * fps), 1)


def _empty_folder(folder: Path) -> None:
    """Make ``folder``; numbered PNG files of an earlier drive are removed, so that drives do not mix."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("[0-9][0-9][0-9][0-9][0-9][0-9].png"):
            old.unlink()
    except OSError as error:
        raise OutputError(f"{folder}: cannot write: {error.strerror}") from error


@dataclass(frozen=True)
class DataSetCounts:
    """How many pictures of each kind `write_data_set` writes.

    Attributes:
        train: labelled day pictures of the source.
        val: labelled day pictures of the source, for validation.
        pairs: unlabelled day-night pairs of the target.
        night_val: labelled night pictures of the target.
    """

    train: int = 200
    val: int = 20
    pairs: int = 100
    night_val: int = 30


SOURCE_CITY = "toycity"
NIGHT_SEQUENCE, DAY_SEQUENCE, VAL_SEQUENCE = "TOYN0001", "TOYD0001", "GOPR0356"
SHOTS_PER_STREET, SHOT_SPAN_S = 10, 40.0
"""So many pictures are taken along one street, within a drive of so many seconds."""
PAIR_OFFSET_M = 3.0
"""A pair's day picture is taken up to this far from the night picture, with other traffic."""


def write_data_set(out: Path, seed: int, size: tuple[int, int], counts: DataSetCounts) -> dict[str, int]:
    """Write ``out/cityscapes`` and ``out/dark_zurich`` in the layouts of those data sets.

    Source, target and validation come from different streets; labels are Cityscapes label ids, and also train ids for
    the night validation pictures, as Dark Zurich has them.

    Returns:
        Number of files by top folder.

    Raises:
        SettingsError: a size or count is out of range.
        OutputError, ImageError: the folder cannot be written to.
    """
    check_size(size)
    for name, count in asdict(counts).items():
        if not 0 <= count <= MAX_FRAMES:
            raise SettingsError(f"{name}: got {count}, expected 0 to {MAX_FRAMES}")
    shots = _Shots(Path(out), seed, size)
    for index in tqdm(range(counts.train), desc="source train", unit="picture", leave=False, disable=None):
        shots.source("train", index)
    for index in tqdm(range(counts.val), desc="source val", unit="picture", leave=False, disable=None):
        shots.source("val", index)
    lines = [
        shots.pair(index) for index in tqdm(range(counts.pairs), desc="pairs", unit="pair", leave=False, disable=None)
    ]
    if lines:
        shots.write_list(lines)
    for index in tqdm(range(counts.night_val), desc="night val", unit="picture", leave=False, disable=None):
        shots.night_val(index)
    return {
        folder: sum(1 for f in (Path(out) / folder).rglob("*") if f.is_file())
        for folder in ("cityscapes", "dark_zurich")
    }


@lru_cache(maxsize=2)
def _street(seed: int, part: int, number: int, other_traffic: bool) -> World:
    street = int(np.random.default_rng([seed, part, number, 55]).integers(2**28)) * 8 + part
    return World(street, traffic_seed=street + 4 if other_traffic else None)


class _Shots:
    """Takes and files the pictures of one data set; every picture depends on its own number only."""

    def __init__(self, out: Path, seed: int, size: tuple[int, int]) -> None:
        self._cityscapes, self._zurich = out / "cityscapes", out / "dark_zurich"
        self._seed, self._size = seed, size

    def source(self, split: str, index: int) -> None:
        """One labelled day picture."""
        rgb, labels = self._take(1 if split == "train" else 2, index, night=False)
        stem = f"{SOURCE_CITY}_{index:06d}_000019"
        folder = Path(split) / SOURCE_CITY
        self._write(self._cityscapes / "leftImg8bit" / folder / f"{stem}_leftImg8bit.png", rgb)
        self._write(self._cityscapes / "gtFine" / folder / f"{stem}_gtFine_labelIds.png", label_ids(labels))

    def pair(self, index: int) -> str:
        """One day-night pair, a little apart and with other traffic; returns its line of the pair list."""
        night, _ = self._take(3, index, night=True)
        day, _ = self._take(3, index, night=False, elsewhere=True)
        stems = []
        for when, sequence, rgb in (("night", NIGHT_SEQUENCE, night), ("day", DAY_SEQUENCE, day)):
            stem = f"train/{when}/{sequence}/{sequence}_frame_{index:06d}"
            self._write(self._zurich / "rgb_anon" / f"{stem}_rgb_anon.png", rgb)
            stems.append(stem)
        line = ",".join(stems)
        name = f"{NIGHT_SEQUENCE}_frame_{index:06d}_ref_day.csv"
        self._write_text(self._zurich / "corresp" / "train" / "night" / NIGHT_SEQUENCE / name, line + "\n")
        return line

    def write_list(self, lines: list[str]) -> None:
        """All pairs in one file, the other format in use."""
        self._write_text(self._zurich / "lists" / "zurich_dn_pair_train.csv", "\n".join(lines) + "\n")

    def night_val(self, index: int) -> None:
        """One labelled night picture."""
        rgb, labels = self._take(4, index, night=True)
        stem = f"{VAL_SEQUENCE}_frame_{index:06d}"
        truth = self._zurich / "gt" / "val" / "night" / VAL_SEQUENCE
        self._write(self._zurich / "rgb_anon" / "val" / "night" / VAL_SEQUENCE / f"{stem}_rgb_anon.png", rgb)
        self._write(truth / f"{stem}_gt_labelTrainIds.png", labels)
        self._write(truth / f"{stem}_gt_labelIds.png", label_ids(labels))

    def _take(self, part: int, index: int, night: bool, elsewhere: bool = False) -> tuple[Rgb, Labels]:
        rng = np.random.default_rng([self._seed, part, index])
        time_s, away = float(rng.uniform(1, SHOT_SPAN_S)), rng.uniform(-1, 1, 4)
        rng = np.random.default_rng([self._seed, part, index, int(night)])
        world = _street(self._seed, part, index // SHOTS_PER_STREET, elsewhere)
        pose = world.pose_at(time_s)
        if elsewhere:
            pose = Pose(
                x=pose.x + 0.4 * away[0],
                y=pose.y,
                z=pose.z + PAIR_OFFSET_M * away[1],
                yaw=pose.yaw + 1.5 * away[2],
                pitch=pose.pitch + 0.5 * away[3],
                time_s=pose.time_s,
            )
        return render(world, pose, self._size, night, rng)

    @staticmethod
    def _write(path: Path, image: npt.NDArray[np.uint8]) -> None:
        _make_parent(path)
        write_png(path, image)

    @staticmethod
    def _write_text(path: Path, text: str) -> None:
        _make_parent(path)
        write_whole(path, text.encode())


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot write: {error.strerror}") from error


def label_ids(labels: Labels) -> npt.NDArray[np.uint8]:
    """Train ids (uint8, any shape) to Cityscapes label ids; unlabelled becomes 0."""
    table = np.zeros(256, dtype=np.uint8)
    for label_id, train_id in LABEL_ID_TO_TRAIN_ID.items():
        table[train_id] = label_id
    table[IGNORE_ID] = 0
    return table[labels]
