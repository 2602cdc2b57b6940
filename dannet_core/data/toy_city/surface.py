"""Surfaces the camera sees in the toy city: where each one is, where it looks, and its texture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.data.toy_city.raster import FAR_INVERSE, NEAR_M, Floats32, Raster

STEP = 2
"""Light and texture are computed on every second pixel of each axis: smooth enough, and four times cheaper."""
TEXTURE_SIDE = 512
TEXELS_PER_M = 40.0


@dataclass(frozen=True)
class Surface:
    """Every second pixel: world position (h x w, metres), depth, unit normal and texture (a factor about 1)."""

    x: Floats32
    y: Floats32
    z: Floats32
    depth: Floats32
    normal: tuple[Floats32, Floats32, Floats32]
    texture: Floats32


def surface_of(raster: Raster) -> Surface:
    """Work out every second pixel's surface from the faces that were drawn."""
    faces = np.ascontiguousarray(raster.face_of[::STEP, ::STEP])
    u, v = raster.camera.steps(STEP)
    inverse = raster.planes[:, 0][faces] * u
    inverse += raster.planes[:, 1][faces] * v[:, None]
    inverse += raster.planes[:, 2][faces]
    np.clip(inverse, FAR_INVERSE, 1 / NEAR_M, out=inverse)
    depth = np.float32(1) / inverse
    x, y, z = (
        ray * depth + np.float32(at) for ray, at in zip(raster.camera.rays(STEP), raster.camera.position, strict=True)
    )
    normal = (raster.normals[:, 0][faces], raster.normals[:, 1][faces], raster.normals[:, 2][faces])
    texture = _texture(x, y, z)
    texture *= np.minimum(inverse * np.float32(14.0), np.float32(1))
    texture *= raster.look[:, 6][faces]
    texture += 1
    return Surface(x, y, z, depth, normal, texture)


def _texture(x: Floats32, y: Floats32, z: Floats32) -> Floats32:
    """-1..1, fixed to the world. One oblique mapping gives level and upright surfaces two independent coordinates."""
    column = ((x + np.float32(0.8) * z) * np.float32(TEXELS_PER_M)).astype(np.int32)
    row = ((y + np.float32(0.7) * z - np.float32(0.5) * x) * np.float32(TEXELS_PER_M)).astype(np.int32)
    column &= TEXTURE_SIDE - 1
    row &= TEXTURE_SIDE - 1
    row *= TEXTURE_SIDE
    row += column
    return np.asarray(grain().reshape(-1)[row] * np.float32(1 / 127), dtype=np.float32)


@lru_cache(maxsize=1)
def grain() -> npt.NDArray[np.int8]:
    """512 x 512 tileable noise, -127..127, with grain at several scales."""
    rng = np.random.default_rng(3)
    total = np.zeros((TEXTURE_SIDE, TEXTURE_SIDE), dtype=np.float32)
    for cells, weight in ((16, 0.5), (64, 0.7), (128, 0.7), (256, 0.6), (512, 0.35)):
        wrapped = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), 2, mode="wrap")
        zoom = TEXTURE_SIDE // cells
        large = cv2.resize(wrapped, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
        total += weight * large[2 * zoom : 2 * zoom + TEXTURE_SIDE, 2 * zoom : 2 * zoom + TEXTURE_SIDE]
    return np.asarray(np.clip(total / (2.2 * total.std()), -1, 1) * 127, dtype=np.int8)
