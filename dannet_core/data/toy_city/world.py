"""The toy city's world: an endless street made block by block from a seed, and the traffic on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dannet_core.data.toy_city import blocks, people, vehicles
from dannet_core.data.toy_city.blocks import BLOCK_M, Block
from dannet_core.data.toy_city.mesh import Floats, Mesh, joined

EGO_SPEED_MPS = 8.0
VIEW_M = 230.0
BEHIND_M = 12.0
CAR_M = 4.6
LANE_M = 1.85
"""Distance of the two driving lanes' centres from the middle of the road."""


@dataclass(frozen=True)
class Pose:
    """Where the camera is and when.

    Attributes:
        x: metres right of the middle of the road.
        y: metres above the road.
        z: metres along the street.
        yaw: degrees, positive looks to the right.
        pitch: degrees, positive looks up.
        time_s: seconds, moves the traffic.
    """

    x: float = LANE_M
    y: float = 1.55
    z: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    time_s: float = 0.0


@dataclass(frozen=True)
class Scene:
    """What a camera may see, far to near.

    Attributes:
        mesh: all faces in drawing order.
        roof_heights: 2 x M, metres: eaves of the left and right building line from ``roof_start`` on, one a metre.
        roof_start: z of the first of them.
    """

    mesh: Mesh
    roof_heights: Floats
    roof_start: float


