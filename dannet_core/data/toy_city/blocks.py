"""One block of the toy city's street: crossing, roadway, pavements, houses, gardens and all that stands there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dannet_core.data.toy_city import people, street, vehicles
from dannet_core.data.toy_city.buildings import WALLS, House, house
from dannet_core.data.toy_city.mesh import CLASS, Color, Floats, Mesh, MeshBuilder, Paint, joined

BLOCK_M = 84.0
CROSSING_M = 12.0
"""A block starts with a crossing of this length."""
KERB_X = 6.5
FRONT_X = 10.5
KERB_M = 0.12
LAMP_SPACING_M = 28.0
LAMP_X = 6.95
ROAD = Paint((0.085, 0.085, 0.09), CLASS["road"], rough=0.3)
MARKING = Paint((0.58, 0.58, 0.55), CLASS["road"], rough=0.3)
PAVEMENT = Paint((0.25, 0.24, 0.225), CLASS["sidewalk"], rough=0.22)
KERB = Paint((0.36, 0.35, 0.33), CLASS["sidewalk"], rough=0.2)
SEAM = Paint((0.16, 0.155, 0.15), CLASS["sidewalk"], rough=0.2, min_px=0.7)
GRASS = Paint((0.06, 0.11, 0.025), CLASS["terrain"], rough=0.7)
EARTH = Paint((0.10, 0.085, 0.05), CLASS["terrain"], rough=0.6)


@dataclass(frozen=True)
class Block:
    """One block, in world coordinates.

    Attributes:
        ground: roadway and pavements.
        houses: what stands behind the pavements, far to near.
        street: what stands on the pavements and at the kerb, each with the z it is sorted by.
        roof_heights: 2 x BLOCK_M, eaves of the left and right side for every metre.
    """

    ground: Mesh
    houses: Mesh
    street: tuple[tuple[float, Mesh], ...]
    roof_heights: Floats


def block(rng: np.random.Generator, index: int) -> Block:
    """Build block number ``index``; ``rng`` decides what is on it."""
    start = index * BLOCK_M
    roofs = np.zeros((2, int(BLOCK_M)))
    lots: list[tuple[float, Mesh]] = []
    for row, side in enumerate((-1, 1)):
        for z, width, mesh, height in _lots(rng, side):
            lots.append((z, mesh))
            roofs[row, int(z) : int(z + width)] = height
    lots.sort(key=lambda item: -item[0])
    street = [(z + start, mesh.placed(0.0, start)) for z, mesh in _street(rng)]
    houses = joined([mesh for _, mesh in lots]).placed(0.0, start)
    return Block(_ground(rng).placed(0.0, start), houses, tuple(street), roofs)


@lru_cache(maxsize=8)
def skyline(seed: int) -> Mesh:
    """Distant houses and trees that close the street, as a backdrop at z = 0."""
    rng = np.random.default_rng([seed, 5])
    builder = MeshBuilder()
    x = -160.0
    while x < 160.0:
        width, height = rng.uniform(7, 16), rng.uniform(9, 19) + 0.03 * abs(x)
        wall = WALLS[int(rng.integers(len(WALLS)))]
        builder.front_wall((x, x + width), 0.0, (-2, height), Paint(wall, CLASS["building"], rough=0.2))
        for y in np.arange(2.5, height - 2, 3.2):
            glow = (0.5, 0.36, 0.18) if rng.random() < 0.3 else (0.0, 0.0, 0.0)
            pane = Paint((0.05, 0.06, 0.07), CLASS["building"], glow=glow)
            builder.front_wall((x + 1.0, x + width - rng.uniform(1, 5)), -0.1, (y, y + 1.3), pane)
        x += width
    for x in np.arange(-60.0, 60.0, 7.0):
        leaf = Paint((0.05, 0.085, 0.025), CLASS["vegetation"], rough=0.8)
        builder.card(
            np.array([(x - 5, -2), (x - 4, 4.5), (x, 6.0 + rng.uniform(-1, 1.5)), (x + 4, 4.2), (x + 5, -2)]), leaf, -1
        )
    return builder.build()


def _ground(rng: np.random.Generator) -> Mesh:
    builder = MeshBuilder()
    end = BLOCK_M
    builder.ground((-120, 120), (0, end), EARTH)
    for side in (-1, 1):
        edge, back = side * KERB_X, side * 13.0
        strip = (min(edge, back), max(edge, back))
        builder.ground(strip, (CROSSING_M, end), PAVEMENT, KERB_M)
        for z in np.arange(CROSSING_M, end, 3.0):
            builder.ground(strip, (z, z + 0.07), SEAM, KERB_M)
        seam = side * (KERB_X + 2.0)
        builder.ground((seam - 0.04, seam + 0.04), (CROSSING_M, end), SEAM, KERB_M)
    _roadway(builder, end)
    for side in (-1, 1):
        edge = side * KERB_X
        builder.side_wall(edge, (CROSSING_M, end), (0, KERB_M), KERB)
        top = (min(edge, edge + side * 0.22), max(edge, edge + side * 0.22))
        builder.ground(top, (CROSSING_M, end), KERB, KERB_M)
    _patches(builder, rng)
    return builder.build()


def _roadway(builder: MeshBuilder, end: float) -> None:
    builder.ground((-KERB_X, KERB_X), (0, end), ROAD)
    builder.ground((-120, 120), (1.5, CROSSING_M - 1.5), ROAD)
    for side in (-1, 1):
        far = (min(side * KERB_X, side * 120), max(side * KERB_X, side * 120))
        builder.ground(far, (0, 1.5), PAVEMENT)
        builder.ground(far, (CROSSING_M - 1.5, CROSSING_M), PAVEMENT)
        edge = side * 4.3
        builder.ground((edge - 0.06, edge + 0.06), (CROSSING_M + 6, end - 6), MARKING)
    for z in np.arange(CROSSING_M + 8, end - 10, 9.0):
        builder.ground((-0.08, 0.08), (z, z + 4.0), MARKING)
    for z0 in (CROSSING_M + 1.2, end - 4.2):
        for x in np.arange(-5.9, 5.9, 1.0):
            builder.ground((x, x + 0.5), (z0, z0 + 3.0), MARKING)
    builder.ground((0.2, 4.2), (end - 5.6, end - 5.2), MARKING)
    builder.ground((-4.2, -0.2), (CROSSING_M + 5.2, CROSSING_M + 5.6), MARKING)
    z = end - 20.0
    arrow = [(1.75, z), (1.95, z), (1.95, z + 3.0), (2.3, z + 3.0), (1.85, z + 5.0), (1.4, z + 3.0), (1.75, z + 3.0)]
    builder.face([(x, 0.0, zz) for x, zz in arrow], MARKING)


def _patches(builder: MeshBuilder, rng: np.random.Generator) -> None:
    """Repairs, manholes and stains, so that the road is not a plain grey."""
    for _ in range(9):
        tone = 0.085 * rng.uniform(0.65, 1.3)
        x, z = rng.uniform(-6, 4.5), rng.uniform(CROSSING_M + 6, BLOCK_M - 12)
        patch = Paint((tone, tone, tone * 1.05), CLASS["road"], rough=0.4)
        builder.ground((x, x + rng.uniform(0.6, 1.5)), (z, z + rng.uniform(1.5, 8)), patch)
    for _ in range(3):
        x, z = rng.uniform(-3.5, 3.5), rng.uniform(CROSSING_M, BLOCK_M)
        angles = np.arange(14) / 14 * 2 * np.pi
        rim = np.column_stack([x + 0.36 * np.cos(angles), np.zeros(14), z + 0.36 * np.sin(angles)])
        builder.face(rim, Paint((0.04, 0.04, 0.042), CLASS["road"], rough=0.5))


def _lots(rng: np.random.Generator, side: int) -> list[tuple[float, float, Mesh, float]]:
    """Houses and gardens of one side from near to far: z, width, mesh and roof height."""
    lots: list[tuple[float, float, Mesh, float]] = []
    z, previous = CROSSING_M + 1.5, 0.0
    garden_at = int(rng.integers(0, 4))
    while z < BLOCK_M - 8.0:
        width = min(float(rng.uniform(11, 20)), BLOCK_M - z)
        if len(lots) == garden_at:
            lots.append((z, width, _garden(rng, side, z, width), 0.0))
            previous = 0.0
        else:
            plan = House(side, FRONT_X + float(rng.choice([0.0, 0.0, 0.6])), z, width,
                         int(rng.integers(3, 7)), bool(rng.random() < 0.6))  # fmt: skip
            lots.append((z, width, house(rng, plan, previous), plan.height))
            previous = plan.height
        z += width
    return lots


def _garden(rng: np.random.Generator, side: int, z: float, width: float) -> Mesh:
    """A green lot: grass, trees and bushes behind a fence or a wall."""
    parts: list[Mesh] = []
    lawn = MeshBuilder()
    inner, outer = side * FRONT_X, side * 45.0
    lawn.ground((min(inner, outer), max(inner, outer)), (z, z + width), GRASS, 0.1)
    parts.append(lawn.build())
    spots = sorted(rng.uniform(0.1, 0.9, 5), reverse=True)
    for spot in spots:
        x = side * rng.uniform(FRONT_X + 3, 26.0)
        parts.append(street.tree(int(rng.integers(8, street.TREE_KINDS))).placed(x, z + spot * width))
    kind = rng.random()
    rgb: Color = WALLS[int(rng.integers(len(WALLS)))]
    edge = (
        street.fence(width, rng.uniform(1.0, 1.5))
        if kind < 0.5
        else street.garden_wall(width, rng.uniform(0.9, 2.0), rgb)
    )
    if rng.random() < 0.5:
        parts.append(street.hedge(rng, width, rng.uniform(1.2, 1.9)).placed(side * (FRONT_X + 0.5), z))
    parts.append(edge.placed(inner, z))
    return joined(parts)


def _street(rng: np.random.Generator) -> list[tuple[float, Mesh]]:
    things: list[tuple[float, Mesh]] = []
    things += _lamps()
    things += _signals(rng)
    for side in (-1, 1):
        things += _kerb_row(rng, side)
        things += _parked(rng, side)
        bench = CROSSING_M + float(rng.uniform(10, 60))
        strip = MeshBuilder()
        strip.ground((side * 8.0 - 0.9, side * 8.0 + 0.9), (0, 7.0), GRASS, KERB_M + 0.02)
        things.append((bench + 12.0, strip.build().placed(side * 1.5, bench)))
    return things


def _lamps() -> list[tuple[float, Mesh]]:
    right = [(z, street.street_lamp(-1.0).placed(LAMP_X, z)) for z in np.arange(0.0, BLOCK_M, LAMP_SPACING_M)]
    left = [(z, street.street_lamp(1.0).placed(-LAMP_X, z)) for z in np.arange(14.0, BLOCK_M, LAMP_SPACING_M)]
    return right + left


def _signals(rng: np.random.Generator) -> list[tuple[float, Mesh]]:
    signal = str(rng.choice(list(street.SIGNALS), p=[0.3, 0.1, 0.6]))
    things = [(BLOCK_M - 6.0, street.traffic_light(signal, -4.4).placed(6.9, BLOCK_M - 6.0))]
    things.append((CROSSING_M + 0.5, street.traffic_light(signal, 0.0).placed(7.1, CROSSING_M + 0.5)))
    things.append((CROSSING_M + 0.5, street.traffic_light(signal, 0.0).placed(-7.1, CROSSING_M + 0.5)))
    things.append((BLOCK_M - 6.5, street.traffic_light(signal, 0.0).placed(-6.9, BLOCK_M - 6.5)))
    return things


def _kerb_row(rng: np.random.Generator, side: int) -> list[tuple[float, Mesh]]:
    """Trees, signs and parked two-wheelers along a kerb."""
    things: list[tuple[float, Mesh]] = []
    kinds = ("limit", "yield", "stop", "way", "parking")
    for z in np.arange(CROSSING_M + 5.0, BLOCK_M - 9.0, 7.0):
        roll, x = rng.random(), side * 7.15
        at = float(z + rng.uniform(-1.2, 1.2))
        if abs((at - (0.0 if side > 0 else 14.0)) % LAMP_SPACING_M) < 2.0:
            continue
        if roll < 0.36:
            things.append(
                (at, street.tree(int(rng.integers(street.TREE_KINDS // 2))).placed(x + side * 0.4, at, KERB_M))
            )
        elif roll < 0.62:
            things.append((at, street.traffic_sign(str(rng.choice(kinds))).placed(x, at, KERB_M)))
        elif roll < 0.88:
            make = people.parked_motorcycle if rng.random() < 0.35 else people.parked_bicycle
            turn = float(rng.uniform(-35, 35))
            things.append((at, make(rng).turned(turn).placed(x + side * 0.5, at, KERB_M)))
    return things


def _parked(rng: np.random.Generator, side: int) -> list[tuple[float, Mesh]]:
    things: list[tuple[float, Mesh]] = []
    bodies = (vehicles.SALOON, vehicles.HATCHBACK, vehicles.ESTATE)
    for z in np.arange(CROSSING_M + 7.0, BLOCK_M - 13.0, 5.9):
        if rng.random() < 0.45:
            continue
        color = vehicles.CAR_COLORS[int(rng.integers(len(vehicles.CAR_COLORS)))]
        body = bodies[int(rng.integers(3))]
        mesh = vehicles.vehicle(body, color, away=side > 0, lit=False)
        things.append((float(z), mesh.placed(side * 5.45, float(z))))
    return things
