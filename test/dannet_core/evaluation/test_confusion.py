import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dannet_core.errors import ImageError
from dannet_core.evaluation.confusion import ConfusionMatrix

IDS = np.array([*range(19), 255], np.uint8)


def counted(labels: np.ndarray, predictions: np.ndarray) -> ConfusionMatrix:
    confusion = ConfusionMatrix()
    confusion.add(labels, predictions)
    return confusion


def pictures(seed: int, shape: tuple[int, int] = (40, 50)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return IDS[rng.integers(0, 20, shape)], IDS[rng.integers(0, 20, shape)]


def test_a_case_worked_out_by_hand():
    labels = np.array([[0, 0, 0, 1], [1, 2, 255, 255]], np.uint8)
    predictions = np.array([[0, 0, 1, 1], [255, 3, 0, 255]], np.uint8)
    confusion = counted(labels, predictions)
    # Road: 2 hits of 3 labelled, never wrongly predicted where labelled. Sidewalk: 1 hit, 1 unknown, 1 false alarm.
    np.testing.assert_allclose(confusion.iou[:4], [2 / 3, 1 / 3, 0, 0])
    assert np.isnan(confusion.iou[4:]).all()
    assert confusion.present.tolist() == [True, True, True] + [False] * 16
    assert confusion.miou_present == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)
    assert confusion.miou_19 == pytest.approx((2 / 3 + 1 / 3 + 0) / 19)
    assert confusion.miou_cityscapes == pytest.approx((2 / 3 + 1 / 3 + 0 + 0) / 4)
    assert confusion.pixel_accuracy == pytest.approx(3 / 6)


def test_pixels_predicted_as_unknown_are_missed_and_stand_in_the_last_column():
    confusion = counted(np.full((4, 5), 3, np.uint8), np.full((4, 5), 255, np.uint8))
    assert confusion.counts[3, 19] == confusion.counts.sum() == 20
    assert confusion.iou[3] == 0


def test_without_labels_every_score_is_undefined():
    confusion = counted(np.full((4, 5), 255, np.uint8), np.zeros((4, 5), np.uint8))
    for score in (confusion.miou_present, confusion.miou_19, confusion.miou_cityscapes, confusion.pixel_accuracy):
        assert np.isnan(score)


def test_where_every_class_is_labelled_the_three_means_are_one():
    confusion = counted(*pictures(0))
    assert confusion.miou_present == pytest.approx(confusion.miou_19) == pytest.approx(confusion.miou_cityscapes)


def test_parts_add_up_to_the_whole():
    (a, b), (c, d) = pictures(1), pictures(2)
    total = counted(a, b)
    total += counted(c, d)
    np.testing.assert_array_equal(total.counts, counted(np.vstack([a, c]), np.vstack([b, d])).counts)
    np.testing.assert_array_equal(ConfusionMatrix(total.counts).counts, total.counts)


def test_counts_do_not_overflow_32_bits():
    confusion = ConfusionMatrix(np.eye(19, 20, dtype=np.int64) * 3_000_000_000)
    confusion += ConfusionMatrix(confusion.counts)
    assert confusion.counts[0, 0] == 6_000_000_000
    assert confusion.miou_19 == 1.0


@pytest.mark.parametrize(
    ("labels", "predictions", "said"),
    [
        (np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.uint8), r"got \(5, 4\) pixels, expected \(4, 5\)"),
        (np.full((4, 5), 19, np.uint8), np.zeros((4, 5), np.uint8), "labels: got id 19"),
        (np.zeros((4, 5), np.uint8), np.full((4, 5), 254, np.uint8), "predictions: got id 254"),
    ],
)
def test_two_sizes_and_ids_that_are_none_are_refused(labels, predictions, said):
    with pytest.raises(ImageError, match=said):
        counted(labels, predictions)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_tensors_are_counted_as_arrays_are(seed, height, width):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    labels, predictions = pictures(seed, (height, width))
    on_device = ConfusionMatrix()
    on_device.add_tensors(torch.from_numpy(labels), torch.from_numpy(predictions).long())
    np.testing.assert_array_equal(on_device.counts, counted(labels, predictions).counts)


def test_tensors_and_arrays_may_be_mixed_and_the_counts_read_in_between():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    labels, predictions = pictures(3)
    once = counted(labels, predictions).counts
    mixed = ConfusionMatrix()
    for times in range(1, 4):
        mixed.add(labels, predictions)
        mixed.add_tensors(torch.from_numpy(labels)[None], torch.from_numpy(predictions)[None])
        np.testing.assert_array_equal(mixed.counts, once * times * 2)
    with pytest.raises(ImageError, match="expected"):
        mixed.add_tensors(torch.from_numpy(labels), torch.from_numpy(predictions)[:-1])


@pytest.mark.gpu
def test_the_host_never_waits_for_the_device_while_counting():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    labels, predictions = pictures(4)
    tensors = torch.from_numpy(labels).cuda(), torch.from_numpy(predictions).cuda()
    confusion = ConfusionMatrix()
    torch.cuda.set_sync_debug_mode("error")
    try:
        confusion.add_tensors(*tensors)
        confusion.add_tensors(*tensors)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_array_equal(confusion.counts, 2 * counted(labels, predictions).counts)
