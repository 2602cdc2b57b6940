"""Light in the toy city: sun, shadow and haze by day; lamps, headlights and a trace of sky by night."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dannet_core.data.toy_city.blocks import KERB_M, LAMP_SPACING_M, LAMP_X
from dannet_core.data.toy_city.mesh import Floats, Footprint, Light
from dannet_core.data.toy_city.raster import Camera, Floats32, Raster, linear
from dannet_core.data.toy_city.street import LAMP_ARM_M, LAMP_HEIGHT_M
from dannet_core.data.toy_city.surface import STEP, Surface
from dannet_core.data.toy_city.world import Scene, World

BUILDING_LINE_M = 11.0
SHADOW_REACH_M = 90.0
CAR_LIGHT_REACH_M = 80.0
CANDELA = 50.0
"""Strength of one street lamp: light on a surface one metre away."""


@dataclass(frozen=True)
class Shading:
    """Light on every second pixel: picture = albedo * light + haze; both h x w x 3 float32, linear; None = no haze."""

    light: Floats32
    haze: Floats32 | None


def day_shading(scene: Scene, raster: Raster, surface: Surface, world: World) -> Shading:
    """Sun and sky light with shadows of houses, trees and cars, and haze towards the horizon."""
    sun = world.sun.astype(np.float32)
    nx, ny, nz = surface.normal
    # Leaves and cloth pass light on, so nothing turned from the sun is quite black.
    direct = np.maximum(nx * sun[0] + ny * sun[1] + nz * sun[2], 0) * np.float32(0.85) + np.float32(0.12)
    direct *= _sun_reaches(scene, surface, sun)
    direct *= 1 - _ground_shadow(scene.mesh.footprints, raster.camera, surface, world.sun)
    direct *= np.float32(1.3 - 0.55 * world.clouds)
    sky = np.float32(0.62) + np.float32(0.26) * ny - np.float32(0.10) * nx
    light = _tinted(direct, (2.3, 2.05, 1.7)) + _tinted(sky, (0.74, 0.88, 1.10))
    return _hazy(light, surface, 420.0, (0.62, 0.70, 0.80))


def night_shading(scene: Scene, raster: Raster, surface: Surface, world: World) -> Shading:
    """Street lamps on both sides, the own headlights, other cars' lights, and a trace of sky light."""
    lamps = _street_lamps(surface)
    lamps *= 1 - np.float32(0.6) * _ground_shadow(scene.mesh.footprints, raster.camera, surface, None)
    light = _tinted(lamps, (1.0, 0.80 - 0.12 * world.warmth, 0.54 - 0.24 * world.warmth))
    light += _tinted(_headlights(raster.camera, surface), (1.0, 0.95, 0.84))
    _add_car_lights(light, scene.mesh.lights, surface, raster.camera)
    light += linear(0.010, 0.014, 0.026)
    light *= surface.texture[..., None]
    return Shading(light, None)


def _tinted(light: Floats32, rgb: tuple[float, float, float]) -> Floats32:
    return np.asarray(cv2.merge([light * np.float32(c) for c in rgb]), dtype=np.float32)


def _hazy(light: Floats32, surface: Surface, reach_m: float, color: tuple[float, float, float]) -> Shading:
    clear = np.exp(surface.depth * np.float32(-1 / reach_m))
    light *= (clear * surface.texture)[..., None]
    return Shading(light, _tinted(1 - clear, color))


def _sun_reaches(scene: Scene, surface: Surface, sun: Floats32) -> Floats32:
    """1 where the way to the sun passes over the houses on its side of the street, else 0; soft at the edge."""
    side = 1 if sun[0] > 0 else 0
    line = BUILDING_LINE_M if side else -BUILDING_LINE_M
    way = np.maximum((np.float32(line) - surface.x) / sun[0], 0)
    roofs = scene.roof_heights[side].astype(np.float32)
    row = np.clip(surface.z + way * sun[2] - np.float32(scene.roof_start), 0, len(roofs) - 1).astype(np.int32)
    above = surface.y + way * sun[1] - roofs[row]
    inside = np.abs(surface.x) > BUILDING_LINE_M + 1.5
    reached = np.where(inside, np.float32(1), np.clip(above * 2 + np.float32(0.5), 0, 1))
    return np.asarray(reached, dtype=np.float32)


def _ground_shadow(footprints: tuple[Footprint, ...], camera: Camera, surface: Surface, sun: Floats | None) -> Floats32:
    """0..1 on the ground: cast by the sun, or, without one, only right under the objects."""
    mask = np.zeros(surface.x.shape, dtype=np.uint8)
    far = camera.position[2] + SHADOW_REACH_M
    near = [f for f in footprints if f.z < far and (sun is not None or f.lift < 1)]
    if near:
        points = camera.to_camera(_shadow_corners(near, sun).reshape(-1, 3)).reshape(len(near), -1, 3)
        points = points[points[:, :, 2].min(axis=1) > 1.0]
        pixels = camera.to_pixels(points.reshape(-1, 3)).reshape(len(points), -1, 2) / STEP
        for corners in np.clip(pixels, -8000, 8000).astype(np.int32):
            cv2.fillConvexPoly(mask, cv2.convexHull(corners), 255)
    on_ground = (surface.y < KERB_M + 0.06) & (surface.normal[1] > 0.9)
    soft = cv2.blur(mask, (5, 5)).astype(np.float32) * np.float32(0.8 / 255)
    return np.asarray(soft * on_ground, dtype=np.float32)


