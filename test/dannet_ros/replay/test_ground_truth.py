import resource
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dannet_core.errors import DannetError, OutputError
from dannet_core.formats.label_png import LabelCode
from dannet_ros.replay.bag_reading import open_bag
from dannet_ros.replay.ground_truth import GroundTruth, open_truth, stamp_of_name

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
STAMP = 1_700_000_000_050_000_000


@pytest.mark.parametrize(
    "name",
    ["1700000000050000000", "1700000000.050000000", "1700000000_50000000", "1700000000-50000000",
     "1700000000050000000_labelTrainIds", "1700000000.050000000_gt_labelIds"],
)  # fmt: skip
def test_every_spelling_of_a_stamp_is_the_same_stamp(name: str) -> None:
    assert stamp_of_name(name) == STAMP


@pytest.mark.parametrize("name", ["000001", "frame_1", "", "1700000000.05", "170000000005000000000000000"])
def test_other_names_are_no_stamps(name: str) -> None:
    assert stamp_of_name(name) is None


def opened(bags, tmp_path: Path, wanted: list[str], encoding: str = "train_ids") -> list[GroundTruth | None]:
    bag = tmp_path / "bag"
    if not bag.exists():
        bags.write(bag, bags.frames(3), bags.labels(3))
    (tmp_path / "scratch").mkdir(exist_ok=True)
    with open_bag(bag) as reader:
        return open_truth(reader, wanted, ["/camera/image"], LabelCode(encoding), tmp_path / "scratch")


def test_labels_of_the_usual_topic_are_found_by_stamp(bags, tmp_path: Path) -> None:
    (truth,) = opened(bags, tmp_path, [])
    assert truth is not None
    assert (truth.source, len(truth), truth.unused) == ("/ground_truth/label", 3, 3)
    np.testing.assert_array_equal(truth.find(STAMP, (80, 112)), bags.labels(3)[1])
    assert truth.find(STAMP + 1, (80, 112)) is None
    assert truth.unused == 2
    with pytest.raises(DannetError, match="got 112x80 pixels, expected 100x80 like its frame"):
        truth.find(STAMP, (80, 100))


