"""Street furniture and greenery of the toy city: lamps, traffic lights, signs, trees, hedges, fences."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dannet_core.data.toy_city.mesh import (
    CLASS,
    Color,
    Floats,
    Footprint,
    Light,
    Mesh,
    MeshBuilder,
    Paint,
    bar,
    blob,
    disc,
)

TREE_KINDS = 40
METAL: Color = (0.13, 0.14, 0.14)
LAMP_HEIGHT_M = 7.2
LAMP_ARM_M = 1.8
SIGNALS: dict[str, Color] = {"red": (1.0, 0.06, 0.04), "amber": (1.0, 0.5, 0.04), "green": (0.06, 1.0, 0.45)}


@lru_cache(maxsize=4)
def street_lamp(toward: float) -> Mesh:
    """A street lamp at the origin whose arm reaches to the left (``toward`` -1) or right (+1)."""
    builder = MeshBuilder()
    pole = Paint(METAL, CLASS["pole"], rough=0.05)
    builder.card(bar((0, 0), (0, LAMP_HEIGHT_M - 0.4), 0.14), pole)
    builder.card(bar((0, 0), (0, 1.0), 0.24), pole)
    builder.card(bar((0, LAMP_HEIGHT_M - 0.45), (toward * LAMP_ARM_M * 0.7, LAMP_HEIGHT_M), 0.09), pole)
    end = toward * LAMP_ARM_M
    builder.card(bar((toward * LAMP_ARM_M * 0.6, LAMP_HEIGHT_M), (end + toward * 0.3, LAMP_HEIGHT_M), 0.14), pole)
    bulb = Paint((0.5, 0.5, 0.45), CLASS["pole"], glow=(5.0, 4.6, 3.6))
    builder.card(
        bar((end - toward * 0.25, LAMP_HEIGHT_M - 0.1), (end + toward * 0.25, LAMP_HEIGHT_M - 0.1), 0.10), bulb
    )
    builder.lights.append(Light((end, LAMP_HEIGHT_M - 0.1, -0.02), (1.0, 0.92, 0.74), 1.3, streak=0.25))
    builder.footprints.append(Footprint(0.0, 0.0, 0.07, 0.07, LAMP_HEIGHT_M))
    return builder.build()


@lru_cache(maxsize=16)
def traffic_light(signal: str, overhang: float) -> Mesh:
    """A traffic light showing red, amber or green; a second head hangs ``overhang`` metres aside (0 = none)."""
    builder = MeshBuilder()
    pole = Paint(METAL, CLASS["pole"], rough=0.05)
    builder.card(bar((0, 0), (0, 3.3 if overhang == 0 else 5.6), 0.13), pole)
    heads = [(0.0, 2.75)]
    if overhang:
        builder.card(bar((0, 5.5), (overhang, 5.5), 0.11), pole)
        heads.append((overhang, 5.2))
    for x, y in heads:
        _signal_head(builder, signal, x, y)
    builder.footprints.append(Footprint(0.0, 0.0, 0.08, 0.08, 3.2))
    return builder.build()


def _signal_head(builder: MeshBuilder, signal: str, x: float, y: float) -> None:
    label = CLASS["traffic light"]
    builder.card(bar((x, y - 0.52), (x, y + 0.52), 0.46), Paint((0.02, 0.02, 0.02), label, rough=0.0))
    for row, (name, rgb) in enumerate(SIGNALS.items()):
        on = name == signal
        dim = (rgb[0] * 0.10, rgb[1] * 0.10, rgb[2] * 0.10)
        glow = (rgb[0] * 2.4, rgb[1] * 2.4, rgb[2] * 2.4) if on else (0.0, 0.0, 0.0)
        at = y + 0.32 - 0.32 * row
        builder.card(disc(x, at, 0.125, 10), Paint(rgb if on else dim, label, glow=glow, day_glow=0.4, rough=0.0))
        if on:
            builder.lights.append(Light((x, at, -0.02), (rgb[0] * 0.6, rgb[1] * 0.6, rgb[2] * 0.6), 0.6, streak=0.6))


@lru_cache(maxsize=8)
def traffic_sign(kind: str) -> Mesh:
    """A sign on its pole: limit, yield, way, parking or stop."""
    builder = MeshBuilder()
    label = CLASS["traffic sign"]
    builder.card(bar((0, 0), (0, 2.9), 0.08), Paint((0.3, 0.31, 0.32), CLASS["pole"], rough=0.05))
    white, red = Paint((0.75, 0.75, 0.75), label, rough=0.02), Paint((0.55, 0.02, 0.03), label, rough=0.02)
    blue, black = Paint((0.01, 0.08, 0.42), label, rough=0.02), Paint((0.02, 0.02, 0.02), label)
    y = 2.55
    if kind == "limit":
        for outline, paint in ((disc(0, y, 0.36, 18), red), (disc(0, y, 0.27, 18), white)):
            builder.card(outline, paint)
        builder.card(bar((-0.12, y), (-0.03, y), 0.26), black)
        builder.card(bar((0.04, y), (0.13, y), 0.26), black)
    elif kind == "yield":
        for size, paint in ((0.44, red), (0.27, white)):
            builder.card([(-size, y + 0.5 * size), (size, y + 0.5 * size), (0, y - 1.1 * size)], paint)
    elif kind == "stop":
        builder.card(disc(0, y, 0.39, 8), red)
        builder.card(bar((-0.27, y), (0.27, y), 0.14), white)
    elif kind == "way":
        builder.card(disc(0, y, 0.36, 18), blue)
        builder.card(bar((0, y - 0.2), (0, y + 0.14), 0.10), white)
        builder.card([(-0.16, y + 0.05), (0.16, y + 0.05), (0, y + 0.25)], white)
    else:
        builder.card(bar((0, y - 0.34), (0, y + 0.34), 0.62), blue)
        builder.card(bar((-0.12, y - 0.24), (-0.12, y + 0.24), 0.10), white)
        builder.card(disc(0.04, y + 0.12, 0.14, 10), white)
    builder.footprints.append(Footprint(0.0, 0.0, 0.05, 0.05, 2.6))
    return builder.build()


@lru_cache(maxsize=TREE_KINDS)
def tree(kind: int) -> Mesh:
    """A tree, 5 to 11 m high, the later kinds higher; trunk and crown are vegetation, as in Cityscapes.

    Args:
        kind: 0 to `TREE_KINDS` - 1; a street's trees are drawn from these.
    """
    rng = np.random.default_rng([kind, 71])
    height = 5.0 + 6.0 * kind / TREE_KINDS
    builder = MeshBuilder()
    label = CLASS["vegetation"]
    bark = Paint((0.07, 0.05, 0.035), label, rough=0.4)
    crown, fork = height * 0.34, height * 0.42
    builder.card([(-0.17, 0), (-0.10, fork), (0.10, fork), (0.17, 0)], bark)
    for side in (-1.0, 1.0):
        builder.card(bar((0, fork - 0.4), (side * crown * 0.6, height * 0.62), 0.12), bark)
    hue = rng.uniform(0.7, 1.3)
    middle = height * 0.68
    centres = [(0.0, middle)] + [
        (crown * 0.62 * np.cos(a), middle + crown * 0.5 * np.sin(a)) for a in rng.uniform(0, 0.6) + np.arange(6) * 1.05
    ]
    for x, y in sorted(centres, key=lambda c: -c[1]):
        builder.card(blob(rng, x, y, crown * rng.uniform(0.5, 0.66)), _leaf(rng, hue, 0.62))
    _leaf_clumps(builder, rng, (middle, crown), hue)
    builder.footprints.append(Footprint(0.0, 0.0, crown, crown, height * 0.5, lift=height * 0.45))
    builder.footprints.append(Footprint(0.0, 0.0, 0.15, 0.15, fork))
    return builder.build()


def _leaf(rng: np.random.Generator, hue: float, tone: float, min_px: float = 0.4) -> Paint:
    shade = tone * rng.uniform(0.85, 1.15)
    rgb = (0.085 * hue * shade, 0.15 * shade, 0.03 * shade)
    return Paint(rgb, CLASS["vegetation"], rough=0.85, min_px=min_px)


def _leaf_clumps(builder: MeshBuilder, rng: np.random.Generator, crown: tuple[float, float], hue: float) -> None:
    """Lighter clumps towards the top, darker ones below, so that a crown has volume."""
    middle, radius = crown
    for _ in range(22):
        angle, reach = rng.uniform(0, 2 * np.pi), radius * 0.92 * np.sqrt(rng.random())
        x, y = reach * np.cos(angle), reach * np.sin(angle) * 0.85
        tone = 0.95 + 0.55 * y / radius
        clump = blob(rng, x, middle + y, radius * rng.uniform(0.12, 0.24), 9)
        builder.card(clump, _leaf(rng, hue, tone, min_px=9.0))


def hedge(rng: np.random.Generator, length: float, height: float) -> Mesh:
    """A hedge along the street, from z = 0 to ``length``, with a ragged top."""
    builder = MeshBuilder()
    steps = max(int(length / 0.8), 2)
    z = np.linspace(0, length, steps)
    top = height * rng.uniform(0.82, 1.1, steps)
    side: Floats = np.column_stack([np.zeros(steps), top, z])
    builder.face(np.concatenate([[(0, 0, 0)], side, [(0, 0, length)]]), _leaf(rng, 1.0, 0.8))
    return builder.build()


def fence(length: float, height: float) -> Mesh:
    """An iron fence along the street, from z = 0 to ``length``; the gaps are annotated as fence, as in Cityscapes."""
    builder = MeshBuilder()
    label = CLASS["fence"]
    builder.side_wall(0.0, (0.0, length), (0.0, height), Paint((0.06, 0.075, 0.05), label, rough=0.5))
    iron = Paint((0.02, 0.02, 0.022), label, rough=0.0, min_px=0.8)
    for z in np.arange(0.0, length, 0.45):
        builder.side_wall(0.0, (z, z + 0.10), (0.0, height), iron)
    for y in (0.12, height - 0.2):
        builder.side_wall(0.0, (0.0, length), (y, y + 0.09), iron)
    return builder.build()


def garden_wall(length: float, height: float, rgb: Color) -> Mesh:
    """A low wall along the street, from z = 0 to ``length``, with a coping."""
    builder = MeshBuilder()
    label = CLASS["wall"]
    builder.side_wall(0.0, (0.0, length), (0.0, height), Paint(rgb, label, rough=0.35))
    seam = Paint((rgb[0] * 0.6, rgb[1] * 0.6, rgb[2] * 0.6), label, rough=0.2)
    for y in np.arange(0.35, height - 0.1, 0.35):
        builder.side_wall(0.0, (0.0, length), (y, y + 0.035), seam)
    builder.side_wall(
        0.0, (0.0, length), (height - 0.14, height), Paint((rgb[0] * 1.3, rgb[1] * 1.3, rgb[2] * 1.3), label)
    )
    return builder.build()
