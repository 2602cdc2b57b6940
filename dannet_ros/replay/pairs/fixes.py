"""Positions as a bag holds them: which messages are believed, and which are left out for which reason."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError
from dannet_ros.replay.bag_reading import Bag, BagError, stamp_ns
from dannet_ros.replay.pairs.sources import NAVSAT, ODOMETRY
from dannet_ros.replay.pairs.tf_chain import ChainError, TransformTree
from dannet_ros.replay.scanned import RawMessage


class NoChainError(BagError):
    """The transforms of a bag do not say where the vehicle was."""


@dataclass(frozen=True)
class FixRules:
    """What of the positions is believed.

    Attributes:
        max_error_m: largest standard deviation across the ground in metres, where a message says one.
        max_gap_s: seconds between two transforms.
        map_frame, base_frame: names for tf; empty = found.
    """

    max_error_m: float
    max_gap_s: float
    map_frame: str
    base_frame: str


@dataclass(eq=False)
class Fixes:
    """Positions of one drive.

    Attributes:
        header_ns, recorded_ns: N stamps, nanoseconds.
        values: N x 3: latitude, longitude in degrees and 0; or metres.
        frame: what the metres are in; "WGS 84" for degrees.
        total: how many messages or transforms there were.
        left_out: how many of them were by reason.
    """

    header_ns: npt.NDArray[np.int64]
    recorded_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    frame: str
    total: int
    left_out: Counter[str] = field(default_factory=Counter)


class FixReader(Protocol):
    """Takes in the messages of position topics."""

    def add(self, message: RawMessage) -> None:
        """Take one."""

    def fixes(self) -> Fixes:
        """What they said."""


def open_reader(bag: Bag, kind: str, rules: FixRules) -> FixReader:
    """A reader for a kind of `dannet_ros.replay.pairs.sources.KINDS`."""
    if kind in (NAVSAT, ODOMETRY):
        return _Points(bag, kind, rules)
    return _Transforms(bag, rules)


class _Points:
    """One position a message."""

    def __init__(self, bag: Bag, kind: str, rules: FixRules) -> None:
        self._bag, self._rules = bag, rules
        self._read = _navsat if kind == NAVSAT else _odometry
        self._frames: Counter[str] = Counter({"WGS 84": 1} if kind == NAVSAT else {})
        self._is_navsat = kind == NAVSAT
        self._rows: list[tuple[int, int]] = []
        self._values: list[tuple[float, float, float]] = []
        self._left_out: Counter[str] = Counter()
        self._total = 0

    def add(self, message: RawMessage) -> None:
        self._total += 1
        try:
            decoded = self._bag.decode(message)
            x, y = self._read(decoded, self._rules.max_error_m)
        except ImageError:
            self._left_out["damaged"] += 1
            return
        except _NotBelieved as reason:
            self._left_out[str(reason)] += 1
            return
        if not self._is_navsat:
            self._frames[decoded.header.frame_id.strip("/")] += 1
        self._rows.append((stamp_ns(decoded.header), message.time_ns))
        self._values.append((x, y, 0.0))

    def fixes(self) -> Fixes:
        if len(self._frames) > 1:
            names = ", ".join(f"'{name}'" for name in self._frames)
            raise BagError(f"{self._bag.path}: positions in several frames, {names}, expected one")
        stamps = np.array(self._rows, dtype=np.int64).reshape(-1, 2)
        values = np.array(self._values, dtype=np.float64).reshape(-1, 3)
        frame = next(iter(self._frames), "")
        return Fixes(stamps[:, 0], stamps[:, 1], values, frame, self._total, self._left_out)


class _Transforms:
    """Base in map, over a chain of transforms."""

    def __init__(self, bag: Bag, rules: FixRules) -> None:
        self._bag, self._rules, self._tree = bag, rules, TransformTree()
        self._damaged = self._total = 0

    def add(self, message: RawMessage) -> None:
        static = message.topic.rpartition("/")[2] == "tf_static"
        try:
            transforms = self._bag.decode(message).transforms
        except ImageError:
            self._damaged += 1
            return
        for one in transforms:
            self._total += 1
            try:
                self._tree.add(one, message.time_ns, stamp_ns(one.header), static)
            except ChainError as error:
                raise NoChainError(f"{self._bag.path}: tf: {error}") from error

    def fixes(self) -> Fixes:
        rules = self._rules
        try:
            found = self._tree.positions(rules.map_frame, rules.base_frame, rules.max_gap_s)
        except ChainError as error:
            raise NoChainError(f"{self._bag.path}: tf: {error}") from error
        values = found.points.copy()
        values[:, 2] = 0
        left_out = found.left_out + Counter({"damaged": self._damaged})
        total = len(values) + sum(found.left_out.values())
        return Fixes(found.header_ns, found.recorded_ns, values, found.map_frame, total, left_out)


class _NotBelieved(Exception):  # noqa: N818  it ends the reading of one message
    """Why a position is left out."""


def _navsat(message: Any, max_error_m: float) -> tuple[float, float]:
    latitude, longitude = float(message.latitude), float(message.longitude)
    if message.status.status < 0:
        raise _NotBelieved("without a fix")
    if not (math.isfinite(latitude) and math.isfinite(longitude)):
        raise _NotBelieved("not a number")
    if abs(latitude) > 90 or abs(longitude) > 180:
        raise _NotBelieved("beyond 90 or 180 degrees")
    if latitude == 0 == longitude:
        raise _NotBelieved("at latitude 0, longitude 0: an empty message")
    if message.position_covariance_type != 0:
        _check_error(message.position_covariance, (0, 4), max_error_m)
    return latitude, longitude


def _odometry(message: Any, max_error_m: float) -> tuple[float, float]:
    place = message.pose.pose.position
    if not (math.isfinite(place.x) and math.isfinite(place.y)):
        raise _NotBelieved("not a number")
    _check_error(message.pose.covariance, (0, 7), max_error_m)
    return float(place.x), float(place.y)


def _check_error(covariance: Sequence[float], diagonal: tuple[int, int], max_error_m: float) -> None:
    """What is NaN, zero or negative says nothing."""
    variances = [float(covariance[index]) for index in diagonal]
    if any(variance > max_error_m**2 for variance in variances):
        raise _NotBelieved(f"less exact than {max_error_m:g} m")
