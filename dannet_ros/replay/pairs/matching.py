"""Which day frame belongs to a night frame: the nearest of like heading; night frames too close together left out."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MatchRules:
    """What makes a pair.

    Attributes:
        max_distance_m: metres between its two places.
        max_angle_deg: degrees between its two directions of travel.
        min_distance_m: metres between a kept night frame and the next.
    """

    max_distance_m: float
    max_angle_deg: float
    min_distance_m: float


class Match(NamedTuple):
    """A pair: numbers of its frames, metres and degrees between them; NaN where it is not known."""

    night: int
    day: int
    distance_m: float
    angle_deg: float


class DayFrames:
    """Finds day frames by place."""

    def __init__(self, points: Floats, headings: Floats, rules: MatchRules) -> None:
        """Take N x 3 places in metres and N x 3 unit vectors."""
        self._points, self._headings, self._rules = points, headings, rules
        cells = np.floor(points / rules.max_distance_m).astype(np.int64)
        order = np.lexsort(cells.T)
        edges = np.flatnonzero(np.any(np.diff(cells[order], axis=0) != 0, axis=1)) + 1
        self._cells = {tuple(cells[one[0]].tolist()): one for one in np.split(order, edges) if len(one)}

    def near(self, point: Floats) -> npt.NDArray[np.intp]:
        """Numbers of the frames within the rules' distance of a place."""
        cell = np.floor(point / self._rules.max_distance_m).astype(np.int64).tolist()
        around = (tuple(a + b for a, b in zip(cell, by, strict=True)) for by in itertools.product((-1, 0, 1), repeat=3))
        found = [self._cells[one] for one in around if one in self._cells]
        if not found:
            return np.zeros(0, dtype=np.intp)
        # In the order of recording: of two at the same distance the first.
        numbers = np.sort(np.concatenate(found))
        close = np.linalg.norm(self._points[numbers] - point, axis=1) <= self._rules.max_distance_m
        return np.asarray(numbers[close], dtype=np.intp)

    def nearest(self, point: Floats, heading: Floats) -> tuple[Match | None, bool]:
        """The nearest of like heading, its night number left 0; None where there is none, and whether any was near."""
        numbers = self.near(point)
        angles = _degrees(self._headings[numbers], heading)
        alike = angles <= self._rules.max_angle_deg
        if not alike.any():
            return None, bool(len(numbers))
        numbers, angles = numbers[alike], angles[alike]
        distances = np.linalg.norm(self._points[numbers] - point, axis=1)
        best = int(np.argmin(distances))
        return Match(0, int(numbers[best]), float(distances[best]), float(angles[best])), True


def match(points: Floats, headings: Floats, day: DayFrames, rules: MatchRules) -> tuple[list[Match], Counter[str]]:
    """Pair the night frames of one drive.

    Args:
        points: N x 3 metres, in the order of recording.
        headings: N x 3 unit vectors.
        day: where the day's frames are.
        rules: what makes a pair.

    Returns:
        The pairs in the order of the night frames, and how many frames were left out by reason.
    """
    found: list[Match] = []
    left_out: Counter[str] = Counter()
    for number, (point, heading) in enumerate(zip(points, headings, strict=True)):
        if found and np.linalg.norm(point - points[found[-1].night]) < rules.min_distance_m:
            left_out[f"closer than {rules.min_distance_m:g} m to the last one kept"] += 1
            continue
        best, any_near = day.nearest(point, heading)
        if best is not None:
            found.append(best._replace(night=number))
        elif any_near:
            left_out[f"day frames within {rules.max_distance_m:g} m all of another heading"] += 1
        else:
            left_out[f"no day frame within {rules.max_distance_m:g} m"] += 1
    return found, left_out


def match_in_order(night_s: Floats, day_s: Floats, step_s: float) -> tuple[list[Match], Counter[str]]:
    """Pair two drives by the share of their time that has passed, for want of positions.

    Args:
        night_s: N times in seconds, in the order of recording.
        day_s: M of the day.
        step_s: seconds between a kept night frame and the next.
    """
    found: list[Match] = []
    left_out: Counter[str] = Counter()
    day_shares = _shares(day_s)
    for number, share in enumerate(_shares(night_s)):
        if found and night_s[number] - night_s[found[-1].night] < step_s:
            left_out[f"less than {step_s:g} s after the last one kept"] += 1
            continue
        found.append(Match(number, int(np.argmin(np.abs(day_shares - share))), float("nan"), float("nan")))
    return found, left_out


def _shares(times_s: Floats) -> Floats:
    first, last = times_s.min(), times_s.max()
    return np.asarray((times_s - first) / max(last - first, 1e-9), dtype=np.float64)


def _degrees(headings: Floats, heading: Floats) -> Floats:
    return np.asarray(np.degrees(np.arccos(np.clip(headings @ heading, -1, 1))), dtype=np.float64)
