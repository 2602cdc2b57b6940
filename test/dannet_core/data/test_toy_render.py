from functools import lru_cache

import cv2
import numpy as np
import pytest

from dannet_core.classes import CLASS_NAMES
from dannet_core.data.toy_city.mesh import CLASS, MeshBuilder, Paint
from dannet_core.data.toy_city.raster import Camera, rasterize
from dannet_core.data.toy_city.render import render
from dannet_core.data.toy_city.world import Pose, World

SIZE = (180, 320)


@lru_cache(maxsize=4)
def street(seed: int) -> World:
    """Building a street's blocks takes longer than looking at them."""
    return World(seed)


def shoot(world: World, time_s: float, night: bool) -> tuple[np.ndarray, np.ndarray]:
    return render(world, world.pose_at(time_s), SIZE, night, np.random.default_rng(0))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_drive_shows_at_least_fifteen_classes(seed: int) -> None:
    world = street(seed)
    seen = np.zeros(256, dtype=np.int64)
    for time_s in np.arange(0, 20, 2.5):
        seen += np.bincount(shoot(world, time_s, night=True)[1].ravel(), minlength=256)
    assert seen[len(CLASS_NAMES) :].sum() == 0
    assert (seen[: len(CLASS_NAMES)] > 30).sum() >= 15


@pytest.mark.parametrize("seed", range(3))
def test_night_is_far_darker_than_day_and_still_lit(seed: int) -> None:
    world = street(seed)
    (day, _), (night, _) = shoot(world, 6.0, night=False), shoot(world, 6.0, night=True)
    assert np.median(night) < 0.6 * np.median(day)
    assert (night.max(axis=2) > 220).mean() > 0.0005
    sky = shoot(world, 6.0, night=True)[1] == CLASS["sky"]
    assert np.median(night[sky]) < 0.35 * np.median(day[sky])


def test_labels_do_not_depend_on_the_light() -> None:
    world = street(1)
    np.testing.assert_array_equal(shoot(world, 4.0, night=True)[1], shoot(world, 4.0, night=False)[1])


def test_labels_lie_on_what_the_picture_shows() -> None:
    world = street(2)
    day, labels = shoot(world, 5.0, night=False)
    blue_excess = day[..., 2].astype(int) - day[..., 0]
    green_excess = day[..., 1].astype(int) - (day[..., 0].astype(int) + day[..., 2]) // 2
    interior = cv2.erode((labels == CLASS["vegetation"]).astype(np.uint8), np.ones((5, 5))) > 0
    assert green_excess[interior].mean() > 8 + green_excess[labels == CLASS["building"]].mean()
    sky, road = labels == CLASS["sky"], labels == CLASS["road"]
    assert day[sky].mean() > day[road].mean() + 30
    assert blue_excess[sky].mean() > blue_excess[labels == CLASS["building"]].mean()
    assert labels[0].tolist().count(CLASS["road"]) == 0
    assert (labels[-1] == CLASS["road"]).mean() > 0.3


def test_other_traffic_leaves_the_houses_where_they_are() -> None:
    pose = street(2).pose_at(9.0)
    rng = np.random.default_rng(0)
    _, first = render(street(2), pose, SIZE, False, rng)
    _, second = render(World(2, traffic_seed=99), pose, SIZE, False, rng)
    assert (first != second).mean() > 0.005
    upper = slice(0, SIZE[0] // 3)
    assert (first[upper] == second[upper]).mean() > 0.95


def test_noise_follows_the_generator_only() -> None:
    world, pose = street(1), street(1).pose_at(2.0)
    first, again = (render(world, pose, SIZE, True, np.random.default_rng(5))[0] for _ in range(2))
    other = render(world, pose, SIZE, True, np.random.default_rng(6))[0]
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.2


def test_nearer_faces_cover_farther_ones_and_project_to_scale() -> None:
    builder = MeshBuilder()
    builder.front_wall((-5, 5), 20.0, (-5, 5), Paint((1, 1, 1), CLASS["building"]))
    builder.front_wall((-1, 1), 10.0, (-1, 1), Paint((1, 1, 1), CLASS["car"]))
    camera = Camera(Pose(x=0.0, y=0.0, z=0.0), (100, 200))
    labels = rasterize(builder.build(), camera).labels
    columns = np.flatnonzero((labels == CLASS["car"]).any(axis=0))
    expected = 2.0 / 10.0 * camera.focal
    assert len(columns) == pytest.approx(expected, abs=2)
    assert (labels[0] != CLASS["car"]).all()
    assert CLASS["building"] in labels


def test_faces_that_cross_the_camera_are_cut_not_lost() -> None:
    builder = MeshBuilder()
    builder.ground((-50, 50), (-30, 200), Paint((1, 1, 1), CLASS["road"]))
    labels = rasterize(builder.build(), Camera(Pose(x=0.0, y=1.5, z=0.0), (100, 200))).labels
    assert (labels[-1] == CLASS["road"]).all()
    assert (labels[0] == CLASS["sky"]).all()


def test_solid_faces_are_hidden_from_behind() -> None:
    for inside_z, expected in ((11.0, True), (9.0, False)):
        builder = MeshBuilder()
        corners = [(-1, -1, 10.0), (1, -1, 10.0), (1, 1, 10.0), (-1, 1, 10.0)]
        builder.face(corners, Paint((1, 1, 1), CLASS["car"]), solid_from=(0.0, 0.0, inside_z))
        labels = rasterize(builder.build(), Camera(Pose(x=0.0, y=0.0, z=0.0), (100, 200))).labels
        assert (CLASS["car"] in labels) is expected
