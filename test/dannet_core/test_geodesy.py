import numpy as np
import pytest

from dannet_core.geodesy import TangentPlane


@pytest.mark.parametrize("place", [(47.0, 8.0), (0.0, 179.9999), (-33.0, -180.0), (89.9999, 30.0), (-90.0, 0.0)])
def test_metres_and_back_is_the_same_place(place: tuple[float, float]) -> None:
    points = np.array([[0.0, 0.0, 0.0], [40.0, -900.0, 0.0], [-1500.0, 20.0, 0.0]])
    plane = TangentPlane(*place)
    metres = plane.metres(*plane.degrees(points))
    # The ground falls away under the plane: 0.2 m at 1.5 km.
    np.testing.assert_allclose(metres[:, :2], points[:, :2], atol=2e-4)
    assert (metres[:, 2] <= 1e-6).all()


def test_a_degree_is_as_long_as_it_is() -> None:
    plane = TangentPlane(47.0, 8.0)
    east, north = plane.metres(np.array([47.0, 47.001]), np.array([8.001, 8.0]))
    # Lengths of a degree at 47 N from the ellipsoid's series: 76,055.5 m and 111,170 m.
    assert east[0] == pytest.approx(76.06, abs=0.01)
    assert north[1] == pytest.approx(111.17, abs=0.01)
    assert abs(east[1]) + abs(north[0]) < 0.001


def test_the_180_meridian_is_no_edge_and_antipodes_are_far() -> None:
    plane = TangentPlane(10.0, 179.9999)
    (west, east), antipode = (
        plane.metres(np.array([10.0, 10.0]), np.array([179.9999, -179.9999])),
        plane.metres(np.array([-10.0]), np.array([-0.0001]))[0],
    )
    assert np.linalg.norm(west - east) == pytest.approx(21.9, abs=0.1)
    assert np.linalg.norm(antipode) > 12e6
