"""One drive: its frames, each with the place where it was taken, as far as that is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from dannet_core.errors import ImageError
from dannet_core.geodesy import TangentPlane
from dannet_ros.replay.bag_reading import PICTURES, Bag, BagError
from dannet_ros.replay.pairs.fixes import Fixes, FixReader
from dannet_ros.replay.pairs.sources import NAVSAT, ORDER
from dannet_ros.replay.pairs.track import Track, TrackRules
from dannet_ros.replay.serialized import stamp_of

Stamps = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MAX_CLOCK_DIFFERENCE_S: Final = 1.0
"""Between the delays of the camera's and the positions' messages; above it their stamps are of two clocks."""


@dataclass(eq=False)
class Drive:
    """One drive; the arrays hold the frames that can be used, N of them.

    Attributes:
        bag: it.
        topic: its camera.
        night: by night or by day.
        total: how many pictures there were.
        numbers: of the frames among the topic's pictures.
        header_ns, recorded_ns: their stamps, nanoseconds.
        fixes: its positions; None without.
        points, headings: N x 3, metres and unit vectors; empty without positions.
        left_out: how many frames were by reason.
        notes: what a user has to know, one line each.
    """

    bag: Bag
    topic: str
    night: bool
    total: int
    numbers: npt.NDArray[np.intp]
    header_ns: Stamps
    recorded_ns: Stamps
    fixes: Fixes | None
    points: Floats = field(default_factory=lambda: np.zeros((0, 3)))
    headings: Floats = field(default_factory=lambda: np.zeros((0, 3)))
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def when(self) -> str:
        """Night or day, in words."""
        return "night" if self.night else "day"

    def keep(self, chosen: npt.NDArray[np.bool_]) -> None:
        """Drop all frames but the chosen ones."""
        self.numbers, self.header_ns, self.recorded_ns = (
            self.numbers[chosen],
            self.header_ns[chosen],
            self.recorded_ns[chosen],
        )
        if len(self.points):
            self.points, self.headings = self.points[chosen], self.headings[chosen]


def read_drive(bag: Bag, topic: str, night: bool, positions: tuple[str, ...], reader: FixReader | None) -> Drive:
    """Read the stamps of all frames and, by ``reader``, the positions.

    Raises:
        BagError: there is no frame.
    """
    rows, numbers, damaged, total = [], [], 0, 0
    expected = sum(bag.count(one) for one in (topic, *positions)) or None
    messages = bag.raw([topic, *positions])
    for message in tqdm(messages, total=expected, desc=bag.path.name, unit="message", leave=False, disable=None):
        if message.topic != topic:
            if reader is not None:
                reader.add(message)
            continue
        if message.kind not in PICTURES:
            continue
        try:
            rows.append((stamp_of(message.data), message.time_ns))
            numbers.append(total)
        except ImageError:
            damaged += 1
        total += 1
    if not rows:
        raise BagError(f"{bag.path}: no picture on {topic}{f': all {damaged} are damaged' if damaged else ''}")
    stamps = np.array(rows, dtype=np.int64)
    fixes = reader.fixes() if reader is not None else None
    drive = Drive(bag, topic, night, total, np.array(numbers, np.intp), stamps[:, 0], stamps[:, 1], fixes)
    drive.left_out["damaged pictures"] += damaged
    return drive


def locate(drive: Drive, plane: TangentPlane | None, rules: TrackRules) -> None:
    """Give every frame its place and heading; drop those without.

    Args:
        drive: one with positions.
        plane: for positions in degrees.
        rules: what is believed between two positions.

    Raises:
        BagError: no position can be used.
    """
    fixes = drive.fixes
    assert fixes is not None, "asked for only where there are positions"
    if not len(fixes.values):
        raise BagError(f"{drive.bag.path}: none of {fixes.total} positions can be used ({words(fixes.left_out)}): "
                       f"--positions takes another kind, or {ORDER}")  # fmt: skip
    values = fixes.values if plane is None else plane.metres(fixes.values[:, 0], fixes.values[:, 1])
    frame_ns, fix_ns = _on_one_clock(drive, fixes)
    start_ns = fix_ns.min()
    found = Track((fix_ns - start_ns) / 1e9, values, rules).at((frame_ns - start_ns) / 1e9)
    for reason, frames in found.why_not.items():
        drive.left_out[reason] += int(frames.sum())
    drive.points, drive.headings = found.points, found.headings
    drive.keep(~np.any(list(found.why_not.values()), axis=0))


def plane_of(drives: list[Drive], kind: str) -> TangentPlane | None:
    """A plane at the first position of the first drive; None where positions are in metres."""
    if kind != NAVSAT:
        return None
    values = (drive.fixes.values for drive in drives if drive.fixes is not None and len(drive.fixes.values))
    first = next(values, None)
    return None if first is None else TangentPlane(float(first[0, 0]), float(first[0, 1]))


def times_s(drive: Drive) -> Floats:
    """Seconds of the frames by the stamps of their headers, or of the bag where a header has none."""
    stamps = drive.header_ns
    if (stamps <= 0).any():
        drive.notes.append(f"{drive.bag.path}: {drive.topic} has zero stamps: the bag's time is used")
        stamps = drive.recorded_ns
    return np.asarray((stamps - stamps.min()) / 1e9, dtype=np.float64)


def words(counts: Counter[str]) -> str:
    """Counts by reason, in words."""
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common() if count) or "none"


def _on_one_clock(drive: Drive, fixes: Fixes) -> tuple[Stamps, Stamps]:
    """Stamps of frames and positions: the headers', or the bag's where those are missing or of two clocks."""
    zero = [name for name, stamps in ((drive.topic, drive.header_ns), ("the positions", fixes.header_ns))
            if (stamps <= 0).any()]  # fmt: skip
    if zero:
        drive.notes.append(f"{drive.bag.path}: zero stamps in {' and '.join(zero)}: the bag's times are used")
        return drive.recorded_ns, fixes.recorded_ns
    delays = [float(np.median(recorded - header)) / 1e9 for recorded, header in
              ((drive.recorded_ns, drive.header_ns), (fixes.recorded_ns, fixes.header_ns))]  # fmt: skip
    if abs(delays[0] - delays[1]) > MAX_CLOCK_DIFFERENCE_S:
        drive.notes.append(f"{drive.bag.path}: stamps of {drive.topic} and the positions are of two clocks, "
                           f"{delays[1] - delays[0]:+.1f} s apart: the bag's times are used")  # fmt: skip
        return drive.recorded_ns, fixes.recorded_ns
    return drive.header_ns, fixes.header_ns