def test_a_full_disk_under_the_labels_is_named_and_not_taken_for_damaged_labels(bags, tmp_path: Path) -> None:
    assert opened(bags, tmp_path, [])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OutputError, match=r"0\.png: cannot write: File too large"):
            opened(bags, tmp_path, [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_none_switches_ground_truth_off(bags, tmp_path: Path) -> None:
    assert opened(bags, tmp_path, ["none"]) == [None]


def test_a_folder_of_label_ids_is_read_as_train_ids(bags, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "labels" / f"{STAMP}.png"), np.array([[7, 8], [33, 0]], np.uint8))
    (truth,) = opened(bags, tmp_path, [str(tmp_path / "labels")], "label_ids")
    assert truth is not None
    assert truth.find(STAMP, (2, 2)).tolist() == [[0, 1], [18, 255]]


@pytest.mark.parametrize(
    ("wanted", "files", "said"),
    [
        ("/nowhere", {}, "labels: got /nowhere, expected a topic of the bag"),
        ("labels", {}, "holds no labels"),
        ("labels", {"frame.png": 3}, "no stamp in its name"),
        ("labels", {f"{STAMP}.png": 19}, "got id 19, expected train ids 0..18 or 255"),
        ("/note", {}, "expected sensor_msgs/msg/Image"),
    ],
)
def test_unusable_ground_truth_is_named_at_once(
    bags, tmp_path: Path, wanted: str, files: dict[str, int], said: str
) -> None:
    (tmp_path / "labels").mkdir()
    for name, value in files.items():
        cv2.imwrite(str(tmp_path / "labels" / name), np.full((4, 4), value, np.uint8))
    path = wanted if wanted.startswith("/") else str(tmp_path / wanted)
    with pytest.raises(DannetError, match=said) as caught:
        opened(bags, tmp_path, [path])
    assert "\n" not in str(caught.value)


def truths(bag: Path, tmp_path: Path, wanted: list[str], topics: list[str]) -> list[GroundTruth]:
    (tmp_path / "scratch").mkdir()
    with open_bag(bag) as reader:
        return [
            truth
            for truth in open_truth(reader, wanted, topics, LabelCode("train_ids"), tmp_path / "scratch")
            if truth is not None
        ]


def recorded(bags: Any, path: Path, stamps: dict[str, list[int]]) -> Path:
    """Topics whose messages, label images on those named so, carry the stamps given."""
    with bags.record(path) as writer:
        recorder = bags.Recorder(writer)
        for topic, values in stamps.items():
            pictures = bags.labels(len(values)) if "label" in topic else bags.frames(len(values))
            for index, stamp in enumerate(values):
                recorder.image(topic, index, pictures[index], stamp_ns=stamp)
    return path


@pytest.mark.parametrize(
    ("frames", "labels", "usable", "said"),
    [
        ([0, 0, 0], [0, 0, 0], [], "labels of stamp 0 left out: several labels have it"),
        ([7, 8, 8, 9], [7, 8, 9], [7, 9], "labels of stamp 8 left out: several frames of /cam have it"),
        ([7, 8, 9], [7, 8, 8, 9], [7, 9], "labels of stamp 8 left out: several labels have it"),
        ([5, 5], [5], [], "labels of stamp 5 left out: several frames of /cam have it"),
        ([9, 8, 7, 8], [7, 8, 9], [7, 9], "labels of stamp 8 left out: several frames of /cam have it"),
        ([-1_500_000_000, 3], [-1_500_000_000, 3], [-1_500_000_000, 3], ""),
    ],
)
def test_labels_that_may_be_another_frames_are_left_out_with_a_word(
    bags: Any, tmp_path: Path, frames: list[int], labels: list[int], usable: list[int], said: str
) -> None:
    bag = recorded(bags, tmp_path / "bag", {"/cam": frames, "/label": labels})
    (truth,) = truths(bag, tmp_path, ["/label"], ["/cam"])
    assert [stamp for stamp in sorted(set(frames)) if truth.find(stamp, (80, 112)) is not None] == sorted(usable)
    assert len(truth) == len(usable)
    for stamp in usable:
        np.testing.assert_array_equal(truth.find(stamp, (80, 112)), bags.labels(len(labels))[labels.index(stamp)])
    assert bool(truth.problems) == bool(said)
    assert not said or truth.problems == [f"/label: {said}"]


def test_one_topic_of_labels_is_not_shared_by_cameras_with_the_same_stamps(bags: Any, tmp_path: Path) -> None:
    stamps = {"/left/image": [7, 8, 9], "/right/image": [7, 8, 10], "/label": [7, 9, 10]}
    bag = recorded(bags, tmp_path / "bag", stamps)
    left, right = truths(bag, tmp_path, ["/label"], ["/left/image", "/right/image"])
    assert [truth.find(7, (80, 112)) for truth in (left, right)] == [None, None]
    assert left.find(9, (80, 112)) is not None
    assert right.find(10, (80, 112)) is not None
    expected = "/label: labels of stamp 7 left out: frames of both /left/image and /right/image have it"
    assert left.problems == right.problems == [f"{expected}: name the labels of each with --labels"]


@pytest.mark.parametrize(
    ("wanted", "topics"),
    [
        (["/label", "none"], ["/left/image", "/right/image"]),
        (["/label"], ["/left/image", "/left/image/compressed"]),
    ],
)
def test_labels_named_for_a_camera_or_for_two_transports_of_it_are_all_used(
    bags: Any, tmp_path: Path, wanted: list[str], topics: list[str]
) -> None:
    bag = recorded(bags, tmp_path / "bag", {topics[0]: [7, 8], topics[1]: [7, 8], "/label": [7, 8]})
    found = truths(bag, tmp_path, wanted, topics)
    assert all(truth.find(7, (80, 112)) is not None and truth.problems == [] for truth in found)


def test_a_folder_with_two_labels_of_one_stamp_is_refused_by_name(bags: Any, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    for name in (f"{STAMP}.png", f"{STAMP}_color.png"):
        cv2.imwrite(str(tmp_path / "labels" / name), np.zeros((4, 4), np.uint8))
    with pytest.raises(DannetError, match=rf"_color\.png: a second label of stamp {STAMP} beside {STAMP}\.png"):
        opened(bags, tmp_path, [str(tmp_path / "labels")])


def test_a_folder_of_labels_is_not_matched_to_one_of_two_frames(bags: Any, tmp_path: Path) -> None:
    bag = recorded(bags, tmp_path / "bag", {"/cam": [STAMP, STAMP + 1, STAMP]})
    (tmp_path / "labels").mkdir()
    for stamp in (STAMP, STAMP + 1):
        cv2.imwrite(str(tmp_path / "labels" / f"{stamp}.png"), np.zeros((80, 112), np.uint8))
    (truth,) = truths(bag, tmp_path, [str(tmp_path / "labels")], ["/cam"])
    assert truth.find(STAMP, (80, 112)) is None
    assert truth.find(STAMP + 1, (80, 112)) is not None
    assert len(truth.problems) == 1
