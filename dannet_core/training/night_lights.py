"""Lights where the labels of a day picture say that lamps and lit panes are; not part of the paper.

By night what shines tells what it belongs to: two white lamps with a lit road before them are a car, a row of bright
panes is a bus or a house, a green halo is a traffic light. `darkening.with_lights` puts lamps anywhere, which teaches
that light means nothing. Here they stand on what carries them, by rules that hold for every street: sizes in metres,
the horizon, glass that is dark by day. What the camera makes of them is `light_map.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from dannet_core.classes import IGNORE_ID
from dannet_core.data.loaders import seeded
from dannet_core.errors import SettingsError
from dannet_core.training import streams
from dannet_core.training.darkening import darken, normalised, shown
from dannet_core.training.light_map import Bools, Box, Ids, Lamp, LightMap, Rgb, boxes, horizon_of


class Vehicle(NamedTuple):
    """Metres: height of the body, as far as its label goes; width of its end; height and half distance of its lamps."""

    height: float
    width: float
    lamp_height: float
    lamp_apart: float


VEHICLES: Final = {
    "car": Vehicle(1.5, 1.8, 0.72, 0.62),
    "truck": Vehicle(3.2, 2.4, 0.9, 0.95),
    "bus": Vehicle(3.1, 2.5, 0.8, 1.0),
    "train": Vehicle(3.3, 2.4, 0.75, 0.95),
    "motorcycle": Vehicle(0.95, 0.8, 0.75, 0.0),
    "bicycle": Vehicle(1.0, 0.6, 0.72, 0.0),
}
"""By class name; two-wheelers without their riders, who have a label of their own, and with one lamp."""
PANED: Final = ("bus", "train")
GROUND: Final = ("road", "sidewalk", "terrain")
WHOLE_DARK, CUT_DARK, RIDDEN_DARK, STANDING_DARK = 0.35, 0.6, 0.1, 0.9
"""Shares of vehicles without lights: of whole ones, of those that the picture's edge cuts, of two-wheelers seen along
the street, which are ridden, and of those seen from their side, which stand. Half the others show their front, half
their rear.
"""
FRONT: Final = Lamp((1.0, 0.95, 0.82), 0.85, 0.10, (0.34, 0.17), 3.0)
REAR: Final = Lamp((0.45, 0.02, 0.015), 0.55, 0.06, (0.34, 0.17), 3.0)
SIGNALS: Final[tuple[Rgb, ...]] = ((0.6, 0.03, 0.02), (0.6, 0.3, 0.02), (0.04, 0.6, 0.25))
"""Red, amber, green, from the top; a lamp's place is a share of the signal's height from its middle."""
SIGNAL_HEIGHT_M, SIGNAL_STEP = 1.04, 0.3
STREET_LAMPS: Final[tuple[Rgb, ...]] = ((1.0, 0.92, 0.74), (1.0, 0.7, 0.35), (0.85, 0.95, 1.0))
LAMP_SPACINGS_M, LAMP_HEIGHTS_M, LAMP_SIDES_M = (20.0, 35.0), (6.0, 9.0), (3.5, 8.0)
LAMPS_IN_A_ROW: Final = 6
PANE_LIGHTS: Final[tuple[Rgb, ...]] = (
    (1.0, 0.72, 0.36), (1.0, 0.82, 0.52), (0.95, 0.9, 0.75), (0.75, 0.88, 1.0), (1.0, 0.6, 0.25)
)  # fmt: skip
SIGN_LIGHTS: Final[tuple[Rgb, ...]] = ((0.9, 0.08, 0.06), (0.06, 0.3, 0.95), (0.1, 0.8, 0.3), (0.95, 0.9, 0.8))
DARK_GLASS: Final = 0.5
"""Glass is darker by day than this share of what surrounds it, in linear light."""
FLATTEN: Final = (0.0, 0.8)
"""How much of the sun's uneven light is divided out, an exponent."""
FALL_OFF: Final = (0.5, 5.0)
"""Lamps light what is low: brightness falls by e to minus so much within a picture's height above the horizon."""
LAMP_LIGHT: Final = 2.5
"""Night pixels above so many times the picture's median are lamps, or what they shine on."""


