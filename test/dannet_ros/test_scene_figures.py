from __future__ import annotations

import numpy as np
import pytest

from dannet_ros.scene_figures import NEIGHBOUR_NS, SceneFigures

LABELS = np.zeros((64, 80), np.uint8)


def half_changed() -> np.ndarray:
    labels = LABELS.copy()
    labels[:32] = 7
    return labels


def test_intensity_is_that_of_the_last_picture() -> None:
    scene = SceneFigures()
    assert scene.intensity is None
    scene.add(30.0, LABELS, 0, stability=False)
    scene.add(50.0, LABELS, 1, stability=False)
    assert scene.intensity == 50.0


def test_changed_share_is_averaged_over_pairs_of_neighbours() -> None:
    scene = SceneFigures()
    for stamp, labels in enumerate([LABELS, half_changed(), half_changed(), LABELS, LABELS]):
        scene.add(30.0, labels, stamp * 10**8, stability=True)
    assert scene.changed_share == pytest.approx((0.5 + 0 + 0.5 + 0) / 4)


@pytest.mark.parametrize("stamp_ns", [NEIGHBOUR_NS + 1, 0, -1])
def test_frames_that_are_no_neighbours_are_not_compared(stamp_ns: int) -> None:
    scene = SceneFigures()
    scene.add(30.0, LABELS, 0, stability=True)
    scene.add(30.0, half_changed(), stamp_ns, stability=True)
    assert scene.changed_share is None


def test_another_picture_size_starts_over() -> None:
    scene = SceneFigures()
    scene.add(30.0, LABELS, 0, stability=True)
    scene.add(30.0, LABELS[:, :70], 1, stability=True)
    assert scene.changed_share is None


def test_switched_off_it_forgets() -> None:
    scene = SceneFigures()
    scene.add(30.0, LABELS, 0, stability=True)
    scene.add(30.0, half_changed(), 1, stability=True)
    scene.add(30.0, LABELS, 2, stability=False)
    assert scene.changed_share is None
    scene.add(30.0, LABELS, 3, stability=True)
    assert scene.changed_share is None, "the frame before was not kept"
