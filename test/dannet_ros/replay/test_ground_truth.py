from pathlib import Path

import cv2
import numpy as np
import pytest

from dannet_core.errors import DannetError
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
        return open_truth(reader, wanted, ["/camera/image"], encoding, tmp_path / "scratch")


def test_labels_of_the_usual_topic_are_found_by_stamp(bags, tmp_path: Path) -> None:
    (truth,) = opened(bags, tmp_path, [])
    assert truth is not None
    assert (truth.source, len(truth), truth.unused) == ("/ground_truth/label", 3, 3)
    np.testing.assert_array_equal(truth.find(STAMP, (80, 112)), bags.labels(3)[1])
    assert truth.find(STAMP + 1, (80, 112)) is None
    assert truth.unused == 2
    with pytest.raises(DannetError, match="got 112x80 pixels, expected 100x80 like its frame"):
        truth.find(STAMP, (80, 100))


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