class World:
    """A street by ``seed``, with the traffic of ``traffic_seed`` (the same street can be driven twice).

    Attributes:
        lamp_offset: z of the first street lamp on the right; the left ones stand half a spacing further.
        sun: unit vector towards the sun.
    """

    def __init__(self, seed: int, traffic_seed: int | None = None) -> None:
        self.seed = seed
        self.traffic_seed = seed if traffic_seed is None else traffic_seed
        rng = np.random.default_rng([seed, 11])
        azimuth, elevation = rng.uniform(0.5, 2.2) * rng.choice([-1, 1]), np.radians(rng.uniform(28, 50))
        self.sun: Floats = np.array(
            [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
        )
        self.clouds: float = float(rng.uniform(0.25, 0.9))
        self.warmth: float = float(rng.uniform(0.0, 1.0))
        self._blocks: dict[int, Block] = {}

    def pose_at(self, time_s: float) -> Pose:
        """The pose of a car that drives the street, with the small sways of a real one."""
        t = time_s
        return Pose(
            x=LANE_M + 0.14 * np.sin(0.5 * t),
            y=1.55 + 0.012 * np.sin(7.0 * t),
            z=EGO_SPEED_MPS * t,
            yaw=0.9 * np.sin(0.37 * t) - 1.0,
            pitch=-0.6 + 0.12 * np.sin(3.1 * t) + 0.06 * np.sin(8.3 * t),
            time_s=t,
        )

    def scene(self, pose: Pose) -> Scene:
        """Everything in view of ``pose``, in drawing order."""
        first = int(np.floor((pose.z - BEHIND_M) / BLOCK_M))
        last = int(np.floor((pose.z + VIEW_M) / BLOCK_M))
        in_view = [self._block(index) for index in range(last, first - 1, -1)]
        # Nothing at the kerb is ever hidden by a house, so houses can all be drawn first.
        street = [placed for block in in_view for placed in block.street] + list(self._traffic(pose))
        near = pose.z - BEHIND_M
        visible = sorted(((z, mesh) for z, mesh in street if near < z < pose.z + VIEW_M), key=lambda item: -item[0])
        layers = [blocks.skyline(self.seed).placed(0.0, pose.z + VIEW_M)]
        layers += [block.ground for block in in_view] + [block.houses for block in in_view]
        roofs = np.concatenate([block.roof_heights for block in reversed(in_view)], axis=1)
        return Scene(joined(layers + [mesh for _, mesh in visible]), roofs, first * BLOCK_M)

    def _block(self, index: int) -> Block:
        if index not in self._blocks:
            if len(self._blocks) > 16:
                self._blocks.pop(min(self._blocks))
            self._blocks[index] = blocks.block(np.random.default_rng([self.seed, 7, index % 2**31]), index)
        return self._blocks[index]

    def _traffic(self, pose: Pose) -> Iterator[tuple[float, Mesh]]:
        yield from self._vehicles(pose, away=True)
        yield from self._vehicles(pose, away=False)
        yield from self._riders(pose)
        yield from self._walkers(pose)

    def _slots(self, pose: Pose, lane: int, spacing: float, speed: float) -> Iterator[tuple[int, float]]:
        """Numbers and z of everything that moves in a lane, one in each stretch of ``spacing`` metres."""
        origin = speed * pose.time_s
        first = int(np.floor((pose.z - BEHIND_M - origin) / spacing))
        for number in range(first, int((pose.z + 150.0 - origin) / spacing) + 1):
            jitter = _jitter(self.traffic_seed, lane, number)
            yield number, (number + jitter) * spacing + origin

    def _vehicles(self, pose: Pose, away: bool) -> Iterator[tuple[float, Mesh]]:
        speed = EGO_SPEED_MPS if away else -10.0
        for number, z in self._slots(pose, 1 if away else 2, 48.0 if away else 34.0, speed):
            if away and z < pose.z + 9.0:
                continue
            yield z, _vehicle(self.traffic_seed, number, away).placed(LANE_M if away else -LANE_M - 0.05, z)

    def _riders(self, pose: Pose) -> Iterator[tuple[float, Mesh]]:
        # Drawn after the parked cars they pass, which are sorted by their near ends.
        for number, z in self._slots(pose, 3, 38.0, 4.5):
            yield z - CAR_M, _rider(self.traffic_seed, number, True).placed(3.75, z)
        for number, z in self._slots(pose, 4, 52.0, -5.0):
            yield z - CAR_M, _rider(self.traffic_seed, number, False).placed(-3.8, z)

    def _walkers(self, pose: Pose) -> Iterator[tuple[float, Mesh]]:
        for lane, (x, speed) in enumerate(((7.6, 1.3), (8.9, -1.2), (-7.5, 1.25), (-8.8, -1.35))):
            for number, z in self._slots(pose, 10 + lane, 13.0, speed):
                step = int((pose.time_s * 8 + number) % 8)
                sway = 0.5 * np.sin(number * 2.3)
                yield z, _walker(self.traffic_seed, number * 4 + lane, step).placed(x + sway, z, 0.12)


@lru_cache(maxsize=4096)
def _jitter(seed: int, lane: int, number: int) -> float:
    return float(np.random.default_rng([seed, lane, number % 2**31]).uniform(0.0, 0.55))


@lru_cache(maxsize=256)
def _vehicle(seed: int, number: int, away: bool) -> Mesh:
    rng = np.random.default_rng([seed, 21 + int(away), number % 2**31])
    kind = rng.random()
    color = vehicles.CAR_COLORS[int(rng.integers(len(vehicles.CAR_COLORS)))]
    if kind < 0.13:
        return vehicles.vehicle(vehicles.TRUCK, (0.5, 0.5, 0.48), away)
    if kind < 0.27:
        return vehicles.vehicle(vehicles.BUS, (0.03, 0.14, 0.36), away, interior=0.3)
    if kind < 0.37 and not away:
        return vehicles.vehicle(vehicles.TRAM, (0.45, 0.44, 0.40), away, interior=0.3)
    bodies = (vehicles.SALOON, vehicles.HATCHBACK, vehicles.ESTATE)
    return vehicles.vehicle(bodies[int(rng.integers(3))], color, away)


@lru_cache(maxsize=256)
def _rider(seed: int, number: int, away: bool) -> Mesh:
    rng = np.random.default_rng([seed, 31 + int(away), number % 2**31])
    make = people.motorcyclist if rng.random() < 0.35 else people.cyclist
    return make(rng, away)


@lru_cache(maxsize=1024)
def _walker(seed: int, number: int, step: int) -> Mesh:
    rng = np.random.default_rng([seed, 41, number % 2**31])
    return people.person(rng, float(np.cos(step * np.pi / 4)))
