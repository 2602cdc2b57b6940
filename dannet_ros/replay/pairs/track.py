"""Where a vehicle was at any time, and which way it went, from its recorded positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

OUTSIDE: Final = "before the first or after the last position"


@dataclass(frozen=True)
class TrackRules:
    """What is believed between two positions.

    Attributes:
        max_gap_s: seconds between two of them, above which nothing in between is.
        max_speed_mps: metres a second, above which the position jumped.
        min_motion_m: metres over which the direction of travel is measured; less may be noise at a standstill.
    """

    max_gap_s: float
    max_speed_mps: float
    min_motion_m: float


class Located(NamedTuple):
    """Frames and where they are.

    Attributes:
        points: N x 3 metres; NaN where unknown.
        headings: N x 3, unit vectors in the direction of travel; NaN where unknown.
        why_not: for each reason, which of the frames (N) are unknown for it; no frame has two.
    """

    points: Floats
    headings: Floats
    why_not: dict[str, Bools]


class Track:
    """Positions by time; nothing is said outside of them, in gaps and across jumps."""

    def __init__(self, times_s: Floats, points: Floats, rules: TrackRules) -> None:
        """Take N times in seconds and N x 3 positions in metres, in any order; of one time the first counts."""
        self._times, first = np.unique(times_s, return_index=True)
        self._points, self._rules = points[first], rules
        steps_s, steps_m = np.diff(self._times), np.linalg.norm(np.diff(self._points, axis=0), axis=1)
        self._gap = steps_s > rules.max_gap_s
        self._jump = ~self._gap & (steps_m > rules.max_speed_mps * steps_s)
        fits = ~(self._gap | self._jump)
        near_jump = _padded(self._jump) | _padded(self._jump, before=True)
        self._doubtful = near_jump & ~(_padded(fits) | _padded(fits, before=True))
        self._anchors = self._find_anchors()

    def at(self, times_s: Floats) -> Located:
        """Where the vehicle was at N times."""
        outside = (times_s < self._times[0]) | (times_s > self._times[-1])
        step = np.clip(np.searchsorted(self._times, times_s, side="right") - 1, 0, len(self._times) - 1)
        at_one = self._times[step] == times_s
        # A position holds at its own time, whatever gap follows, if it is not itself the one that jumped.
        gap = ~outside & ~at_one & _padded(self._gap)[step]
        jump = ~outside & np.where(at_one, self._doubtful[step], _padded(self._jump)[step])
        points = np.column_stack([np.interp(times_s, self._times, column) for column in self._points.T])
        known = ~(outside | gap | jump)
        headings = self._headings(times_s, known)
        still = known & np.isnan(headings[:, 0])
        points[~known] = np.nan
        rules = self._rules
        return Located(points, headings, {
            OUTSIDE: outside,
            f"in a gap of more than {rules.max_gap_s:g} s between positions": gap,
            f"where the position jumps, faster than {rules.max_speed_mps:g} m/s": jump,
            f"direction of travel unknown: no motion of {rules.min_motion_m:g} m": still,
        })  # fmt: skip

    def _find_anchors(self) -> list[list[int]]:
        """For each unbroken part, positions that are ``min_motion_m`` apart at least, each the first after the last."""
        parts: list[list[int]] = [[0]]
        broken = self._gap | self._jump
        for index in range(1, len(self._times)):
            if broken[index - 1]:
                parts.append([index])
            elif np.linalg.norm(self._points[index] - self._points[parts[-1][-1]]) >= self._rules.min_motion_m:
                parts[-1].append(index)
        return parts

    def _headings(self, times_s: Floats, known: Bools) -> Floats:
        """Of the motion at each time; at a standstill of the last one, before the first of the first one."""
        headings = np.full((len(times_s), 3), np.nan)
        starts = self._times[[part[0] for part in self._anchors]]
        part_of = np.searchsorted(starts, times_s, side="right") - 1
        for number, anchors in enumerate(self._anchors):
            here = np.flatnonzero(known & (part_of == number))
            if len(anchors) < 2 or not len(here):
                continue
            ways = np.diff(self._points[anchors], axis=0)
            ways /= np.linalg.norm(ways, axis=1, keepdims=True)
            way = np.searchsorted(self._times[anchors], times_s[here], side="right") - 1
            headings[here] = ways[np.clip(way, 0, len(ways) - 1)]
        return headings


def _padded(steps: Bools, before: bool = False) -> Bools:
    """For each position what is so of the step after it, or the one before; False where there is none."""
    return np.concatenate([[False], steps] if before else [steps, [False]]).astype(np.bool_)
