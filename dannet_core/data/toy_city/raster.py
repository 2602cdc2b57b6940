"""From faces in metres to pixels: projection, painter's algorithm, and what each pixel shows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.data.toy_city.mesh import CLASS, Floats, Mesh
from dannet_core.data.toy_city.world import Pose
from dannet_core.pixels import Labels

Floats32 = npt.NDArray[np.float32]
NEAR_M = 0.35
FOCAL_PER_WIDTH = 0.78
HORIZON = 0.46
"""Focal length by image width, and the optical axis's height by image height, from the top."""
SUBPIXEL_BITS = 4
FAR_INVERSE = 1e-4
EDGE_ON_M = 1e-6
"""A face whose plane passes so close to the camera has no area in the picture."""


def linear(red: float, green: float, blue: float) -> Floats32:
    """A colour in linear light as 3 float32."""
    return np.array([red, green, blue], dtype=np.float32)


class Camera:
    """A pinhole camera at ``pose`` for pictures of (height, width) ``size``.

    Attributes:
        focal: pixels.
        centre: (u, v) of the optical axis, pixels.
        position: x, y, z in metres.
        rotation: 3 x 3, world to camera (right, down, forward).
    """

    def __init__(self, pose: Pose, size: tuple[int, int]) -> None:
        self.height, self.width = size
        self.focal = FOCAL_PER_WIDTH * self.width
        self.centre = (self.width / 2, self.height * HORIZON)
        self.position: Floats = np.array([pose.x, pose.y, pose.z])
        self.rotation: Floats = _rotation(np.radians(pose.yaw), np.radians(pose.pitch))

    def steps(self, step: int) -> tuple[Floats32, Floats32]:
        """Columns (w) and rows (h) of every ``step``-th pixel, from the axis, in units of the focal length."""
        u = (np.arange(0, self.width, step) - self.centre[0]) / self.focal
        v = (np.arange(0, self.height, step) - self.centre[1]) / self.focal
        return u.astype(np.float32), v.astype(np.float32)

    def rays(self, step: int) -> tuple[Floats32, Floats32, Floats32]:
        """World directions (x, y, z) of every ``step``-th pixel, each h x w, one metre deep along the axis."""
        u, v = self.steps(step)
        r = self.rotation.astype(np.float32)
        x, y, z = (r[0, k] * u[None, :] + (r[1, k] * v + r[2, k])[:, None] for k in range(3))
        return x, y, z

    def to_camera(self, points: Floats) -> Floats:
        """World to camera coordinates, N x 3."""
        return np.asarray((points - self.position) @ self.rotation.T)

    def to_pixels(self, points: Floats) -> Floats:
        """Camera coordinates (N x 3, in front of the camera) to (u, v), N x 2."""
        return np.asarray(points[:, :2] / points[:, 2:] * self.focal + self.centre)


def _rotation(yaw: float, pitch: float) -> Floats:
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    return np.array([[cy, 0, -sy], [sp * sy, -cp, sp * cy], [cp * sy, sp, cp * cy]])


@dataclass(frozen=True)
class Raster:
    """What each pixel shows.

    Attributes:
        face_of: H x W indices, number of the face; 0 is the sky.
        labels: H x W uint8 train ids.
        planes: F x 3 float32: 1 / depth is ``planes @ (u, v, 1)`` with u, v in units of the focal length.
        look: F x 10 as in `Mesh`, row 0 is the sky.
        normals: F x 3 float32 in world coordinates, towards the camera.
    """

    camera: Camera
    face_of: npt.NDArray[np.intp]
    labels: Labels
    planes: Floats32
    look: Floats32
    normals: Floats32

    def depth_at(self, u: float, v: float) -> float:
        """Metres along the optical axis to what the pixel at column u, row v shows."""
        camera = self.camera
        ray = ((u - camera.centre[0]) / camera.focal, (v - camera.centre[1]) / camera.focal, 1.0)
        return 1 / max(float(self.planes[self.face_of[int(v), int(u)]] @ np.array(ray)), FAR_INVERSE)


