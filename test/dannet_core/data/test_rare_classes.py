from collections import Counter
from math import exp

import pytest

torch = pytest.importorskip("torch")

from dannet_core.data.rare_classes import RareClassSampler, class_pixels  # noqa: E402 - after the skip
from dannet_core.data.registry import open_data_set  # noqa: E402
from dannet_core.data.toy_city import DataSetCounts, write_data_set  # noqa: E402
from dannet_core.errors import DataSetError  # noqa: E402

# Sample 3 alone has the rare class 2; a few pixels of it in sample 0 do not count. Class 1 is nowhere.
PIXELS = [[9000, 0, 10], [9000, 0, 0], [9000, 0, 0], [8000, 0, 1000]]


def drawn(steps=(0, 500), share=(0, 1), temperature=0.5):
    sampler = RareClassSampler(PIXELS, temperature, batch_size=2, seed=7, steps=steps, share=share)
    return list(sampler)


def test_a_picture_is_drawn_as_its_classes_are_rare():
    total = 36010
    weights = [exp((1 - pixels / total) / 0.5) for pixels in (35000, 1010)]
    rare = weights[1] / sum(weights)
    counts = Counter(index for batch in drawn() for index in batch)
    assert counts[3] / 1000 == pytest.approx(rare + (1 - rare) / 4, abs=0.04)
    assert counts[0] / 1000 == pytest.approx((1 - rare) / 4, abs=0.03)
    assert {index for batch in drawn(temperature=0.001) for index in batch} == {3}


def test_a_resumed_and_a_distributed_run_draw_the_same():
    whole = drawn((0, 20))
    assert drawn((8, 20)) == whole[8:]
    shares = zip(drawn((0, 20), (0, 2)), drawn((0, 20), (1, 2)), strict=True)
    assert [[*first, *second] for first, second in shares] == whole
    with pytest.raises(DataSetError, match="no picture with 500 pixels of a class"):
        RareClassSampler([[3, 4]], 1.0, batch_size=1, seed=0, steps=(0, 1))


def test_pixels_are_counted_by_sample(tmp_path):
    write_data_set(tmp_path, 5, (96, 128), DataSetCounts(train=2, val=1, pairs=1, night_val=1))
    data_set = open_data_set("cityscapes", tmp_path / "cityscapes", "train")
    expected = [[int((sample.read_labels() == train_id).sum()) for train_id in range(19)] for sample in data_set]
    assert class_pixels(data_set) == expected
