"""Meshes of the toy city: flat faces in metres, each with a colour, a class and a glow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from dannet_core.classes import CLASS_NAMES

Floats = npt.NDArray[np.float64]
Color = tuple[float, float, float]
"""Red, green, blue, 0..1, linear light."""

CLASS = {name: train_id for train_id, name in enumerate(CLASS_NAMES)}
"""Train id by class name."""

BLACK: Color = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Paint:
    """What a face looks like.

    Attributes:
        rgb: albedo.
        label: train id.
        glow: light it sends out at night.
        rough: contrast of its surface texture, 0..1.
        day_glow: share of ``glow`` that is on by day, 0..1.
        min_px: left out where it is narrower than this many pixels of a 960 pixel wide picture.
    """

    rgb: Color
    label: int
    glow: Color = BLACK
    rough: float = 0.12
    day_glow: float = 0.0
    min_px: float = 0.5


@dataclass(frozen=True)
class Light:
    """A small light source that blooms in the lens at night.

    Attributes:
        at: x (right), y (up), z (along the street), metres.
        rgb: brightness, 1 = a strong lamp.
        radius: size of the bloom in metres.
        streak: strength of its mirror image on the road, 0..1.
    """

    at: tuple[float, float, float]
    rgb: Color
    radius: float
    streak: float = 0.0


@dataclass(frozen=True)
class Footprint:
    """What an object covers on the ground, for its shadow: centre, half sizes and height in metres."""

    x: float
    z: float
    half_x: float
    half_z: float
    height: float
    lift: float = 0.0


@dataclass(frozen=True)
class Mesh:
    """Faces in drawing order, packed into arrays: F faces, N points.

    Attributes:
        points: N x 3, metres.
        counts: F, points of each face.
        look: F x 10: albedo, glow, rough, label, day glow, min_px.
        solid: F, True where the face is seen only from the side its normal points to.
        lights: lens blooms at night.
        footprints: ground shadows.
    """

    points: Floats
    counts: npt.NDArray[np.int64]
    look: Floats
    solid: npt.NDArray[np.bool_]
    lights: tuple[Light, ...] = ()
    footprints: tuple[Footprint, ...] = ()

    def placed(self, x: float, z: float, y: float = 0.0) -> Mesh:
        """The mesh moved by x to the right, y up and z along the street (metres)."""
        return replace(
            self,
            points=self.points + np.array([x, y, z]),
            lights=tuple(
                replace(light, at=(light.at[0] + x, light.at[1] + y, light.at[2] + z)) for light in self.lights
            ),
            footprints=tuple(replace(f, x=f.x + x, z=f.z + z) for f in self.footprints),
        )

    def turned(self, degrees: float) -> Mesh:
        """The mesh turned about the vertical axis through the origin, counter-clockwise seen from above."""
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        matrix = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        swap = abs(s) > abs(c)
        return replace(
            self,
            points=self.points @ matrix,
            lights=tuple(replace(light, at=_turned_point(light.at, matrix)) for light in self.lights),
            footprints=tuple(replace(f, half_x=f.half_z, half_z=f.half_x) if swap else f for f in self.footprints),
        )


def _turned_point(at: tuple[float, float, float], matrix: Floats) -> tuple[float, float, float]:
    x, y, z = np.asarray(at) @ matrix
    return float(x), float(y), float(z)


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Many meshes as one, in their order."""
    return Mesh(
        points=np.concatenate([m.points for m in meshes]),
        counts=np.concatenate([m.counts for m in meshes]),
        look=np.concatenate([m.look for m in meshes]),
        solid=np.concatenate([m.solid for m in meshes]),
        lights=tuple(light for m in meshes for light in m.lights),
        footprints=tuple(f for m in meshes for f in m.footprints),
    )


