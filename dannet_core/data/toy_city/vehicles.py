"""Cars, vans, trucks, buses and trams of the toy city, as extruded side profiles with painted details."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dannet_core.data.toy_city.mesh import CLASS, Color, Floats, Footprint, Light, Mesh, MeshBuilder, Paint, disc

GLASS: Color = (0.03, 0.04, 0.05)
RUBBER: Color = (0.012, 0.012, 0.013)
CHROME: Color = (0.35, 0.36, 0.38)
CAR_COLORS: tuple[Color, ...] = (
    (0.55, 0.56, 0.58), (0.03, 0.03, 0.035), (0.70, 0.71, 0.72), (0.30, 0.02, 0.02), (0.03, 0.07, 0.22),
    (0.16, 0.17, 0.18), (0.05, 0.13, 0.07), (0.42, 0.32, 0.14),
)  # fmt: skip
HEADLIGHT: Color = (1.0, 0.95, 0.82)
TAILLIGHT: Color = (1.0, 0.05, 0.03)


@dataclass(frozen=True)
class Body:
    """Side view of a vehicle: its tail at z = 0, its nose at ``length``; metres.

    Attributes:
        outline: (z, y) corners from tail bottom over the roof to nose bottom.
        windows: polygons of (z, y) on both sides.
        glazed: indices of outline edges that are wind-screens.
        wheels: (z, radius) of each axle.
    """

    outline: tuple[tuple[float, float], ...]
    windows: tuple[tuple[tuple[float, float], ...], ...]
    glazed: tuple[int, ...]
    wheels: tuple[tuple[float, float], ...]
    width: float
    label: int

    @property
    def length(self) -> float:
        """Metres from tail to nose."""
        return max(z for z, _ in self.outline)

    @property
    def height(self) -> float:
        """Metres from the road to the roof."""
        return max(y for _, y in self.outline)


def _panes(
    start: float, end: float, count: int, low: float, high: float
) -> tuple[tuple[tuple[float, float], ...], ...]:
    step = (end - start) / count
    edges = [(start + i * step + 0.06, start + (i + 1) * step - 0.06) for i in range(count)]
    return tuple(((a, low), (a, high), (b, high), (b, low)) for a, b in edges)


SALOON = Body(
    outline=((0.0, 0.30), (0.02, 0.78), (0.12, 0.98), (0.62, 1.03), (1.18, 1.45), (2.55, 1.47), (3.35, 1.02),
             (4.25, 0.86), (4.42, 0.66), (4.44, 0.30)),
    windows=(((0.85, 1.05), (1.28, 1.38), (1.95, 1.40), (1.95, 1.02)),
             ((2.03, 1.02), (2.03, 1.40), (2.5, 1.40), (3.1, 1.02))),
    glazed=(3, 5), wheels=((0.80, 0.32), (3.55, 0.32)), width=1.78, label=CLASS["car"],
)  # fmt: skip
HATCHBACK = Body(
    outline=((0.0, 0.30), (0.0, 0.80), (0.10, 1.02), (0.48, 1.46), (2.25, 1.52), (2.98, 1.06), (3.72, 0.92),
             (3.92, 0.66), (3.94, 0.30)),
    windows=(((0.42, 1.06), (0.65, 1.40), (1.45, 1.43), (1.45, 1.04)),
             ((1.53, 1.04), (1.53, 1.43), (2.2, 1.43), (2.75, 1.04))),
    glazed=(2, 4), wheels=((0.62, 0.31), (3.18, 0.31)), width=1.74, label=CLASS["car"],
)  # fmt: skip
ESTATE = Body(
    outline=((0.0, 0.34), (0.0, 0.95), (0.08, 1.10), (0.36, 1.66), (2.9, 1.68), (3.6, 1.16), (4.4, 1.02),
             (4.6, 0.75), (4.62, 0.34)),
    windows=(((0.35, 1.16), (0.5, 1.56), (1.2, 1.58), (1.2, 1.14)),
             ((1.28, 1.14), (1.28, 1.58), (2.1, 1.58), (2.1, 1.14)),
             ((2.18, 1.14), (2.18, 1.58), (2.85, 1.58), (3.35, 1.14))),
    glazed=(2, 4), wheels=((0.85, 0.35), (3.75, 0.35)), width=1.86, label=CLASS["car"],
)  # fmt: skip
TRUCK = Body(
    outline=((0.0, 0.65), (0.0, 3.35), (5.6, 3.35), (5.7, 3.05), (6.9, 3.0), (7.35, 1.9), (7.45, 0.5)),
    windows=(((6.0, 1.85), (6.0, 2.7), (6.75, 2.7), (7.05, 1.85)),),
    glazed=(4,), wheels=((1.3, 0.48), (2.4, 0.48), (6.3, 0.48)), width=2.4, label=CLASS["truck"],
)  # fmt: skip
BUS = Body(
    outline=((0.0, 0.45), (0.0, 2.95), (0.2, 3.1), (11.7, 3.1), (11.95, 1.2), (12.0, 0.45)),
    windows=_panes(0.5, 11.4, 7, 1.35, 2.55),
    glazed=(3,), wheels=((2.6, 0.5), (9.4, 0.5)), width=2.55, label=CLASS["bus"],
)  # fmt: skip
TRAM = Body(
    outline=((0.0, 0.35), (0.25, 1.5), (0.7, 3.35), (25.3, 3.35), (25.75, 1.5), (26.0, 0.35)),
    windows=_panes(1.2, 24.8, 13, 1.3, 2.7),
    glazed=(1, 3), wheels=(), width=2.4, label=CLASS["train"],
)  # fmt: skip


@lru_cache(maxsize=512)
def vehicle(body: Body, rgb: Color, away: bool, *, lit: bool = True, interior: float = 0.0) -> Mesh:
    """A vehicle along the street with its near end at z = 0, centred on x = 0.

    Args:
        body: its shape.
        rgb: paint.
        away: True shows its tail to a camera looking along +z, False its nose.
        lit: lights on (parked vehicles are dark).
        interior: brightness of the windows at night (buses and trams).
    """
    builder = MeshBuilder()
    paint = Paint(rgb, body.label, rough=0.05)
    glass = Paint(GLASS, body.label, glow=(interior, interior * 0.92, interior * 0.72), rough=0.04, min_px=1.2)
    profile = np.array([(z if away else body.length - z, y) for z, y in body.outline])
    _shell(builder, body, profile, paint, glass)
    for side in (-1.0, 1.0):
        _flank(builder, body, side, away, (paint, glass))
    _end_details(builder, body, away, lit)
    builder.footprints.append(
        Footprint(0.0, body.length / 2, body.width / 2, body.length / 2, body.height * 0.8, lift=0.2)
    )
    return builder.build()


def _shell(builder: MeshBuilder, body: Body, profile: Floats, paint: Paint, glass: Paint) -> None:
    half = body.width / 2
    centre = (0.0, body.height * 0.45, body.length / 2)
    edges = list(enumerate(itertools.pairwise(profile)))
    # Far end first: the bonnet of a car driving away is then covered by its cabin.
    for index, (a, b) in sorted(edges, key=lambda item: -(item[1][0][0] + item[1][1][0])):
        corners = [(-half, a[1], a[0]), (half, a[1], a[0]), (half, b[1], b[0]), (-half, b[1], b[0])]
        builder.face(corners, paint, centre)
        if index in body.glazed:
            middle = np.mean(corners, axis=0)
            inset = (np.asarray(corners) - middle) * (0.86, 0.84, 0.84) + middle
            builder.face(inset, glass, centre)


def _flank(builder: MeshBuilder, body: Body, side: float, away: bool, paints: tuple[Paint, Paint]) -> None:
    x = side * body.width / 2
    centre = (0.0, body.height * 0.45, body.length / 2)

    def add(outline: npt.ArrayLike, paint: Paint, out: float = 0.0) -> None:
        flat = np.asarray(outline, dtype=np.float64)
        z = flat[:, 0] if away else body.length - flat[:, 0]
        builder.face(np.column_stack([np.full(len(flat), x + side * out), flat[:, 1], z]), paint, centre)

    paint, glass = paints
    add(body.outline, paint)
    red, green, blue = paint.rgb
    sill = Paint((red * 0.45, green * 0.45, blue * 0.45), body.label, rough=0.04, min_px=1.5)
    low = min(y for _, y in body.outline)
    add(((0.05, low), (0.05, low + 0.16), (body.length - 0.05, low + 0.16), (body.length - 0.05, low)), sill)
    for window in body.windows:
        add(window, glass)
    for z, radius in body.wheels:
        add(disc(z, radius, radius * 1.12), Paint(RUBBER, body.label, min_px=1.0), 0.005)
        add(disc(z, radius, radius * 0.62), Paint(CHROME, body.label, min_px=2.5), 0.01)


def _end_details(builder: MeshBuilder, body: Body, away: bool, lit: bool) -> None:
    """Lamps, bumper and number plate on the end that the camera sees."""
    half, low = body.width / 2, min(y for _, y in body.outline)
    lamp_y = low + (0.42 if body.label == CLASS["car"] else 0.35)
    color = TAILLIGHT if away else HEADLIGHT
    strength = 0.0 if not lit else (1.6 if away else 3.2)
    lamp = Paint(
        (0.25, 0.01, 0.01) if away else (0.6, 0.6, 0.6),
        body.label,
        glow=(color[0] * strength, color[1] * strength, color[2] * strength),
        rough=0.0,
        day_glow=0.12,
    )
    z = -0.02
    builder.front_wall(
        (-half + 0.06, half - 0.06), z, (low, low + 0.2), Paint((0.03, 0.03, 0.03), body.label, min_px=1.5)
    )
    builder.front_wall(
        (-0.26, 0.26), z, (low + 0.24, low + 0.35), Paint((0.7, 0.7, 0.66), body.label, rough=0.0, min_px=1.5)
    )
    for side in (-1, 1):
        inner, outer = side * (half - 0.42), side * (half - 0.08)
        builder.front_wall((min(inner, outer), max(inner, outer)), z, (lamp_y - 0.08, lamp_y + 0.09), lamp)
        if lit:
            at = (side * (half - 0.25), lamp_y, -0.05)
            power = (0.45, 1.0)[not away]
            rgb = (color[0] * power, color[1] * power, color[2] * power)
            builder.lights.append(Light(at, rgb, 0.55 if away else 0.85, streak=0.5 if away else 0.8))
    if body.label in (CLASS["bus"], CLASS["train"]):
        board = Paint((0.02, 0.02, 0.02), body.label, glow=(1.1, 0.55, 0.08), day_glow=0.3)
        builder.front_wall((-0.7, 0.7), z, (body.height - 0.5, body.height - 0.25), board)