class PlacedLights:
    """Shows day pictures by night, with lights where their labels say.

    Args:
        names: of the classes by train id; those of Cityscapes are understood, the others carry no lights.

    Raises:
        SettingsError: no class of the set carries lights.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._ids = {name: index for index, name in enumerate(names)}
        carriers = {*VEHICLES, "building", "traffic light", "pole"}
        if not carriers & self._ids.keys():
            raise SettingsError(
                f"beyond.lights: got placed with classes {', '.join(names)}, expected one of "
                f"{', '.join(sorted(carriers))}: set it to random"
            )

    def __call__(self, day: Tensor, night: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """As `darkening.shown_by_night`: `darkened`, then `lit`."""
        return self.lit(self.darkened(day, night, labels, generator), day, labels, generator)

    def darkened(self, day: Tensor, night: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """As `darken`, without what only the sun does: deep shadows, and light from above; and without lamps.

        Args:
            day: 3 x H x W, ImageNet-normalised.
            night: the same; its lamps do not count for the brightness of a class.
            labels: H x W int64 train ids of the day, 255 = not labelled.
            generator: on the CPU.
        """
        flatten, fall_off = torch.rand(2, generator=_own(generator, 1)).tolist()
        bright = shown(day)
        side = max(1, day.shape[-2] // 8)
        around = _blurred(bright.mean(dim=0, keepdim=True), side)
        flat = bright * (bright.mean() / around.clamp(min=0.02)) ** _between(FLATTEN, flatten)
        horizon = horizon_of(self._on_ground(_numpy(labels)))
        above = (horizon - torch.arange(day.shape[-2], device=day.device)).clamp(min=0) / day.shape[-2]
        flat = flat * torch.exp(-_between(FALL_OFF, fall_off) * above)[:, None]
        seen = shown(night)
        seen = seen.clamp(max=LAMP_LIGHT * float(seen.mean(dim=0).median()))
        return darken(normalised(flat.clamp(0, 1)), normalised(seen), labels, generator)

    def lit(
        self, dark: Tensor, day: Tensor, labels: Tensor, generator: torch.Generator, seen: Tensor | None = None
    ) -> Tensor:
        """A dark picture with the lights of what is labelled; their glare falls on everything around.

        Args:
            dark: 3 x H x W, ImageNet-normalised.
            day: the same by day: what a light falls on, and where glass is.
            labels: H x W int64 train ids of the day.
            generator: on the CPU.
            seen: H x W bool, where the dark picture shows the day's scene; elsewhere stands no light. None = all of it.

        Returns:
            3 x H x W, ImageNet-normalised; nothing gets darker.
        """
        rng = np.random.default_rng(_own(generator, 2).initial_seed())
        ids = _numpy(labels)
        shows = np.ones(ids.shape, dtype=bool) if seen is None else _numpy(seen)
        linear = np.ascontiguousarray(_numpy(shown(day) ** 2.2).transpose(1, 2, 0))
        lights = LightMap(linear, self._on_ground(ids), shows, rng)
        ids = np.where(shows, ids, IGNORE_ID)
        self._add_panes(lights, ids, rng)
        self._add_vehicles(lights, ids, rng)
        self._add_signals(lights, ids, rng)
        self._add_street_lamps(lights, ids, rng)
        light = torch.from_numpy(lights.finished().transpose(2, 0, 1)).to(dark.device)
        # Film and sensors saturate: 1 - (1 - dark) e^-light is dark itself without light.
        exposed = 1 - (1 - shown(dark) ** 2.2) * torch.exp(-light)
        return normalised(exposed.clamp(0, 1) ** (1 / 2.2))

    def _on_ground(self, ids: Ids) -> Bools:
        return np.isin(ids, [self._ids[name] for name in GROUND if name in self._ids])

    def _where(self, ids: Ids, name: str) -> Bools:
        return np.asarray(ids == self._ids.get(name, -1))

    def _add_panes(self, lights: LightMap, ids: Ids, rng: np.random.Generator) -> None:
        """Windows are dark glass by day; some houses' are lit, or a whole bus's and tram's alike."""
        building = self._where(ids, "building")
        if building.any():
            _light_windows(lights, building, rng)
            _light_shops(lights, building, rng)
        for name in PANED:
            for box in boxes(self._where(ids, name), 60):
                if rng.random() < 0.9:
                    _light_cabin(lights, box, VEHICLES[name], rng)

    def _add_vehicles(self, lights: LightMap, ids: Ids, rng: np.random.Generator) -> None:
        for name, shape in VEHICLES.items():
            for box in boxes(self._where(ids, name), 12):
                if rng.random() > _dark_share(box, shape, ids.shape[1]):
                    _light_vehicle(lights, box, shape, FRONT if rng.random() < 0.5 else REAR, rng)

    def _add_signals(self, lights: LightMap, ids: Ids, rng: np.random.Generator) -> None:
        for box in boxes(self._where(ids, "traffic light"), 3):
            place = int(rng.integers(3))
            metre = box.height / SIGNAL_HEIGHT_M
            row = box.top + box.height * (0.5 + SIGNAL_STEP * (place - 1))
            lamp = Lamp(SIGNALS[place], 0.6, 0.08, (0.25, 0.25), 4.0)
            lights.add(lamp, (row, box.left + box.width / 2), metre, 3.0)

    def _add_street_lamps(self, lights: LightMap, ids: Ids, rng: np.random.Generator) -> None:
        """On tall poles, and in rows along the street that meet where it ends."""
        lamp = Lamp(STREET_LAMPS[int(rng.integers(len(STREET_LAMPS)))], rng.uniform(0.7, 1.6), 0.03, (0.5, 0.12), 5.0)
        rows = ids.shape[0]
        for box in boxes(self._where(ids, "pole"), 10):
            if box.height > 0.15 * rows and rng.random() < 0.5:
                top = np.flatnonzero(box.mask[0])
                lights.add(lamp, (box.top, box.left + float(top.mean())), box.height / 7.0, 7.0)
        if lights.horizon >= rows or (ids != IGNORE_ID).mean() < 0.8:
            return
        for side in (-1, 1):
            if rng.random() < 0.8:
                _light_street(lights, side * rng.uniform(*LAMP_SIDES_M), lamp, rng)


