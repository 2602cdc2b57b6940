"""Latitude and longitude to metres and back (WGS 84): a local tangent plane, right at a pole too."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_A: Final = 6378137.0
_F: Final = 1 / 298.257223563
_B: Final = _A * (1 - _F)
_E2: Final = _F * (2 - _F)
"""Semi-axes in metres and squared eccentricity of the WGS 84 ellipsoid."""


class TangentPlane:
    """East, north and up in metres around a place on the ellipsoid.

    A turned and shifted copy of the Earth-centred frame: distances between its points are those in space, however far
    from the origin, and no longitude is special.
    """

    def __init__(self, latitude: float, longitude: float) -> None:
        """Put the origin at ``latitude`` and ``longitude``, degrees."""
        lat, lon = np.radians(latitude), np.radians(longitude)
        sin_lat, cos_lat, sin_lon, cos_lon = np.sin(lat), np.cos(lat), np.sin(lon), np.cos(lon)
        self._origin = _earth_centred(np.array([latitude]), np.array([longitude]))[0]
        self._axes: Floats = np.array([
            [-sin_lon, cos_lon, 0.0],
            [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat],
            [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat],
        ])  # fmt: skip

    def metres(self, latitude: Floats, longitude: Floats) -> Floats:
        """N latitudes and longitudes in degrees to N x 3: east, north, up, of the points on the ellipsoid there."""
        moved = _earth_centred(latitude, longitude) - self._origin
        return np.asarray(moved @ self._axes.T, dtype=np.float64)

    def degrees(self, points: Floats) -> tuple[Floats, Floats]:
        """N x 3 metres (east, north, up), within some kilometres of the ground, to latitudes and longitudes."""
        x, y, z = (points @ self._axes + self._origin).T
        across = np.hypot(x, y)
        # Bowring: near the ground one step is exact to the nanometre.
        reduced = np.arctan2(z * _A, across * _B)
        above = z + _E2 / (1 - _E2) * _B * np.sin(reduced) ** 3
        return np.degrees(np.arctan2(above, across - _E2 * _A * np.cos(reduced) ** 3)), np.degrees(np.arctan2(y, x))


def _earth_centred(latitude: Floats, longitude: Floats) -> Floats:
    lat, lon = np.radians(latitude), np.radians(longitude)
    normal = _A / np.sqrt(1 - _E2 * np.sin(lat) ** 2)
    across = normal * np.cos(lat)
    return np.column_stack([across * np.cos(lon), across * np.sin(lon), normal * (1 - _E2) * np.sin(lat)])
