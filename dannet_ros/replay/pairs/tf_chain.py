"""Where a vehicle's base was in the map, from the transforms of a bag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Stamps = npt.NDArray[np.int64]

ODOM: Final = "odom"
MAPS: Final = ("map", "world", "earth", "utm", ODOM)
BASES: Final = ("base_link", "base_footprint")
"""Frames that are looked for, the first that is there is taken (REP 105)."""


class ChainError(Exception):
    """The transforms do not lead from the base to the map."""


class ChainPositions(NamedTuple):
    """Base in map.

    Attributes:
        header_ns, recorded_ns: N stamps, nanoseconds.
        points: N x 3 metres.
        map_frame, base_frame: names of the frames.
        left_out: how many were left out by reason.
    """

    header_ns: Stamps
    recorded_ns: Stamps
    points: Floats
    map_frame: str
    base_frame: str
    left_out: Counter[str]


@dataclass
class _Edge:
    """One frame in its parent's, at all its times: rows of stamp, time of recording, translation, quaternion."""

    parent: str
    moves: bool = False
    stamps: list[tuple[int, int]] = field(default_factory=list)
    poses: list[tuple[float, ...]] = field(default_factory=list)


class TransformTree:
    """Takes in the transforms of a bag."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}
        self._not_finite = 0

    def add(self, transform: Any, recorded_ns: int, stamp_ns: int, static: bool) -> None:
        """Take a geometry_msgs/TransformStamped.

        Raises:
            ChainError: its frame has another parent already.
        """
        child, parent = transform.child_frame_id.strip("/"), transform.header.frame_id.strip("/")
        edge = self._edges.setdefault(child, _Edge(parent))
        if edge.parent != parent:
            raise ChainError(f"frame {child} has two parents, {edge.parent} and {parent}")
        moved, turned = transform.transform.translation, transform.transform.rotation
        pose = (moved.x, moved.y, moved.z, turned.x, turned.y, turned.z, turned.w)
        if not np.isfinite(pose).all() or not any(pose[3:]):
            self._not_finite += 1
            return
        edge.moves |= not static
        edge.stamps.append((stamp_ns, recorded_ns))
        edge.poses.append(pose)

    def positions(self, map_frame: str, base_frame: str, max_gap_s: float) -> ChainPositions:
        """The base in the map at the times of the transform on the way that comes most often.

        Args:
            map_frame: its name; empty = the first of `MAPS` above the base, ``odom`` only with nothing above it.
            base_frame: its name; empty = the first of `BASES`.
            max_gap_s: seconds between two transforms, above which nothing in between is believed.

        Raises:
            ChainError: there is no such chain, or nothing on it moves.
        """
        base = base_frame.strip("/") or self._first(BASES, list(self._edges), "--base-frame")
        chain = self._chain(base)
        # What lies above odom holds more than it, whatever it is called.
        tops = [name for name in chain[1:] if name != ODOM or name == chain[-1]]
        top = map_frame.strip("/") or self._first(MAPS, tops, "--map-frame")
        if base not in self._edges or top not in chain[1:]:
            raise ChainError(f"no transforms from {base} to {top}: they lead over {' -> '.join(chain)}")
        edges = [self._edges[name] for name in chain[: chain.index(top)]]
        moving = [edge for edge in edges if edge.moves]
        if not moving:
            raise ChainError(f"nothing moves between {base} and {top}")
        leading = max(moving, key=lambda edge: len(edge.poses))
        stamps = np.array(leading.stamps, dtype=np.int64)
        times = _times(leading)
        points, known = np.zeros((len(times), 3)), np.ones(len(times), dtype=np.bool_)
        for edge in edges:
            moved, turned, there = _interpolated(edge, times, max_gap_s)
            points, known = _rotated(turned, points) + moved, known & there
        left_out = Counter({"no transform of every link at that time": int((~known).sum())})
        left_out["transforms that are not finite"] = self._not_finite
        return ChainPositions(stamps[known, 0], stamps[known, 1], points[known], top, base, +left_out)

    def _chain(self, base: str) -> list[str]:
        chain = [base]
        while chain[-1] in self._edges:
            parent = self._edges[chain[-1]].parent
            if parent in chain:
                raise ChainError(f"the transforms of {base} run in a circle")
            chain.append(parent)
        return chain

    @staticmethod
    def _first(names: Sequence[str], there: Sequence[str], option: str) -> str:
        found = next((name for name in names if name in there), None)
        if found is None:
            raise ChainError(
                f"none of {', '.join(names)} among {', '.join(there) or 'no frames'}: name it with {option}"
            )
        return found


def _times(edge: _Edge) -> Stamps:
    """By the headers, or the bag where a header has no stamp."""
    stamps = np.array(edge.stamps, dtype=np.int64)
    return stamps[:, 0] if (stamps[:, 0] > 0).all() else stamps[:, 1]


def _interpolated(edge: _Edge, times: Stamps, max_gap_s: float) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """N x 3 translations, N x 4 unit quaternions, and where they are known."""
    poses = np.array(edge.poses)
    if not edge.moves:
        last = np.repeat(poses[-1:], len(times), axis=0)
        return last[:, :3], _unit(last[:, 3:]), np.ones(len(times), dtype=np.bool_)
    own, first = np.unique(_times(edge), return_index=True)
    poses = poses[first]
    after = np.clip(np.searchsorted(own, times, side="left"), 0, len(own) - 1)
    before = np.where(own[after] == times, after, np.maximum(after - 1, 0))
    span = (own[after] - own[before]) / 1e9
    share = np.where(span > 0, (times - own[before]) / 1e9 / np.where(span > 0, span, 1), 0.0)[:, None]
    one, two = poses[before], poses[after].copy()
    # q and -q turn alike; between q and the wrong one lies half a turn.
    two[(one[:, 3:] * two[:, 3:]).sum(axis=1) < 0, 3:] *= -1
    mixed = one * (1 - share) + two * share
    known = (times >= own[0]) & (times <= own[-1]) & (span <= max_gap_s)
    return mixed[:, :3], _unit(mixed[:, 3:]), known


def _unit(quaternions: Floats) -> Floats:
    return np.asarray(quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True), dtype=np.float64)


def _rotated(quaternions: Floats, points: Floats) -> Floats:
    vector, scalar = quaternions[:, :3], quaternions[:, 3:]
    twice = 2 * np.cross(vector, points)
    return np.asarray(points + scalar * twice + np.cross(vector, twice), dtype=np.float64)