def _shadow_corners(footprints: list[Footprint], sun: Floats | None) -> Floats:
    """S x 8 x 3: each footprint's rectangle, and the same rectangle moved to where the top's shadow falls."""
    rows = np.array([(f.x, f.z, f.half_x, f.half_z, f.lift, f.height) for f in footprints])
    shift = np.zeros(2) if sun is None else np.array([-sun[0] / sun[1], -sun[2] / sun[1]])
    corners = np.zeros((len(rows), 8, 3))
    for index in range(8):
        sx, sz = ((-1, -1), (-1, 1), (1, 1), (1, -1))[index % 4]
        top = rows[:, 4] + (rows[:, 5] if index >= 4 and sun is not None else 0.0)
        corners[:, index, 0] = rows[:, 0] + sx * rows[:, 2] + shift[0] * top
        corners[:, index, 2] = rows[:, 1] + sz * rows[:, 3] + shift[1] * top
    return corners


def _street_lamps(surface: Surface) -> Floats32:
    """Each pixel is lit by the nearest lamp of either side; at the midpoint between two lamps they are equal."""
    total = np.zeros_like(surface.x)
    half = np.float32(LAMP_SPACING_M / 2)
    nx, ny, nz = surface.normal
    dy = np.float32(LAMP_HEIGHT_M - 0.2) - surface.y
    # The lamp's shade lets little light upwards.
    below = np.clip(dy * np.float32(0.5) + np.float32(0.5), 0.05, 1)
    for side, offset in ((1.0, 0.0), (-1.0, LAMP_SPACING_M / 2)):
        dx = np.float32(side * (LAMP_X - LAMP_ARM_M)) - surface.x
        along = surface.z - np.float32(offset)
        dz = along - np.floor(along / (2 * half) + np.float32(0.5)) * (2 * half)
        dz *= -1
        squared = dx * dx + dy * dy + dz * dz + np.float32(0.3)
        facing = np.maximum(nx * dx + ny * dy + nz * dz, 0) / np.sqrt(squared)
        focus = np.clip(dy * dy / squared, 0.16, 1)
        focus *= focus
        # What looks away still gets light scattered by everything around it.
        total += focus * (facing * np.float32(0.85) + np.float32(0.15)) / squared
    total *= below
    total *= np.float32(CANDELA)
    return total


def _headlights(camera: Camera, surface: Surface) -> Floats32:
    """The own low beams: a flat wide cone, cut off a little below the horizon."""
    u, v = camera.steps(STEP)
    cone = np.exp(-((u / np.float32(0.42)) ** 2))
    cut = np.clip((v + np.float32(0.005)) / np.float32(0.06), 0.06, 1)
    ny, nz = surface.normal[1:]
    facing = np.float32(0.25) + np.float32(0.75) * np.abs(nz) + np.float32(0.35) * ny
    distance = surface.depth + np.float32(4)
    beam = facing * np.float32(15.0) / (distance * distance)
    beam *= cone[None, :]
    beam *= cut[:, None]
    return np.asarray(beam, dtype=np.float32)


def _columns_of_pool(camera: Camera, light: Light, reach: float) -> slice:
    """Columns of the half-size picture in which a car lamp's pool of light can be seen."""
    x, z = light.at[0], light.at[2]
    corners = [(x + side * reach * 0.6, 0.0, z - back * reach) for side in (-1, 1) for back in (0.0, 1.3)]
    points = camera.to_camera(np.array(corners))
    points[:, 2] = np.maximum(points[:, 2], 2.0)
    u = np.clip(camera.to_pixels(points)[:, 0] / STEP, 0, camera.width)
    return slice(int(u.min()), int(u.max()) + 1)


def _add_car_lights(target: Floats32, lights: tuple[Light, ...], surface: Surface, camera: Camera) -> None:
    """Pools of light on the road in front of (or behind) every lamp near the ground."""
    middle = surface.z[:, surface.z.shape[1] // 2 :: 64].min(axis=1)
    far = camera.position[2] + CAR_LIGHT_REACH_M
    for light in lights:
        reach = float(light.radius) * 9
        if light.at[1] > 1.6 or light.streak < 0.4 or light.at[2] > far:
            continue
        rows = np.flatnonzero((middle > light.at[2] - 1.4 * reach - 2) & (middle < light.at[2] + 2))
        if len(rows) < 2:
            continue
        columns = _columns_of_pool(camera, light, reach)
        cut = (slice(int(rows[0]), int(rows[-1]) + 1), columns)
        dx = (surface.x[cut] - np.float32(light.at[0])) / np.float32(reach * 0.28)
        dz = (surface.z[cut] - np.float32(light.at[2] - 0.45 * reach)) / np.float32(reach * 0.45)
        low = np.clip(np.float32(1.2) - surface.y[cut], 0, 1)
        pool = np.exp(-(dx * dx + dz * dz)) * low * np.float32(0.9)
        target[cut] += pool[..., None] * np.asarray(light.rgb, dtype=np.float32)
