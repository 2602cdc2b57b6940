import math

import numpy as np
import pytest

from dannet_core.classes import (
    CITYSCAPES_CLASS_SHARES,
    CLASS_COLORS,
    CLASS_NAMES,
    IGNORE_ID,
    reweighting_vector,
    train_ids_from_label_ids,
)
from dannet_core.errors import SettingsError


def test_has_nineteen_distinct_names_and_colors():
    assert len(CLASS_NAMES) == len(set(CLASS_NAMES)) == len(set(CLASS_COLORS)) == 19


def test_shares_of_cityscapes_sum_to_one():
    assert sum(CITYSCAPES_CLASS_SHARES) == pytest.approx(1.0, abs=1e-6)


def test_reweighting_follows_equation_2_by_hand():
    # -log of 1/2, 1/4, 1/4 is (1, 2, 2) log 2: mean 5/3 log 2, sample deviation log 2 / sqrt 3.
    weights = reweighting_vector((0.5, 0.25, 0.25), std=0.16, avg=1.0)
    expected = 1 + 0.16 * np.array([-2 / 3, 1 / 3, 1 / 3]) * math.sqrt(3)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_reweighting_has_the_asked_mean_and_spread_and_favours_rare_classes():
    weights = reweighting_vector(CITYSCAPES_CLASS_SHARES, std=0.05)
    assert weights.mean() == pytest.approx(1.0, abs=1e-6)
    assert weights.std(ddof=1) == pytest.approx(0.05, abs=1e-6)
    order = np.argsort(CITYSCAPES_CLASS_SHARES)
    assert (np.diff(weights[order]) < 0).all()


def test_reweighting_without_spread_is_all_ones():
    np.testing.assert_array_equal(reweighting_vector((0.25,) * 4, std=0.16), np.ones(4, np.float32))
    np.testing.assert_array_equal(reweighting_vector((0.7, 0.3), std=0.0), np.ones(2, np.float32))


def test_equal_shares_leave_every_class_as_it_is():
    """To the bit: the mean of equal numbers is often rounded to another one."""
    for k in range(2, 256):
        np.testing.assert_array_equal(reweighting_vector((1 / k,) * k, std=0.16), np.ones(k, np.float32))


@pytest.mark.parametrize("shares", [(0.5, 0.0), (0.5, float("nan")), (1.0,), (0.5, -0.5)])
def test_reweighting_refuses_shares_that_are_not_above_zero(shares):
    with pytest.raises(SettingsError, match="class_shares"):
        reweighting_vector(shares, std=0.16)


def test_reweighting_refuses_a_spread_that_makes_a_weight_negative():
    with pytest.raises(SettingsError, match=r"reweight_std: got 1.0.*smaller std"):
        reweighting_vector(CITYSCAPES_CLASS_SHARES, std=1.0)


def test_label_ids_become_train_ids_and_the_rest_is_ignored():
    label_ids = np.array([[7, 8, 33], [0, 6, 255]], dtype=np.uint8)
    expected = [[0, 1, 18], [IGNORE_ID, IGNORE_ID, IGNORE_ID]]
    np.testing.assert_array_equal(train_ids_from_label_ids(label_ids), expected)
