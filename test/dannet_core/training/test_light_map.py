import numpy as np
import pytest

pytest.importorskip("torch")

from dannet_core.training.light_map import Box, Lamp, LightMap, boxes, horizon_of

LAMP = Lamp((1.0, 0.5, 0.0), 0.8, 0.1, (0.3, 0.2), 3.0)


def light_map(ground_from=40, seen=None):
    ground = np.zeros((80, 100), dtype=bool)
    ground[ground_from:] = True
    day = np.full((80, 100, 3), 0.2, dtype=np.float32)
    return LightMap(day, ground, np.ones_like(ground) if seen is None else seen, np.random.default_rng(0))


def test_the_horizon_is_where_the_ground_begins():
    ground = np.zeros((10, 20), dtype=bool)
    assert horizon_of(ground) == 10
    ground[4:] = True
    ground[2, 0] = True  # a speck
    assert horizon_of(ground) == 4


def test_boxes_are_the_connected_parts_and_specks_are_none():
    mask = np.zeros((12, 20), dtype=bool)
    mask[2:6, 3:9] = True
    mask[8, 15] = True
    (box,) = boxes(mask, 2)
    assert (box.top, box.left, box.bottom, box.right) == (2, 3, 6, 9)
    assert box.mask.all()


@pytest.mark.parametrize(("near", "middle"), [("left", 15.0), ("right", 35.0)])
def test_the_near_end_of_a_long_thing_is_where_its_foot_is_lowest(near, middle):
    foot = np.linspace(20, 10, 30) if near == "left" else np.linspace(10, 20, 30)
    box = Box(0, 10, np.arange(20)[:, None] < foot)
    assert box.near_end(10.0) == (middle, 10.0)
    assert box.near_end(28.0) == (25.0, 30.0)  # no room for a flank


def test_a_lamp_is_brightest_where_it_is_and_falls_off_around_in_its_colour():
    lights = light_map()
    lights.add(LAMP, (20.0, 50.0), 10.0, 0.7)
    light = lights.light
    assert np.unravel_index(light[..., 0].argmax(), (80, 100)) == pytest.approx((20, 50), abs=2)
    assert light[20, 50, 0] > 4 * light[20, 58, 0] > 0
    np.testing.assert_allclose(light[..., 1], light[..., 0] / 2, rtol=1e-5)
    assert not light[..., 2].any()


def test_only_ground_mirrors():
    lights = light_map(ground_from=40)
    lights.add(LAMP, (36.0, 50.0), 6.0, 2.0)  # its image lies 24 rows below
    assert lights.light[60, 50, 0] > 0.02
    dry = light_map(ground_from=80)
    dry.add(LAMP, (36.0, 50.0), 6.0, 2.0)
    assert dry.light[60, 50, 0] < 1e-3


def test_outside_the_picture_is_no_lamp():
    lights = light_map()
    for at in ((-5.0, 50.0), (20.0, 120.0), (90.0, 50.0), (20.0, -1.0)):
        lights.add(LAMP, at, 10.0, 0.7)
    assert not lights.light.any()


def test_a_pool_lies_on_the_ground_that_is_seen_between_a_lamp_and_the_camera():
    seen = np.ones((80, 100), dtype=bool)
    seen[:, 60:] = False
    lights = light_map(seen=seen)
    lights.add_pool(LAMP, (50.0, 50.0), 8.0)
    light = lights.light[..., 0]
    assert not light[:40].any()
    assert not light[:, 60:].any()
    assert light[51:, 40:60].max() > 0.02
    assert light[51:].max() > 3 * light[40:45].max()
    light_map(ground_from=80).add_pool(LAMP, (50.0, 50.0), 8.0)  # no ground, no pool, no error


def test_bloom_spills_and_takes_nothing_away():
    lights = light_map()
    assert not lights.finished().any()
    lights.fill((40.0, 50.0), (6.0, 6.0), (3.0, 3.0, 3.0))
    finished = lights.finished()
    assert (finished >= lights.light).all()
    assert finished[40, 60].min() > 0
    assert not lights.light[40, 60].any()
