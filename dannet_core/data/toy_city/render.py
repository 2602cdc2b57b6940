"""Pictures of the toy city by day and by night, each with its labels."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.data.toy_city.lens import bloom, develop
from dannet_core.data.toy_city.light import Shading, day_shading, night_shading
from dannet_core.data.toy_city.raster import Camera, Floats32, Raster, linear, rasterize
from dannet_core.data.toy_city.surface import TEXTURE_SIDE, grain, surface_of
from dannet_core.data.toy_city.world import Pose, World
from dannet_core.errors import SettingsError
from dannet_core.pixels import MIN_SIDE, Labels, Rgb

LARGEST_SIDE = 4096
SKY_STEP = 4


def check_size(size: tuple[int, int]) -> None:
    """Raise SettingsError unless (height, width) is a size the renderer and the networks take."""
    if not all(MIN_SIDE <= side <= LARGEST_SIDE for side in size):
        raise SettingsError(
            f"size: got {size[0]} {size[1]} (height width), expected sides of {MIN_SIDE} to {LARGEST_SIDE} pixels"
        )


def render(
    world: World, pose: Pose, size: tuple[int, int], night: bool, rng: np.random.Generator
) -> tuple[Rgb, Labels]:
    """Take one picture.

    Args:
        world: the street.
        pose: where the camera is, and when.
        size: (height, width) in pixels.
        night: the same scene by night or by day.
        rng: the sensor's noise.

    Returns:
        The picture, H x W x 3 uint8 RGB, and its labels, H x W uint8 train ids, exact to the pixel.

    Raises:
        SettingsError: a side is below 64 or above 4096 pixels.
    """
    check_size(size)
    scene = world.scene(pose)
    raster = rasterize(scene.mesh, Camera(pose, size))
    shade = night_shading if night else day_shading
    picture = _compose(raster, shade(scene, raster, surface_of(raster), world), night)
    _paint_sky(picture, raster, world, night)
    if night:
        spill = bloom(picture, scene.mesh.lights, raster)
        picture += cv2.resize(spill, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return develop(picture, night, rng), raster.labels


def _compose(raster: Raster, shading: Shading, night: bool) -> Floats32:
    height, width = raster.face_of.shape
    light = cv2.resize(shading.light, (width, height), interpolation=cv2.INTER_LINEAR)
    albedo = _gather_rgb(raster.look[:, 0:3], raster.face_of)
    picture = np.asarray(cv2.multiply(albedo, light), dtype=np.float32)
    glow = raster.look[:, 3:6] if night else raster.look[:, 3:6] * raster.look[:, 8:9]
    faces = raster.face_of.reshape(-1)
    shining = np.flatnonzero((glow.max(axis=1) > 0)[faces])
    picture.reshape(-1, 3)[shining] += glow[faces[shining]]
    if shading.haze is not None:
        picture += cv2.resize(shading.haze, (width, height), interpolation=cv2.INTER_LINEAR)
    return picture


def _gather_rgb(table: Floats32, index: npt.NDArray[np.intp]) -> Floats32:
    """table[index] for F x 3 tables: one look-up of 16-byte rows is faster than three of four bytes."""
    padded = np.zeros((len(table), 4), dtype=np.float32)
    padded[:, :3] = table
    packed = padded.view(np.complex128).reshape(-1)[index]
    rows = packed.view(np.float32).reshape(*index.shape, 4)
    return np.asarray(cv2.cvtColor(rows, cv2.COLOR_RGBA2RGB), dtype=np.float32)


def _paint_sky(picture: Floats32, raster: Raster, world: World, night: bool) -> None:
    sky = (raster.face_of == 0).astype(np.uint8)
    rows = np.flatnonzero(sky.any(axis=1))
    if len(rows) == 0:
        return
    end = int(rows[-1]) + 1
    v = (np.arange(0, end + SKY_STEP, SKY_STEP) - raster.camera.centre[1]) / raster.camera.focal
    up = np.clip(0.02 - v, 0, 1).astype(np.float32)[:, None, None]
    painted = _night_sky(up, raster) if night else _day_sky(up, raster, world)
    size = (raster.camera.width, end)
    large = np.asarray(cv2.resize(painted, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    if night:
        _add_stars(large, raster, world)
    cv2.copyTo(large, sky[:end], picture[:end])


def _night_sky(up: Floats32, raster: Raster) -> Floats32:
    top, low = linear(0.0022, 0.0032, 0.0095), linear(0.020, 0.015, 0.014)
    columns = len(range(0, raster.camera.width, SKY_STEP))
    return np.asarray(np.repeat(top + (low - top) * np.exp(-up * 6), columns, axis=1), dtype=np.float32)


def _day_sky(up: Floats32, raster: Raster, world: World) -> Floats32:
    top, low = linear(0.16, 0.34, 0.82), linear(0.72, 0.84, 0.98)
    color = top + (low - top) * np.exp(-up * 4.5)
    cover = _clouds(raster, len(up), world)[..., None]
    return np.asarray(color * (1 - cover) + cover * linear(1.15, 1.15, 1.17), dtype=np.float32)


def _clouds(raster: Raster, rows: int, world: World) -> Floats32:
    """Cloud cover 0..1 on a flat layer high above the street."""
    ray_x, ray_y, ray_z = (ray[:rows] for ray in raster.camera.rays(SKY_STEP))
    reach = 1 / np.maximum(ray_y, np.float32(0.03))
    smooth = cv2.blur(grain().astype(np.float32) / 127, (9, 9), borderType=cv2.BORDER_REFLECT)
    field = np.zeros_like(reach)
    for texels, weight in ((16.0, 0.65), (50.0, 0.35)):
        column = (ray_x * reach * np.float32(texels) + world.seed % 97).astype(np.int32) & (TEXTURE_SIDE - 1)
        row = (ray_z * reach * np.float32(texels)).astype(np.int32) & (TEXTURE_SIDE - 1)
        field += np.float32(weight) * smooth[row, column]
    cover = np.clip(field * 3.2 + np.float32(world.clouds * 1.3 - 0.35), 0, 0.92)
    if len(cover) < rows:
        cover = np.pad(cover, ((0, rows - len(cover)), (0, 0)), mode="edge")
    return np.asarray(cv2.GaussianBlur(cover, (0, 0), max(raster.camera.width / 1200, 0.5)), dtype=np.float32)


def _add_stars(painted: Floats32, raster: Raster, world: World) -> None:
    rng = np.random.default_rng([world.seed, 2])
    bearing, rise, power = rng.uniform(-0.6, 0.6, 60), rng.uniform(0.12, 0.7, 60), rng.uniform(0.01, 0.09, 60)
    camera = raster.camera
    stars = camera.position + 1e4 * np.column_stack([bearing, rise, np.ones(60)])
    for (u, v), strength in zip(camera.to_pixels(camera.to_camera(stars)).astype(int), power, strict=True):
        if 0 <= u < painted.shape[1] and 0 <= v < painted.shape[0]:
            painted[v, u] += np.float32(strength)
