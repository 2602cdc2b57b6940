import cv2
import numpy as np
import pytest

from dannet_core.classes import IGNORE_ID
from dannet_core.evaluation.worst_images import error_picture
from dannet_core.report.pictures import shrink
from dannet_ros.replay.bag_frame import BagFrame
from dannet_ros.replay.explorer import extremes
from dannet_ros.replay.frame_pictures import FramePictures, Title, frame_pictures


class Labelled:
    """What the pictures take of a prediction."""

    colormap = np.arange(768, dtype=np.int64).reshape(256, 3).astype(np.uint8)

    def __init__(self, labels: np.ndarray, confidence: float | None = None) -> None:
        self.labels, self._confidence = labels, confidence
        self.confidence = np.full(labels.shape, confidence or 0, np.float32)

    def has(self, output: str) -> bool:
        return output == "confidence" and self._confidence is not None


def frame(index: int, topic: str = "/cam", *, truth: np.ndarray | None = None) -> BagFrame:
    rgb = np.random.default_rng(index).integers(0, 255, (72, 128, 3), dtype=np.uint8)
    return BagFrame(index, topic, rgb, truth, 1.0)


def labels(value: int = 3) -> np.ndarray:
    return np.full((72, 128), value, np.uint8)


def test_a_long_drive_keeps_its_extremes_and_its_first_gap() -> None:
    steady: list[float | None] = [1.0] * 20_000
    steady[12_345], steady[777] = 9.0, None
    other: list[float | None] = [0.5] * 20_000
    other[5_000], other[777] = -1.0, None
    kept = extremes([steady, other], 1000, always=[4])
    assert {12_345, 5_000, 777, 4} <= set(kept)
    assert len(kept) <= 1000
    assert kept == sorted(kept)
    assert extremes([steady[:50]], 50) == list(range(50))


def test_pictures_of_a_frame_with_and_without_ground_truth() -> None:
    models = {"a": Labelled(labels(3), 0.5), "b": Labelled(labels(4))}
    with_truth = frame_pictures(frame(0, truth=labels(IGNORE_ID)), models, 64, 60)
    assert list(with_truth) == [
        Title("camera"), Title("ground truth"), Title("labels of a", "a"), Title("error of a", "a"),
        Title("labels of b", "b"), Title("error of b", "b"),
    ]  # fmt: skip
    assert list(frame_pictures(frame(0), models, 64, 60)) == [
        Title("camera"), Title("labels of a", "a"), Title("confidence of a", "a"), Title("labels of b", "b"),
    ]  # fmt: skip
    assert list(frame_pictures(frame(0), {"a": models["a"]}, 64, 60))[1] == Title("labels", "a")


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_more_frames_the_fewer_have_pictures_of_each_camera(stride: int) -> None:
    every = [frame_pictures(frame(i), {"a": Labelled(labels())}, 192, 60) for i in range(40)]
    total = sum(len(data) for pictures in every for data in pictures.values())
    pictures = FramePictures(0, int(total / stride * 1.1))
    for index in range(40):
        pictures.offer(frame(index, f"/cam{index % 2}"), {"a": Labelled(labels())})
    assert pictures.stride == stride
    assert sorted(pictures.kept) == [i for i in range(40) if i // 2 % stride == 0]


def test_small_labels_and_errors_are_the_pixels_of_the_large_ones() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = (rng.integers(0, 19, (72, 128), dtype=np.uint8) for _ in range(2))
    truth[:9] = IGNORE_ID
    made = frame_pictures(frame(0, truth=truth), {"a": Labelled(predicted)}, 64, 60)

    def decoded(title: Title) -> np.ndarray:
        return cv2.cvtColor(cv2.imdecode(np.frombuffer(made[title], np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    large = {Title("error", "a"): error_picture(truth, predicted), Title("labels", "a"): Labelled.colormap[predicted],
             Title("ground truth"): Labelled.colormap[truth]}  # fmt: skip
    for title, picture in large.items():
        np.testing.assert_array_equal(decoded(title), shrink(picture, 64, labels=True))


def test_no_budget_keeps_nothing() -> None:
    pictures = FramePictures(10, 0)
    pictures.offer(frame(0), {"a": Labelled(labels())})
    assert pictures.kept == {}


def test_few_frames_have_larger_pictures_than_many() -> None:
    assert shrink(frame(0).rgb, 64).shape == (36, 64, 3)
    few, many = FramePictures(10), FramePictures(5000)
    big = BagFrame(0, "/cam", np.zeros((720, 1280, 3), np.uint8), None, 1.0)
    for pictures in (few, many):
        pictures.offer(big, {"a": Labelled(np.zeros((720, 1280), np.uint8))})
    assert len(few.kept[0][Title("camera")]) >= len(many.kept[0][Title("camera")])