def rasterize(mesh: Mesh, camera: Camera) -> Raster:
    """Draw the faces in their order, later ones over earlier ones."""
    points = camera.to_camera(mesh.points)
    keep = _visible(points, _starts(mesh.counts), camera, mesh.look[:, 9])
    points, starts, solid = points[np.repeat(keep, mesh.counts)], _starts(mesh.counts[keep]), mesh.solid[keep]
    normals, distances = _planes(points, starts)
    edge_on = np.abs(distances) < EDGE_ON_M
    pixels = np.zeros((camera.height, camera.width), dtype=np.int32)
    _fill(pixels, points, starts, np.flatnonzero(~edge_on & ~(solid & (distances < 0))), camera)
    distances[edge_on] = EDGE_ON_M
    planes = np.zeros((len(starts), 3), dtype=np.float32)
    planes[1:] = normals / distances[:, None]
    look = np.zeros((len(starts), 10), dtype=np.float32)
    look[1:] = mesh.look[keep]
    look[0, 7] = CLASS["sky"]
    toward = np.zeros((len(starts), 3), dtype=np.float32)
    toward[1:] = -np.sign(distances)[:, None] * normals @ camera.rotation
    # Look-ups by the platform's own index type are twice as fast as by the 32 bits that OpenCV draws.
    face_of = pixels.astype(np.intp)
    return Raster(camera, face_of, look[:, 7].astype(np.uint8)[face_of], planes, look, toward)


def _starts(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """First point of every face, and one past the last."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])


def _planes(points: Floats, starts: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Unit normals (F x 3, Newell's method) and n . p (F) of every face, in camera coordinates.

    World axes (right, up, forward) are left-handed and camera axes (right, down, forward) right-handed, so a normal
    that points out of a solid in the world points into it here: n . p is above 0 on faces that look at the camera.
    """
    following = np.arange(1, len(points) + 1)
    following[starts[1:] - 1] = starts[:-1]
    anchor = np.repeat(points[starts[:-1]], np.diff(starts), axis=0)
    normals = np.add.reduceat(np.cross(points - anchor, points[following] - anchor), starts[:-1], axis=0)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return normals, np.einsum("fk,fk->f", normals, points[starts[:-1]])


def _visible(points: Floats, starts: npt.NDArray[np.int64], camera: Camera, min_px: Floats) -> npt.NDArray[np.bool_]:
    """Faces that are neither wholly behind the camera, nor wholly beside the picture, nor too small to matter."""
    x, y, z = np.ascontiguousarray(points.T)
    behind = np.maximum.reduceat(z, starts[:-1]) < NEAR_M
    crossing = np.minimum.reduceat(z, starts[:-1]) < NEAR_M
    np.maximum(z, NEAR_M, out=z)
    x /= z
    y /= z
    side = 1.05 * camera.width / 2 / camera.focal
    left, right = np.minimum.reduceat(x, starts[:-1]), np.maximum.reduceat(x, starts[:-1])
    top, bottom = np.minimum.reduceat(y, starts[:-1]), np.maximum.reduceat(y, starts[:-1])
    beside = (left > side) | (right < -side) | (bottom < -1.0) | (top > 1.0)
    tiny = np.minimum(right - left, bottom - top) * camera.focal < min_px * camera.width / 960
    return np.asarray(~behind & (crossing | ~(beside | tiny)))


def _fill(
    target: npt.NDArray[np.int32],
    points: Floats,
    starts: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    camera: Camera,
) -> None:
    scale = 1 << SUBPIXEL_BITS
    safe = np.maximum(points[:, 2:], NEAR_M)
    pixels = points[:, :2] / safe * camera.focal + camera.centre
    fixed = np.clip(pixels * scale, -(2**22), 2**22).astype(np.int32)
    crossing = (np.minimum.reduceat(points[:, 2], starts[:-1]) < NEAR_M).tolist()
    begin, end = starts[:-1].tolist(), starts[1:].tolist()
    for face in order.tolist():
        if crossing[face]:
            clipped = _clip_near(points[begin[face] : end[face]])
            corners = np.clip(camera.to_pixels(clipped) * scale, -(2**22), 2**22).astype(np.int32)
        else:
            corners = fixed[begin[face] : end[face]]
        if len(corners) <= 4:
            cv2.fillConvexPoly(target, corners, face + 1, cv2.LINE_8, SUBPIXEL_BITS)
        else:
            cv2.fillPoly(target, [corners], face + 1, cv2.LINE_8, SUBPIXEL_BITS)


def _clip_near(corners: Floats) -> Floats:
    """Cut off what lies behind the near plane (Sutherland-Hodgman)."""
    kept: list[Floats] = []
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if a[2] >= NEAR_M:
            kept.append(a)
        if (a[2] >= NEAR_M) != (b[2] >= NEAR_M):
            kept.append(a + (b - a) * (NEAR_M - a[2]) / (b[2] - a[2]))
    return np.array(kept)
