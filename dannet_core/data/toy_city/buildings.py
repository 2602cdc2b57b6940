"""House fronts of the toy city: walls, windows, shops, doors, cornices and balconies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dannet_core.data.toy_city.mesh import BLACK, CLASS, Color, Light, Mesh, MeshBuilder, Paint

STOREY_M = 3.1
SHOP_M = 3.9
WALLS: tuple[Color, ...] = (
    (0.46, 0.38, 0.27), (0.52, 0.47, 0.38), (0.30, 0.12, 0.08), (0.34, 0.34, 0.34), (0.50, 0.33, 0.17),
    (0.24, 0.26, 0.29), (0.58, 0.54, 0.47), (0.36, 0.20, 0.13), (0.42, 0.44, 0.36), (0.55, 0.43, 0.35),
)  # fmt: skip
PANE: Color = (0.045, 0.06, 0.08)
LIT: tuple[Color, ...] = ((1.0, 0.72, 0.36), (1.0, 0.82, 0.52), (0.95, 0.9, 0.75), (0.75, 0.88, 1.0), (1.0, 0.6, 0.25))
SHOP_SIGNS: tuple[Color, ...] = (
    (0.9, 0.08, 0.06),
    (0.06, 0.3, 0.95),
    (0.1, 0.8, 0.3),
    (0.95, 0.9, 0.8),
    (0.95, 0.55, 0.05),
)
LABEL = CLASS["building"]


@dataclass(frozen=True)
class Facade:
    """Maps facade coordinates (s along, t up; metres) to the street: along z at ``x``, or along x at ``z``."""

    x: float
    z: float
    along_street: bool
    outward: float

    def quad(
        self, s: tuple[float, float], t: tuple[float, float], out: float = 0.0
    ) -> list[tuple[float, float, float]]:
        """Corners of a rectangle on the facade, ``out`` metres in front of it."""
        corners = [(s[0], t[0]), (s[1], t[0]), (s[1], t[1]), (s[0], t[1])]
        if self.along_street:
            return [(self.x + self.outward * out, t_, self.z + s_) for s_, t_ in corners]
        return [(self.x + s_, t_, self.z - out) for s_, t_ in corners]


@dataclass(frozen=True)
class House:
    """A house at the street: ``side`` -1 left or +1 right, its front at |x| = ``front_x``, from z0 on; metres."""

    side: int
    front_x: float
    z0: float
    width: float
    storeys: int
    shop: bool

    @property
    def height(self) -> float:
        """Metres to the eaves."""
        return (SHOP_M if self.shop else STOREY_M) + (self.storeys - 1) * STOREY_M + 0.5


def house(rng: np.random.Generator, plan: House, gable_from: float) -> Mesh:
    """Build a house.

    Args:
        rng: picks colours, window sizes and who is at home.
        plan: where it stands and how large it is.
        gable_from: windows on the gable facing the camera start at this height (what the neighbour hides has none).
    """
    builder = MeshBuilder()
    wall = WALLS[int(rng.integers(len(WALLS)))]
    x = plan.side * plan.front_x
    depth = 12.0
    gable = Facade(min(x, x + plan.side * depth), plan.z0, along_street=False, outward=0.0)
    street = Facade(x, plan.z0, along_street=True, outward=-float(plan.side))
    _wall(builder, gable, depth, plan.height, _shade(wall, 0.9))
    _upper_windows(builder, rng, gable, (depth, plan.height), max(gable_from, SHOP_M) + 0.4, wall)
    _wall(builder, street, plan.width, plan.height, wall)
    ground_floor = SHOP_M if plan.shop else STOREY_M
    _upper_windows(builder, rng, street, (plan.width, plan.height), ground_floor, wall)
    if plan.shop:
        _shop(builder, rng, street, plan.width)
    else:
        _ground_floor(builder, rng, street, plan.width, wall)
    _trim(builder, street, plan, wall)
    return builder.build()


def _shade(rgb: Color, factor: float) -> Color:
    return (rgb[0] * factor, rgb[1] * factor, rgb[2] * factor)


def _wall(builder: MeshBuilder, facade: Facade, width: float, height: float, rgb: Color) -> None:
    builder.face(facade.quad((0, width), (0, height)), Paint(rgb, LABEL, rough=0.22))
    builder.face(facade.quad((0, width), (0, 0.7)), Paint(_shade(rgb, 0.6), LABEL, rough=0.3))


def _window_glow(rng: np.random.Generator, share_lit: float) -> Color:
    if rng.random() > share_lit:
        return BLACK
    return _shade(LIT[int(rng.integers(len(LIT)))], rng.uniform(0.25, 1.15))


def _upper_windows(
    builder: MeshBuilder,
    rng: np.random.Generator,
    facade: Facade,
    size: tuple[float, float],
    base: float,
    wall: Color,
) -> None:
    width, height = size
    bays = max(int(width / rng.uniform(2.3, 3.2)), 1)
    bay, glass_width = width / bays, rng.uniform(0.42, 0.62)
    frame = Paint(_shade(wall, 1.45) if rng.random() < 0.6 else _shade(wall, 0.5), LABEL, rough=0.1, min_px=2.5)
    balconies = rng.random() < 0.25 and facade.along_street
    for floor in np.arange(base, height - 2.4, STOREY_M):
        for index in range(bays):
            left = index * bay + bay * (1 - glass_width) / 2
            right, low, high = left + bay * glass_width, floor + 0.85, floor + 2.45
            glow = _window_glow(rng, 0.28)
            builder.face(facade.quad((left - 0.1, right + 0.1), (low - 0.14, high + 0.1)), frame)
            builder.face(facade.quad((left, right), (low, high)), Paint(PANE, LABEL, glow=glow, rough=0.02, min_px=0.8))
            _window_details(builder, rng, facade, (left, right, low, high), glow)
        if balconies:
            rail = Paint((0.05, 0.05, 0.055), LABEL, rough=0.1)
            builder.face(facade.quad((bay * 0.2, width - bay * 0.2), (floor, floor + 0.95), 0.6), rail)


def _window_details(
    builder: MeshBuilder,
    rng: np.random.Generator,
    facade: Facade,
    box: tuple[float, float, float, float],
    glow: Color,
) -> None:
    left, right, low, high = box
    middle = (left + right) / 2
    bar = Paint((0.4, 0.4, 0.38), LABEL, glow=_shade(glow, 0.25), rough=0.0, min_px=0.7)
    builder.face(facade.quad((middle - 0.04, middle + 0.04), (low, high)), bar)
    if rng.random() < 0.3:
        drawn = Paint((0.3, 0.28, 0.25), LABEL, glow=_shade(glow, 0.45), rough=0.1, min_px=2.0)
        builder.face(facade.quad((left, right), (high - rng.uniform(0.3, 1.1), high)), drawn)


def _shop(builder: MeshBuilder, rng: np.random.Generator, facade: Facade, width: float) -> None:
    dark = Paint((0.06, 0.06, 0.065), LABEL, rough=0.05)
    builder.face(facade.quad((0.2, width - 0.2), (0, SHOP_M - 0.35)), dark)
    panes = max(int(width / 3.4), 1)
    pane = (width - 0.8) / panes
    light = LIT[int(rng.integers(len(LIT)))]
    power = rng.uniform(0.9, 1.7) if rng.random() < 0.75 else 0.06
    for index in range(panes):
        left, right = 0.4 + index * pane + 0.12, 0.4 + (index + 1) * pane - 0.12
        low = 0.12 if index == panes // 2 else 0.55
        glow = _shade(light, power * rng.uniform(0.8, 1.1))
        builder.face(facade.quad((left, right), (low, 2.75)), Paint(PANE, LABEL, glow=glow, rough=0.05, day_glow=0.12))
        for _ in range(5):
            at, top = rng.uniform(left, right - 0.4), rng.uniform(0.9, 2.1)
            goods = Paint(
                (rng.uniform(0, 0.3), rng.uniform(0, 0.3), rng.uniform(0, 0.3)),
                LABEL,
                glow=_shade((rng.uniform(0.05, 0.7), rng.uniform(0.05, 0.7), rng.uniform(0.05, 0.7)), power),
                day_glow=0.12,
                min_px=1.5,
            )
            builder.face(facade.quad((at, min(at + rng.uniform(0.25, 0.7), right)), (low, top)), goods)
    sign = SHOP_SIGNS[int(rng.integers(len(SHOP_SIGNS)))]
    board = Paint(_shade(sign, 0.5), LABEL, glow=_shade(sign, 1.2 if power > 0.5 else 0.05), rough=0.02, day_glow=0.05)
    builder.face(facade.quad((0.5, width - 0.5), (2.95, 3.45), 0.12), board)
    letters = Paint((0.7, 0.7, 0.7), LABEL, glow=_shade((1.0, 1.0, 1.0), power * 1.2), rough=0.0, min_px=1.0)
    for start in np.arange(width * 0.3, width * 0.68, 0.42):
        if rng.random() < 0.85:
            builder.face(facade.quad((start, start + 0.26), (3.06, 3.34), 0.13), letters)
    if power > 0.5:
        centre = np.mean(facade.quad((0.5, width - 0.5), (2.9, 3.4), 0.2), axis=0)
        middle = (float(centre[0]), float(centre[1]), float(centre[2]))
        builder.lights.append(Light(middle, _shade(light, 0.22), 2.2, streak=0.2))


def _ground_floor(builder: MeshBuilder, rng: np.random.Generator, facade: Facade, width: float, wall: Color) -> None:
    door_at = rng.uniform(0.15, 0.7) * width
    for start in np.arange(0.8, width - 1.6, 2.7):
        if abs(start + 0.6 - door_at) < 1.5:
            continue
        glow = _window_glow(rng, 0.3)
        builder.face(facade.quad((start - 0.1, start + 1.3), (0.95, 2.6)), Paint(_shade(wall, 1.4), LABEL, rough=0.1))
        builder.face(
            facade.quad((start, start + 1.2), (1.05, 2.5)), Paint(PANE, LABEL, glow=glow, rough=0.02, min_px=0.8)
        )
        _window_details(builder, rng, facade, (start, start + 1.2, 1.05, 2.5), glow)
    wood = Paint((0.10, 0.05, 0.03), LABEL, rough=0.25)
    builder.face(facade.quad((door_at - 0.7, door_at + 0.7), (0.0, 2.5)), Paint(_shade(wall, 1.3), LABEL))
    builder.face(facade.quad((door_at - 0.55, door_at + 0.55), (0.0, 2.35)), wood)
    builder.face(facade.quad((door_at - 0.5, door_at + 0.5), (2.4, 2.6)), Paint(PANE, LABEL, glow=(0.9, 0.65, 0.3)))


def _trim(builder: MeshBuilder, facade: Facade, plan: House, wall: Color) -> None:
    top = plan.height
    builder.face(facade.quad((0, plan.width), (top - 0.45, top), 0.25), Paint(_shade(wall, 1.35), LABEL, rough=0.15))
    belt = (SHOP_M if plan.shop else STOREY_M) - 0.12
    builder.face(facade.quad((0, plan.width), (belt, belt + 0.2), 0.06), Paint(_shade(wall, 1.3), LABEL, rough=0.15))
    # The seam between neighbours reads as a drain pipe.
    builder.face(facade.quad((0.02, 0.14), (0.2, top - 0.4), 0.05), Paint((0.09, 0.09, 0.09), LABEL, rough=0.05))
