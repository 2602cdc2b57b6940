"""The shipped model: what it says it is, and that it knows the toy city by night and by day."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dannet_core
from dannet_core import NightSegmenter
from dannet_core.classes import CLASS_NAMES
from dannet_core.data.toy_city.render import render
from dannet_core.data.toy_city.world import World
from dannet_core.evaluation.confusion import ConfusionMatrix

DEMO = Path(dannet_core.__file__).parent / "models" / "demo.onnx"
STREETS = (101, 102, 103, 104)


@pytest.fixture(scope="module")
def demo():
    with NightSegmenter.load(DEMO) as segmenter:
        yield segmenter


def test_it_is_small_trained_and_for_night_and_day(demo):
    metadata = demo.metadata
    assert DEMO.stat().st_size <= 4e6
    assert (metadata.arch, metadata.backbone, metadata.relighting_width) == ("efficientvit", "b0", 0)
    assert (metadata.input_size, metadata.precision, metadata.trained) == ((288, 512), "fp32", True)
    assert metadata.class_names == CLASS_NAMES
    assert "preset beyond" in metadata.source
    assert "statistics of day and night" in metadata.source


@pytest.mark.parametrize(("night", "least_pixels", "least_car"), [(True, 0.89, 0.78), (False, 0.92, 0.84)])
def test_it_knows_streets_that_it_was_not_trained_on(demo, night, least_pixels, least_car):
    seen = ConfusionMatrix()
    for seed in STREETS:
        world, rng = World(seed), np.random.default_rng(seed)
        for time_s in (4.0, 15.0):
            rgb, labels = render(world, world.pose_at(time_s), (360, 640), night, rng)
            seen.add(labels, demo.segment(rgb).labels)
    assert seen.pixel_accuracy >= least_pixels
    assert seen.iou[CLASS_NAMES.index("car")] >= least_car
