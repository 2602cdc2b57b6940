"""People, riders and two-wheelers of the toy city, as flat figures that face the camera."""

from __future__ import annotations

import numpy as np

from dannet_core.data.toy_city.mesh import CLASS, Color, Footprint, Light, Mesh, MeshBuilder, Paint, bar, disc, ring

SKIN: tuple[Color, ...] = ((0.55, 0.35, 0.25), (0.40, 0.23, 0.14), (0.16, 0.08, 0.05), (0.62, 0.42, 0.32))
CLOTHES: tuple[Color, ...] = (
    (0.02, 0.03, 0.08), (0.25, 0.02, 0.03), (0.04, 0.04, 0.045), (0.10, 0.16, 0.05), (0.45, 0.42, 0.36),
    (0.05, 0.14, 0.28), (0.50, 0.30, 0.04), (0.20, 0.05, 0.18),
)  # fmt: skip
TROUSERS: tuple[Color, ...] = ((0.02, 0.025, 0.05), (0.03, 0.03, 0.03), (0.10, 0.08, 0.05), (0.05, 0.07, 0.12))
STEEL: Color = (0.10, 0.10, 0.11)
RUBBER: Color = (0.012, 0.012, 0.013)


def _pick(rng: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    return colors[int(rng.integers(len(colors)))]


def person(rng: np.random.Generator, stride: float) -> Mesh:
    """Somebody walking.

    Args:
        rng: picks height and clothes.
        stride: phase of the step, -1..1: how far the legs are apart.
    """
    builder = MeshBuilder()
    label = CLASS["person"]
    size = rng.uniform(0.9, 1.05)
    skin, coat, trousers = _pick(rng, SKIN), _pick(rng, CLOTHES), _pick(rng, TROUSERS)
    hair = (0.03, 0.02, 0.015) if rng.random() < 0.7 else (0.25, 0.16, 0.07)
    leg, coat_paint = Paint(trousers, label), Paint(coat, label, rough=0.18)
    swing = 0.22 * stride
    for side in (-1, 1):
        foot = (0.09 * side + side * swing, 0.05)
        builder.card(bar((0.09 * side, 0.86), foot, 0.16) * size, leg)
        builder.card(bar((foot[0] - 0.07, 0.04), (foot[0] + 0.09, 0.04), 0.08) * size, Paint(RUBBER, label, min_px=1.5))
        builder.card(bar((0.20 * side, 1.40), (0.24 * side - side * swing * 0.9, 0.86), 0.11) * size, coat_paint)
    torso = np.array([(-0.17, 0.78), (-0.23, 1.42), (-0.10, 1.52), (0.10, 1.52), (0.23, 1.42), (0.17, 0.78)])
    builder.card(torso * size, coat_paint)
    shade = Paint((coat[0] * 0.6, coat[1] * 0.6, coat[2] * 0.6), label, min_px=2.0)
    builder.card(np.array([(0.02, 0.78), (0.03, 1.5), (0.10, 1.52), (0.23, 1.42), (0.17, 0.78)]) * size, shade)
    builder.card(disc(0.0, 1.66, 0.125, 10) * size, Paint(skin, label))
    builder.card(disc(0.0, 1.71, 0.12, 10)[:6] * size, Paint(hair, label, min_px=1.5))
    if rng.random() < 0.35:
        bag = np.array([(0.16, 0.75), (0.16, 1.05), (0.40, 1.05), (0.40, 0.75)])
        builder.card(bag * size, Paint(_pick(rng, CLOTHES), label))
    builder.footprints.append(Footprint(0.0, 0.0, 0.25, 0.15, 1.7))
    return builder.build()


def _rider_from_behind(builder: MeshBuilder, rng: np.random.Generator, seat: float) -> None:
    """Legs, back, arms and helmet of a rider whose saddle is at height ``seat`` (metres)."""
    label = CLASS["rider"]
    coat, trousers = _pick(rng, CLOTHES), _pick(rng, TROUSERS)
    for side in (-1, 1):
        knee = seat - 0.42 + 0.08 * side
        builder.card(bar((0.10 * side, seat), (0.17 * side, knee), 0.17), Paint(trousers, label))
        builder.card(bar((0.17 * side, knee), (0.14 * side, knee - 0.30), 0.13), Paint(trousers, label))
        builder.card(bar((0.20 * side, seat + 0.50), (0.30 * side, seat + 0.12), 0.10), Paint(coat, label))
    back = np.array([(-0.19, seat - 0.05), (-0.24, seat + 0.50), (-0.1, seat + 0.6), (0.1, seat + 0.6),
                     (0.24, seat + 0.50), (0.19, seat - 0.05)])  # fmt: skip
    builder.card(back, Paint(coat, label, rough=0.18))
    vest = np.array([(-0.17, seat + 0.22), (-0.18, seat + 0.32), (0.18, seat + 0.32), (0.17, seat + 0.22)])
    builder.card(vest, Paint((0.65, 0.7, 0.15), label))
    builder.card(disc(0.0, seat + 0.74, 0.125, 10), Paint(_pick(rng, SKIN), label))
    builder.card(disc(0.0, seat + 0.79, 0.14, 10)[:6], Paint((0.6, 0.6, 0.6) if rng.random() < 0.5 else coat, label))


def cyclist(rng: np.random.Generator, away: bool) -> Mesh:
    """A bicycle with its rider, seen from behind (``away``) or from the front."""
    builder = MeshBuilder()
    label = CLASS["bicycle"]
    builder.card(bar((0.0, 0.0), (0.0, 0.68), 0.07), Paint(RUBBER, label))
    builder.card(bar((0.0, 0.45), (0.0, 0.98), 0.06), Paint(STEEL, label))
    builder.card(bar((-0.34, 1.02), (0.34, 1.02), 0.05), Paint(STEEL, label))
    builder.card(bar((-0.16, 0.32), (0.16, 0.32), 0.06), Paint(STEEL, label))
    builder.card(bar((-0.10, 0.42), (0.10, 0.42), 0.30), Paint((0.14, 0.10, 0.05), label, rough=0.3))
    _rider_from_behind(builder, rng, 0.95)
    color = (0.5, 0.02, 0.02) if away else (0.6, 0.6, 0.5)
    lamp = Paint(color, label, glow=(color[0] * 3, color[1] * 3, color[2] * 3))
    builder.card(disc(0.0, 0.72, 0.05, 8), lamp)
    builder.lights.append(Light((0.0, 0.72, -0.02), (color[0] * 0.5, color[1] * 0.5, color[2] * 0.5), 0.3, 0.3))
    builder.footprints.append(Footprint(0.0, 0.0, 0.25, 0.8, 1.5))
    return builder.build()


def motorcyclist(rng: np.random.Generator, away: bool) -> Mesh:
    """A motorcycle with its rider, seen from behind (``away``) or from the front."""
    builder = MeshBuilder()
    label = CLASS["motorcycle"]
    paint = Paint(_pick(rng, CLOTHES), label, rough=0.05)
    builder.card(bar((0.0, 0.0), (0.0, 0.62), 0.17), Paint(RUBBER, label))
    builder.card(bar((0.16, 0.25), (0.22, 0.5), 0.12), Paint((0.3, 0.3, 0.32), label))
    _rider_from_behind(builder, rng, 0.86)
    builder.card(np.array([(-0.2, 0.42), (-0.24, 0.86), (0.24, 0.86), (0.2, 0.42)]), paint)
    builder.card(bar((-0.42, 1.0), (0.42, 1.0), 0.06), Paint(STEEL, label))
    for side in (-1, 1):
        builder.card(disc(0.44 * side, 1.12, 0.08, 8), Paint(STEEL, label))
    color = (1.0, 0.05, 0.03) if away else (1.0, 0.95, 0.85)
    builder.card(disc(0.0, 0.76, 0.09, 10), Paint(color, label, glow=(color[0] * 2.5, color[1] * 2.5, color[2] * 2.5)))
    builder.lights.append(Light((0.0, 0.76, -0.02), (color[0] * 0.7, color[1] * 0.7, color[2] * 0.7), 0.7, 0.6))
    builder.footprints.append(Footprint(0.0, 0.0, 0.35, 1.0, 1.4))
    return builder.build()


def parked_bicycle(rng: np.random.Generator) -> Mesh:
    """A bicycle on its stand, seen from the side."""
    builder = MeshBuilder()
    label = CLASS["bicycle"]
    frame = Paint(_pick(rng, CLOTHES), label, rough=0.02)
    for x in (-0.52, 0.52):
        builder.card(ring(x, 0.34, 0.34, 0.07), Paint(RUBBER, label))
        builder.card(disc(x, 0.34, 0.05, 8), Paint(STEEL, label))
    joints = {
        "rear": (-0.52, 0.34),
        "crank": (-0.06, 0.32),
        "seat": (-0.2, 0.82),
        "head": (0.36, 0.8),
        "front": (0.52, 0.34),
    }
    for a, b in (
        ("rear", "crank"),
        ("rear", "seat"),
        ("crank", "seat"),
        ("crank", "head"),
        ("seat", "head"),
        ("head", "front"),
    ):
        builder.card(bar(joints[a], joints[b], 0.06), frame)
    builder.card(bar((-0.34, 0.92), (-0.06, 0.92), 0.08), Paint(RUBBER, label))
    builder.card(bar((0.32, 0.98), (0.36, 0.8), 0.05), frame)
    builder.card(bar((0.22, 1.0), (0.44, 0.98), 0.05), Paint(RUBBER, label))
    builder.footprints.append(Footprint(0.0, 0.0, 0.8, 0.1, 0.9))
    return builder.build()


def parked_motorcycle(rng: np.random.Generator) -> Mesh:
    """A motorcycle on its stand, seen from the side."""
    builder = MeshBuilder()
    label = CLASS["motorcycle"]
    paint = Paint(_pick(rng, CLOTHES), label, rough=0.05)
    for x in (-0.68, 0.68):
        builder.card(ring(x, 0.31, 0.31, 0.13), Paint(RUBBER, label))
        builder.card(disc(x, 0.31, 0.12, 10), Paint(STEEL, label))
    builder.card(np.array([(-0.3, 0.3), (-0.34, 0.62), (0.32, 0.62), (0.28, 0.3)]), Paint((0.12, 0.12, 0.13), label))
    builder.card(np.array([(-0.8, 0.78), (-0.7, 0.6), (-0.1, 0.6), (0.0, 0.78), (-0.3, 0.84)]), Paint(RUBBER, label))
    builder.card(np.array([(-0.08, 0.6), (-0.02, 0.88), (0.36, 0.92), (0.46, 0.7), (0.3, 0.58)]), paint)
    builder.card(bar((0.42, 0.96), (0.66, 0.34), 0.08), Paint(STEEL, label))
    builder.card(bar((0.24, 1.06), (0.44, 0.98), 0.05), Paint(RUBBER, label))
    builder.card(disc(0.5, 0.86, 0.09, 8), Paint((0.6, 0.6, 0.58), label))
    builder.footprints.append(Footprint(0.0, 0.0, 1.0, 0.15, 0.9))
    return builder.build()
