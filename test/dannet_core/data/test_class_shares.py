import json
import os
import stat

import numpy as np
import pytest

from dannet_core.classes import reweighting_vector
from dannet_core.data.class_shares import CACHE_NAME, ClassShares, count_class_shares
from dannet_core.data.registry import open_data_set
from dannet_core.errors import DataSetError


@pytest.fixture
def city(write_image, write_labels, tmp_path):
    """Two pictures: road, road, building, ignore; and sky, road, road, road, each stripe 64 x 24 pixels."""
    for name, ids in (("a", (7, 7, 11, 0)), ("b", (23, 7, 7, 7))):
        write_image(f"leftImg8bit/train/ulm/{name}_leftImg8bit.png")
        write_labels(f"gtFine/train/ulm/{name}_gtFine_labelIds.png", ids)
    return tmp_path


def test_shares_are_of_the_labelled_pixels_only(city):
    counted = count_class_shares(open_data_set("cityscapes", city, "train"))
    stripe = 64 * 24
    assert counted.pixels[0] == 5 * stripe
    assert counted.pixels[2] == counted.pixels[10] == stripe
    assert sum(counted.pixels) == 7 * stripe
    assert counted.shares[0] == pytest.approx(5 / 7)
    assert len(counted.absent) == 16
    assert "wall" in counted.absent


def test_classes_that_never_occur_are_neither_pushed_nor_held_back(city):
    counted = count_class_shares(open_data_set("cityscapes", city, "train"))
    weights = reweighting_vector(counted.shares, std=0.16)
    absent = np.array([name == 0 for name in counted.pixels])
    np.testing.assert_allclose(weights[absent], 1.0, rtol=1e-6)
    assert weights[0] < 1 < weights[2]
    assert weights[2] == weights[10]


def test_a_second_count_reads_the_cache_beside_the_labels_and_a_changed_file_makes_it_count_again(city, write_labels):
    data_set = open_data_set("cityscapes", city, "train")
    first = count_class_shares(data_set)
    cache = city / "gtFine" / "train" / "ulm" / CACHE_NAME
    content = json.loads(cache.read_text())
    content["pixels"]["road"] += 1
    cache.write_text(json.dumps(content))
    assert count_class_shares(data_set).pixels[0] == first.pixels[0] + 1
    changed = write_labels("gtFine/train/ulm/a_gtFine_labelIds.png", (7, 7, 7, 7))
    os.utime(changed, ns=(1, 1))
    assert count_class_shares(data_set).pixels[0] == 7 * 64 * 24


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', '{"version": 1, "labels": "x", "pixels": {}}'])
def test_a_damaged_cache_counts_as_none(city, content):
    data_set = open_data_set("cityscapes", city, "train")
    expected = count_class_shares(data_set)
    cache = city / "gtFine" / "train" / "ulm" / CACHE_NAME
    cache.write_text(content)
    assert count_class_shares(data_set) == expected
    assert json.loads(cache.read_text())["pixels"]["road"] == expected.pixels[0]


def test_a_folder_of_its_own_may_hold_the_cache(city, tmp_path):
    data_set = open_data_set("cityscapes", city, "train")
    count_class_shares(data_set, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"cityscapes_train_{CACHE_NAME}"]
    assert not list((city / "gtFine").rglob("*.json"))


def test_labels_on_a_read_only_disk_are_counted_without_a_cache(city):
    folder = city / "gtFine" / "train" / "ulm"
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        counted = count_class_shares(open_data_set("cityscapes", city, "train"))
        # Also where the cache can be neither a file nor lie in a folder, which holds for root too.
        assert (
            count_class_shares(open_data_set("cityscapes", city, "train"), folder / "a_gtFine_labelIds.png") == counted
        )
    finally:
        folder.chmod(stat.S_IRWXU)
    assert counted.pixels[0] == 5 * 64 * 24


def test_damaged_labels_are_named_and_leave_no_cache(city, write_labels):
    write_labels("gtFine/train/ulm/b_gtFine_labelIds.png", (7, 99))
    with pytest.raises(DataSetError, match=r"1 unusable label files \(first: .*b_gtFine_labelIds.png: .*got id 99"):
        count_class_shares(open_data_set("cityscapes", city, "train"))
    assert not list(city.rglob("*.json"))


def test_labels_without_a_labelled_pixel_are_an_error(city, write_labels):
    for name in "ab":
        write_labels(f"gtFine/train/ulm/{name}_gtFine_labelIds.png", (0, 255))
    with pytest.raises(DataSetError, match="without a single labelled pixel"):
        count_class_shares(open_data_set("cityscapes", city, "train"))


def test_shares_of_a_full_count_add_up_to_one():
    counted = ClassShares(tuple(range(1, 20)))
    assert sum(counted.shares) == pytest.approx(1)
    assert counted.absent == ()