@dataclass
class MeshBuilder:
    """Collects faces; later ones are drawn over earlier ones."""

    lights: list[Light] = field(default_factory=list)
    footprints: list[Footprint] = field(default_factory=list)
    _points: list[Floats] = field(default_factory=list)
    _look: list[tuple[float, ...]] = field(default_factory=list)
    _solid: list[bool] = field(default_factory=list)

    def face(self, points: npt.ArrayLike, paint: Paint, solid_from: npt.ArrayLike | None = None) -> None:
        """Add a flat polygon.

        Args:
            points: n x 3 in metres.
            paint: what it looks like.
            solid_from: a point inside the solid it belongs to: the face is then hidden when seen from behind.
        """
        corners = np.asarray(points, dtype=np.float64)
        if solid_from is not None:
            normal = np.cross(corners, np.roll(corners, -1, axis=0)).sum(axis=0)
            if normal @ (corners.mean(axis=0) - np.asarray(solid_from)) < 0:
                corners = corners[::-1]
        self._points.append(corners)
        row = (*paint.rgb, *paint.glow, paint.rough, float(paint.label), paint.day_glow, paint.min_px)
        self._look.append(row)
        self._solid.append(solid_from is not None)

    def card(self, outline: npt.ArrayLike, paint: Paint, z: float = 0.0) -> None:
        """Add a polygon given as n x 2 (x, y) that faces the camera at distance ``z``."""
        flat = np.asarray(outline, dtype=np.float64)
        corners = np.empty((len(flat), 3))
        corners[:, :2], corners[:, 2] = flat, z
        self.face(corners, paint)

    def ground(self, x: tuple[float, float], z: tuple[float, float], paint: Paint, y: float = 0.0) -> None:
        """Add a rectangle lying at height ``y``."""
        self.face([(x[0], y, z[0]), (x[1], y, z[0]), (x[1], y, z[1]), (x[0], y, z[1])], paint)

    def side_wall(self, x: float, z: tuple[float, float], y: tuple[float, float], paint: Paint) -> None:
        """Add an upright rectangle along the street at ``x``."""
        self.face([(x, y[0], z[0]), (x, y[0], z[1]), (x, y[1], z[1]), (x, y[1], z[0])], paint)

    def front_wall(self, x: tuple[float, float], z: float, y: tuple[float, float], paint: Paint) -> None:
        """Add an upright rectangle across the street at ``z``."""
        self.face([(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)], paint)

    def build(self) -> Mesh:
        """The finished mesh; at least one face must have been added."""
        return Mesh(
            points=np.concatenate(self._points),
            counts=np.array([len(p) for p in self._points], dtype=np.int64),
            look=np.array(self._look, dtype=np.float64),
            solid=np.array(self._solid, dtype=np.bool_),
            lights=tuple(self.lights),
            footprints=tuple(self.footprints),
        )


def disc(x: float, y: float, radius: float, sides: int = 12) -> Floats:
    """Corners (sides x 2) of a regular polygon."""
    angles = np.arange(sides) / sides * 2 * np.pi
    return np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)])


def bar(start: tuple[float, float], end: tuple[float, float], width: float) -> Floats:
    """Corners (4 x 2) of a straight bar between two points."""
    a, b = np.asarray(start), np.asarray(end)
    along = (b - a) / max(float(np.hypot(*(b - a))), 1e-9)
    across = np.array([-along[1], along[0]]) * width / 2
    return np.array([a + across, b + across, b - across, a - across])


def ring(x: float, y: float, radius: float, width: float, sides: int = 16) -> Floats:
    """Corners of a ring as one polygon (the seam has no width)."""
    outer = disc(x, y, radius, sides)
    inner = disc(x, y, radius - width, sides)
    return np.concatenate([outer, outer[:1], inner[:1], inner[::-1]])


def blob(rng: np.random.Generator, x: float, y: float, radius: float, sides: int = 14) -> Floats:
    """Corners of a leafy outline about (x, y)."""
    angles = np.arange(sides) / sides * 2 * np.pi
    radii = radius * rng.uniform(0.78, 1.12, sides)
    corners = np.empty((sides, 2))
    corners[:, 0], corners[:, 1] = x + radii * np.cos(angles), y + 0.9 * radii * np.sin(angles)
    return corners
