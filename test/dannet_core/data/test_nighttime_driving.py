from pathlib import Path

import numpy as np
import pytest

from dannet_core.data.registry import open_data_set
from dannet_core.data.sample import check_labels
from dannet_core.errors import DataSetError, ImageError

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "nighttime_driving"


def test_images_and_labels_are_paired(write_image, write_labels, tmp_path):
    write_image("leftImg8bit/test/night/0_frame_0001_leftImg8bit.png")
    write_labels("gtCoarse_daytime_trainvaltest/test/night/0_frame_0001_gtCoarse_labelTrainIds.png", (0, 255))
    data_set = open_data_set("nighttime-driving", tmp_path)
    assert data_set.split == "test"
    assert data_set[0].name == "0_frame_0001"
    assert set(data_set[0].read_labels().ravel()) == {0, 255}


def test_labels_alone_can_be_opened_and_the_missing_image_is_named(write_labels, tmp_path):
    write_labels("gtCoarse_daytime_trainvaltest/test/night/0_frame_0001_gtCoarse_labelIds.png", (7, 0))
    with pytest.raises(DataSetError, match="got a folder without 'leftImg8bit/test/night'"):
        open_data_set("nighttime-driving", tmp_path)
    sample = open_data_set("nighttime-driving", tmp_path, need_images=False)[0]
    assert set(sample.read_labels().ravel()) == {0, 255}
    with pytest.raises(ImageError, match=r"0_frame_0001_leftImg8bit\.png: no such image file"):
        sample.read_image()


def test_the_real_labels_hold_17_of_the_19_classes():
    if not REAL.is_dir():
        pytest.skip(f"no {REAL}")
    data_set = open_data_set("nighttime-driving", REAL, need_images=False)
    assert len(data_set) == 50
    check_labels(data_set)
    seen = np.unique(np.concatenate([np.unique(sample.read_labels()) for sample in data_set]))
    assert set(range(19)) - set(seen.tolist()) == {9, 17}