def _light_windows(lights: LightMap, building: Bools, rng: np.random.Generator) -> None:
    """Some of the panes of houses, each in a light of its own."""
    side = max(3, building.shape[0] // 8)
    counted = cv2.blur(building.astype(np.float32), (side, side))
    around = cv2.blur(lights.luminance * building, (side, side)) / np.maximum(counted, 1e-3)
    glass = building & (lights.luminance < DARK_GLASS * around)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(glass.astype(np.uint8), connectivity=4)
    wide, tall, area = stats[:, 2:].T.astype(np.float64)
    pane = (area >= 3) & (area < building.size / 60) & (area > 0.4 * wide * tall) & (wide < 6 * tall)
    lit = pane & (rng.random(count) < rng.uniform(0.05, 0.6))
    lit[0] = False
    colors = np.asarray(PANE_LIGHTS)[rng.integers(len(PANE_LIGHTS), size=count)] * rng.uniform(0.2, 1.2, (count, 1))
    lights.light += (colors * lit[:, None]).astype(np.float32)[parts]


def _light_shops(lights: LightMap, building: Bools, rng: np.random.Generator) -> None:
    """Bright ground floors in perspective: a front of so many metres ends so many times higher above its foot."""
    rows, columns = building.shape
    foot = rows - 1 - building[::-1].argmax(axis=0)
    metre = np.where(building.any(axis=0), (foot - lights.horizon) / lights.camera_m, 0)
    row = np.arange(rows)[:, None]
    large = np.flatnonzero(metre * 3.5 >= 3)
    for _ in range(int(rng.integers(0, 5)) if len(large) else 0):
        middle, wide = int(rng.choice(large)), rng.uniform(0.03, 0.25) * columns
        along = np.abs(np.arange(columns) - middle) < wide / 2
        top, base = foot - rng.uniform(2.5, 4.0) * metre, foot - rng.uniform(0.1, 0.6) * metre
        front = building & along & (row > top) & (row < base)
        light = np.asarray(PANE_LIGHTS[int(rng.integers(len(PANE_LIGHTS)))]) * rng.uniform(0.5, 1.6)
        # What stands in the window is seen against its light.
        goods = np.clip(0.4 + 2 * lights.luminance[front], 0.4, 1.2)[:, None]
        lights.light[front] += (goods * light).astype(np.float32)
        if rng.random() < 0.7:
            sign = building & along & (row > top - 0.5 * metre) & (row <= top)
            lights.light[sign] += np.asarray(SIGN_LIGHTS[int(rng.integers(len(SIGN_LIGHTS)))], dtype=np.float32)


def _light_cabin(lights: LightMap, box: Box, shape: Vehicle, rng: np.random.Generator) -> None:
    """The panes of a bus or tram in one light: the dark part of its upper body, and its destination's board."""
    tones = np.clip(lights.luminance[box.cut] ** (1 / 2.2) * 255, 0, 255).astype(np.uint8)
    upper = box.mask & (np.arange(box.height)[:, None] < box.height * (1 - 1.1 / shape.height))
    if upper.sum() < 8:
        return
    limit, _ = cv2.threshold(tones[upper], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    glass = upper & (tones <= limit)
    light = np.asarray((1.0, 0.92, 0.72)) * rng.uniform(0.1, 0.6)
    lights.light[box.cut][glass] += light.astype(np.float32)
    if rng.random() < 0.7:
        metre = box.height / shape.height
        middle, _ = box.near_end(shape.width * metre)
        lights.fill((box.top + 0.37 * metre, middle), (0.12 * metre, 0.7 * metre), (1.1, 0.55, 0.08))


def _dark_share(box: Box, shape: Vehicle, columns: int) -> float:
    if not shape.lamp_apart:
        return RIDDEN_DARK if box.width < box.height else STANDING_DARK
    return CUT_DARK if box.left == 0 or box.right == columns else WHOLE_DARK


def _light_vehicle(lights: LightMap, box: Box, shape: Vehicle, lamp: Lamp, rng: np.random.Generator) -> None:
    """Lamps on the near end, which is the outer one, and their light on the road before it."""
    metre = box.height / shape.height
    middle, face = box.near_end(shape.width * metre)
    if box.left == 0 or box.right == lights.columns:  # its near end reaches beyond the picture
        outwards = -1 if box.left == 0 else 1
        middle += outwards * rng.uniform(0.0, 0.9) * face
    apart = min(shape.lamp_apart * metre, 0.4 * face)
    own = lamp.scaled(rng.uniform(0.5, 1.2), rng.uniform(0.6, 1.2) * (1.0 if shape.lamp_apart else 0.7))
    row = box.bottom - shape.lamp_height * metre
    for side in (-1, 1) if apart else (0,):
        lights.add(own, (row, middle + side * apart), metre, shape.lamp_height)
    lights.add_pool(own, (float(box.bottom), middle), metre)


def _light_street(lights: LightMap, aside_m: float, lamp: Lamp, rng: np.random.Generator) -> None:
    """A row of lamps, far to near, with the ground bright beneath them."""
    height, spacing = rng.uniform(*LAMP_HEIGHTS_M), rng.uniform(*LAMP_SPACINGS_M)
    under = Lamp(lamp.rgb, 1.1, 0.0, (0.0, 0.0), rng.uniform(0.0, 3.0))
    for number in range(LAMPS_IN_A_ROW, -1, -1):
        depth = 3.0 + spacing * (number + rng.uniform(0.3, 0.5))
        metre = lights.focal / depth
        foot = lights.horizon + lights.camera_m * metre
        column = lights.vanishing + aside_m * metre
        lights.add(lamp, (foot - height * metre, column), metre, height)
        if number < LAMPS_IN_A_ROW // 2:
            lights.add_pool(under, (foot, column), metre)


def _own(generator: torch.Generator, number: int) -> torch.Generator:
    """A stream of the lights' own: what the given one draws stays as it is without them."""
    return seeded(streams.LIGHTS, generator.initial_seed(), number)


def _numpy(tensor: Tensor) -> npt.NDArray[Any]:
    """Of the tensor's own type."""
    return tensor.detach().cpu().numpy()


def _blurred(image: Tensor, side: int) -> Tensor:
    """Rough box means of a 1 x H x W picture over ``side`` pixels."""
    coarse = functional.avg_pool2d(image[None], side, ceil_mode=True, count_include_pad=False)
    size = (image.shape[-2], image.shape[-1])
    blurred: Tensor = functional.interpolate(coarse, size, mode="bilinear", align_corners=False)[0]
    return blurred


def _between(limits: tuple[float, float], share: float) -> float:
    return limits[0] + share * (limits[1] - limits[0])
