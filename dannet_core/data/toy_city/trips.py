"""How the toy city's street is driven: steadily, or once more at other speeds, with stops, in other traffic."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from dannet_core.atomic_files import write_whole
from dannet_core.data.toy_city.world import Pose, World
from dannet_core.geodesy import TangentPlane

POSITIONS_NAME: Final = "positions.csv"
POSITIONS_HZ: Final = 5.0
"""Positions have a rate of their own, as a receiver has beside a camera."""
_ORIGIN: Final = (47.0, 8.0)
"""Latitude and longitude of the street's beginning; it runs north."""
_TRAFFIC_APART: Final = 1_000_003


class _Leg(NamedTuple):
    """A stretch of the street between two stops; the next one begins when the car leaves."""

    start_s: float
    start_m: float
    length_m: float
    drive_s: float
    leaves_s: float


class Trip:
    """One drive along the street of a seed.

    Attributes:
        number: 0 = the steady drive; every other one has speeds, stops and traffic of its own.
        world: the street, with the traffic of this trip.
    """

    def __init__(self, seed: int, number: int = 0) -> None:
        self.number = number
        self.world = World(seed, seed + number * _TRAFFIC_APART if number else None)
        self._rng = np.random.default_rng([seed, 71, number])
        self._legs: list[_Leg] = []

    def pose_at(self, time_s: float) -> Pose:
        """Where the camera is ``time_s`` seconds (0 or more) after the first frame."""
        pose = self.world.pose_at(time_s)
        return replace(pose, z=self._way_at(time_s)) if self.number else pose

    def _way_at(self, time_s: float) -> float:
        while not self._legs or self._legs[-1].leaves_s <= time_s:
            self._legs.append(self._next_leg())
        leg = self._legs[bisect_right([one.start_s for one in self._legs], time_s) - 1]
        part = min((time_s - leg.start_s) / leg.drive_s, 1.0)
        # From rest to rest without a jerk.
        return leg.start_m + leg.length_m * (part - math.sin(2 * math.pi * part) / (2 * math.pi))

    def _next_leg(self) -> _Leg:
        length_m, speed_mps, wait_s = (float(self._rng.uniform(*limits)) for limits in ((15, 60), (4, 9), (1, 4)))
        if self._legs:
            start_s, start_m = self._legs[-1].leaves_s, self._legs[-1].start_m + self._legs[-1].length_m
        else:
            start_s, start_m = 0.0, float(self._rng.uniform(0, 6))
        drive_s = length_m / speed_mps
        return _Leg(start_s, start_m, length_m, drive_s, start_s + drive_s + wait_s)

    def write_positions(self, folder: Path, seconds: float) -> None:
        """Write ``positions.csv``: time since the first frame in seconds, latitude and longitude in degrees.

        Args:
            folder: where.
            seconds: time of the last frame.

        Raises:
            OutputError: the folder cannot be written to.
        """
        # One beyond the last frame: every frame lies between two, whatever the rounding.
        times = np.arange(int(np.ceil(seconds * POSITIONS_HZ)) + 2) / POSITIONS_HZ
        poses = [self.pose_at(float(time)) for time in times]
        places = np.array([(pose.x, pose.z, 0.0) for pose in poses])
        latitudes, longitudes = TangentPlane(*_ORIGIN).degrees(places)
        rows = zip(times, latitudes, longitudes, strict=True)
        text = "".join(f"{time:.3f},{latitude:.10f},{longitude:.10f}\n" for time, latitude, longitude in rows)
        write_whole(folder / POSITIONS_NAME, f"time_s,latitude,longitude\n{text}".encode())
