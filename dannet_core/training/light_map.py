"""What a camera makes of lamps by night: flares, their mirror images on the road, pools of light, bloom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Floats32 = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Rgb = tuple[float, float, float]

CAMERA_HEIGHTS_M: Final = (1.2, 1.8)
FOCALS: Final = (1.4, 3.0)
"""Focal length in heights of the picture: cameras of cars see 40 to 100 degrees across, and crops are parts of that."""
DIM_M: Final = 60.0
"""A lamp so far away dazzles half as much."""
FLARE_REACH: Final = 4.0
"""A flare ends at so many of its radii."""
BLOOM: Final = 0.3
"""Light above this spills over, and so much of it."""


class Lamp(NamedTuple):
    """Linear light.

    Attributes:
        rgb: of the flare; 1 saturates.
        radius: of the flare in metres.
        mirror: share of it that a damp road mirrors.
        size: width and height of the shining part in metres.
        strength: of the shining part, and of the light that it throws, in units of ``rgb``.
    """

    rgb: Rgb
    radius: float
    mirror: float
    size: tuple[float, float]
    strength: float

    def scaled(self, bright: float, large: float) -> Lamp:
        """A lamp like this, so many times as bright, its flare so many times as large."""
        red, green, blue = self.rgb
        return self._replace(rgb=(red * bright, green * bright, blue * bright), radius=self.radius * large)


@dataclass(frozen=True)
class Box:
    """A connected part of a class; pixels.

    Attributes:
        mask: height x width, where in the box it is.
    """

    top: int
    left: int
    mask: Bools

    @property
    def height(self) -> int:
        """Rows."""
        return len(self.mask)

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.mask.shape[1])

    @property
    def bottom(self) -> int:
        """The row below its last."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The column after its last."""
        return self.left + self.width

    @property
    def cut(self) -> tuple[slice, slice]:
        """Indices of the box in the picture."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def near_end(self, wanted: float) -> tuple[float, float]:
        """Middle column and width of the near end of a thing along the street: where its foot is lowest.

        Args:
            wanted: width in pixels; where the rest is too narrow for a flank, all of the thing is its end.
        """
        face = float(self.width) if self.width < 1.3 * wanted else wanted
        lowest = np.flatnonzero(self.mask[-max(1, self.height // 10) :].any(axis=0))
        on_left = float(lowest.mean()) <= (self.width - 1) / 2
        return (self.left + face / 2 if on_left else self.right - face / 2), face


def boxes(mask: Bools, least: int) -> list[Box]:
    """The connected parts of at least so many pixels."""
    if not mask.any():  # most classes are not in a picture, and looking for their parts takes longer
        return []
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    found = []
    for index in range(1, count):
        left, top, wide, tall, area = (int(value) for value in stats[index])
        if area >= least:
            found.append(Box(top, left, parts[top : top + tall, left : left + wide] == index))
    return found


def horizon_of(ground: Bools) -> float:
    """Row of the horizon: where the ground begins, or below the picture where there is none."""
    rows = np.flatnonzero(ground.mean(axis=1) > 0.08)
    return float(rows[0]) if len(rows) else float(len(ground))


class LightMap:
    """Collects light that is added to a picture.

    Args:
        linear: H x W x 3 float32, the picture by day in linear light, 0 to 1.
        ground: H x W, where the ground is.
        seen: H x W, where the picture is shown: light falls on what is there.
        rng: draws what the picture does not tell of the camera.

    Attributes:
        light: H x W x 3 float32, linear.
        luminance: H x W float32, of the picture by day.
        columns: width of the picture.
        horizon: row.
        vanishing: column at which the street ends.
        focal: pixels.
        camera_m: height of the camera in metres.
    """

    def __init__(self, linear: Floats32, ground: Bools, seen: Bools, rng: np.random.Generator) -> None:
        self.light: Floats32 = np.zeros_like(linear)
        self.luminance: Floats32 = linear @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
        self.horizon = horizon_of(ground)
        self.focal = rng.uniform(*FOCALS) * len(ground)
        self.camera_m = rng.uniform(*CAMERA_HEIGHTS_M)
        self.columns = ground.shape[1]
        self._linear, self._ground = linear, ground & seen
        far = np.flatnonzero(ground[int(self.horizon) : int(self.horizon) + 8].any(axis=0))
        self.vanishing = float(far.mean()) if len(far) else ground.shape[1] / 2

    def add(self, lamp: Lamp, at: tuple[float, float], metre: float, height_m: float) -> None:
        """A lamp at (row, column), where a metre has so many pixels; so high above the ground that mirrors it."""
        row, column = at
        rows, columns = self._ground.shape
        if not (0 <= row < rows and 0 <= column < columns):
            return
        radius = max(lamp.radius * metre, 0.7)
        near = 1 / (1 + self.focal / (metre * DIM_M))
        self._flare(at, (radius, radius), np.asarray(lamp.rgb) * near, None)
        self.fill(at, (lamp.size[1] * metre / 2, lamp.size[0] * metre / 2), lamp.scaled(lamp.strength, 1).rgb)
        if lamp.mirror > 0:
            mirrored = (row + 2 * height_m * metre, column)
            rgb = np.asarray(lamp.rgb) * (lamp.mirror * near)
            self._flare(mirrored, (max(3.5 * radius, 4.0), max(0.5 * radius, 1.2)), rgb, self._ground)

    def fill(self, at: tuple[float, float], half: tuple[float, float], rgb: Rgb) -> None:
        """A shining rectangle about (row, column), at least a pixel large."""
        top, bottom = round(at[0] - half[0]), round(at[0] + half[0])
        left, right = round(at[1] - half[1]), round(at[1] + half[1])
        region = (slice(max(top, 0), max(bottom, top + 1, 1)), slice(max(left, 0), max(right, left + 1, 1)))
        self.light[region] += np.asarray(rgb, dtype=np.float32)

    def add_pool(self, lamp: Lamp, at: tuple[float, float], metre: float) -> None:
        """Light on the ground from (row, column) of a lamp's foot on towards the camera, nine radii long."""
        depth, reach = self.focal / metre, 9 * lamp.radius
        foot = max(at[0] - self.horizon, 1.0)
        nearest, farthest = max(depth - 1.3 * reach, 0.1), depth + 0.4 * reach
        begin = max(int(self.horizon + depth * foot / farthest), int(self.horizon)) + 1
        rows = np.arange(begin, min(int(self.horizon + depth * foot / nearest) + 1, self._ground.shape[0]))
        if not len(rows):
            return
        far = (depth * foot / (rows - self.horizon)).astype(np.float32)[:, None]
        along = (far - np.float32(depth - 0.45 * reach)) / np.float32(0.45 * reach)
        aside = np.float32(self.vanishing) + np.float32((at[1] - self.vanishing) * depth) / far
        across = (np.arange(self.columns, dtype=np.float32) - aside) * (far / np.float32(self.focal * 0.28 * reach))
        pool = np.exp(-(along**2) - across**2) * self._ground[begin : begin + len(rows)]
        rgb = np.asarray(lamp.rgb, dtype=np.float32) * np.float32(0.15 * lamp.strength)
        self.light[begin : begin + len(rows)] += self._linear[begin : begin + len(rows)] * (pool[..., None] * rgb)

    def finished(self) -> Floats32:
        """All the light, with what spills over in the lens; H x W x 3."""
        rows, columns = self._ground.shape
        small = cv2.resize(self.light, (max(columns // 4, 1), max(rows // 4, 1)), interpolation=cv2.INTER_AREA)
        spilled = np.clip(small - np.float32(BLOOM), 0, 3)
        spilled = cv2.GaussianBlur(spilled, (0, 0), rows / 160) + cv2.GaussianBlur(spilled, (0, 0), rows / 40)
        spread = cv2.resize(spilled, (columns, rows), interpolation=cv2.INTER_LINEAR)
        return np.asarray(self.light + spread * np.float32(BLOOM / 2), dtype=np.float32)

    def _flare(
        self,
        at: tuple[float, float],
        radii: tuple[float, float],
        rgb: npt.NDArray[np.float64],
        only: Bools | None,
    ) -> None:
        """Sharper than a Gaussian in its middle, with a longer tail."""
        spans = []
        for place, radius, side in zip(at, radii, self._ground.shape, strict=True):
            reach = FLARE_REACH * radius
            spans.append(np.arange(max(int(place - reach), 0), min(int(place + reach) + 2, side)))
        if not (len(spans[0]) and len(spans[1])):
            return
        down, across = ((span - place) / radius for span, place, radius in zip(spans, at, radii, strict=True))
        distance = np.sqrt(down[:, None] ** 2 + across[None] ** 2)
        flare = np.exp(-2.2 * distance) * np.clip(FLARE_REACH - distance, 0, 1)
        region = (slice(spans[0][0], spans[0][-1] + 1), slice(spans[1][0], spans[1][-1] + 1))
        if only is not None:
            flare = flare * only[region]
        self.light[region] += (flare[..., None] * rgb).astype(np.float32)
