"""The toy city's camera: bloom and halos in the lens, exposure, gamma, colour cast and sensor noise."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.data.toy_city.mesh import Floats, Light
from dannet_core.data.toy_city.raster import Floats32, Raster
from dannet_core.pixels import Rgb

DAY_EXPOSURE = 0.95
NIGHT_EXPOSURE = 0.72
FLARE_REACH = 64
SMALLEST_HALO = 0.55
"""Pixels of the quarter-size picture, below which a lamp's bloom adds nothing to its own pixels'."""
MIRROR_REACH_M = 70.0
ROAD_MIRROR = 0.13
"""Share of a lamp's light that a damp road mirrors."""


def bloom(picture: Floats32, lights: tuple[Light, ...], raster: Raster) -> Floats32:
    """What spills around bright spots in the lens: H/4 x W/4 x 3, to be enlarged and added to the picture."""
    height, width = picture.shape[:2]
    quarter = cv2.resize(picture, (max(width // 4, 1), max(height // 4, 1)), interpolation=cv2.INTER_AREA)
    bright = np.minimum(np.maximum(quarter - np.float32(0.6), 0), np.float32(3))
    scale = width / 960
    spread = cv2.GaussianBlur(bright, (0, 0), max(1.6 * scale, 0.6)) * np.float32(0.30)
    small = cv2.resize(bright, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    wide = cv2.GaussianBlur(small, (0, 0), max(5.0 * scale, 1.0)) * np.float32(0.22)
    spread += cv2.resize(wide, (bright.shape[1], bright.shape[0]), interpolation=cv2.INTER_LINEAR)
    if lights:
        _add_halos(spread, lights, raster)
    return np.asarray(spread, dtype=np.float32)


def _add_halos(target: Floats32, lights: tuple[Light, ...], raster: Raster) -> None:
    camera = raster.camera
    points = camera.to_camera(np.array([light.at for light in lights]))
    ahead = np.flatnonzero(points[:, 2] > 1.0)
    pixels = camera.to_pixels(points[ahead])
    for index, (u, v) in zip(ahead.tolist(), pixels.tolist(), strict=True):
        depth, light = float(points[index, 2]), lights[index]
        radius = light.radius * camera.focal / depth / 4
        if radius < SMALLEST_HALO or not (0 <= u < camera.width and 0 <= v < camera.height):
            continue
        if raster.depth_at(u, v) < depth / 1.04:
            continue
        rgb = np.asarray(light.rgb) / (1.0 + depth / 60)
        _add_spot(target, (u / 4, v / 4), (max(radius, 0.7), max(radius, 0.7)), rgb)
        if light.streak > 0 and depth < MIRROR_REACH_M:
            _add_mirror_image(target, light, (radius, depth), raster)


def _add_mirror_image(target: Floats32, light: Light, size: tuple[float, float], raster: Raster) -> None:
    """A lamp's mirror image lies where the line from the camera to the lamp below the road meets the road."""
    camera = raster.camera
    radius, depth = size
    share = camera.position[1] / (camera.position[1] + light.at[1])
    at = camera.position + (np.array([light.at[0], 0.0, light.at[2]]) - camera.position) * (share, 1.0, share)
    point = camera.to_camera(at[None])
    if point[0, 2] < 1.5:
        return
    u, v = camera.to_pixels(point)[0]
    rgb = np.asarray(light.rgb) * (ROAD_MIRROR * light.streak / (1.0 + depth / 60))
    _add_spot(target, (u / 4, v / 4), (max(radius * 0.5, 0.6), max(radius * 3.5, 2.0)), rgb)


def _add_spot(target: Floats32, at: tuple[float, float], radii: tuple[float, float], rgb: Floats) -> None:
    height, width = target.shape[:2]
    rx, ry = min(radii[0], width * 0.25), min(radii[1], height * 0.3)
    left, right = max(int(at[0] - 4 * rx), 0), min(int(at[0] + 4 * rx) + 2, width)
    top, bottom = max(int(at[1] - 4 * ry), 0), min(int(at[1] + 4 * ry) + 2, height)
    if left >= right or top >= bottom:
        return
    zoom_x, zoom_y = 4 * rx / FLARE_REACH, 4 * ry / FLARE_REACH
    matrix = np.array([[zoom_x, 0, at[0] - left - 4 * rx], [0, zoom_y, at[1] - top - 4 * ry]])
    spot = np.asarray(cv2.warpAffine(_flare(), matrix, (right - left, bottom - top)), dtype=np.float32)
    target[top:bottom, left:right] += spot[..., None] * rgb.astype(np.float32)


@lru_cache(maxsize=1)
def _flare() -> Floats32:
    """Sharper than a Gaussian at the centre, with a longer tail: how a lens flares. Four radii to the edge."""
    axis = (np.arange(2 * FLARE_REACH + 1) - FLARE_REACH) * (4 / FLARE_REACH)
    squared = axis[:, None] ** 2 + axis[None, :] ** 2
    return np.asarray(np.exp(-2.2 * np.sqrt(squared)) * np.maximum(1 - squared / 16, 0), dtype=np.float32)


def develop(picture: Floats32, night: bool, rng: np.random.Generator) -> Rgb:
    """Optics, exposure, gamma and sensor noise: H x W x 3 linear light to 8 bits."""
    blur = (0.75 if night else 0.5) * picture.shape[1] / 960 + 0.05
    exposed = np.asarray(cv2.sqrt(cv2.GaussianBlur(picture, (3, 3), blur)), dtype=np.float32)
    exposed *= np.float32(128 * np.sqrt(NIGHT_EXPOSURE if night else DAY_EXPOSURE))
    exposed += _sensor_noise(picture.shape[:2], night, rng)
    return np.asarray(cv2.LUT(cv2.convertScaleAbs(exposed), _tone_table(night)), dtype=np.uint8)


@lru_cache(maxsize=2)
def _tone_table(night: bool) -> npt.NDArray[np.uint8]:
    """Shoulder and colour cast, 1 x 256 x 3: the input is 128 * sqrt(linear light)."""
    value = np.arange(256) / 128.0
    shoulder = 1 - np.exp(-1.9 * value**1.15) if night else 1 - np.exp(-2.0 * value**1.3)
    gain = np.array([1.02, 1.0, 0.97]) if night else np.array([1.0, 1.0, 1.0])
    lift = np.array([0.002, 0.006, 0.018]) if night else np.zeros(3)
    toned = np.clip((shoulder[:, None] * gain + lift) * 255, 0, 255)
    return np.asarray(np.rint(toned), dtype=np.uint8)[None]


def _sensor_noise(size: tuple[int, int], night: bool, rng: np.random.Generator) -> Floats32:
    tile = _noise_tile(size, night)
    row, column = int(rng.integers(0, size[0] // 2 + 1)), int(rng.integers(0, size[1] // 2 + 1))
    return tile[row : row + size[0], column : column + size[1]]


@lru_cache(maxsize=4)
def _noise_tile(size: tuple[int, int], night: bool) -> Floats32:
    """Luma grain with weaker, coarser colour noise, as a small sensor at high gain makes it; 1.5 times ``size``."""
    rng = np.random.default_rng(17)
    shape = (size[0] + size[0] // 2 + 1, size[1] + size[1] // 2 + 1)
    luma = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (3, 3), 0.6)
    color = cv2.GaussianBlur(rng.standard_normal((*shape, 3)).astype(np.float32), (0, 0), 1.2)
    strength = np.float32(3.0 if night else 1.0)
    return np.asarray((luma[..., None] * np.float32(0.9) + color * np.float32(1.5)) * strength, dtype=np.float32)
