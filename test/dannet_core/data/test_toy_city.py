import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from dannet_core.classes import IGNORE_ID, train_ids_from_label_ids
from dannet_core.data.registry import open_data_set, open_pairs
from dannet_core.data.toy_city import DataSetCounts, Trip, write_data_set, write_drive, write_trip
from dannet_core.data.toy_city.writing import label_ids
from dannet_core.errors import DannetError
from dannet_core.geodesy import TangentPlane
from dannet_core.pixels import read_rgb

SIZE = (96, 160)


def png_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.png"))}


def test_same_seed_gives_the_same_drive_to_the_byte(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_drive(tmp_path / name, 0.4, 10, SIZE, seed=3)
    assert png_bytes(tmp_path / "a") == png_bytes(tmp_path / "b")
    write_drive(tmp_path / "c", 0.4, 10, SIZE, seed=4)
    assert png_bytes(tmp_path / "a") != png_bytes(tmp_path / "c")


def test_drive_json_describes_what_was_written(tmp_path: Path) -> None:
    summary = write_drive(tmp_path / "drive", 0.5, 8, SIZE, seed=1)
    record = json.loads((tmp_path / "drive" / "drive.json").read_text())
    assert record["fps"] == 8
    assert record["size"] == list(SIZE)
    assert record["seed"] == 1
    assert record["stamps_ns"] == list(summary.stamps_ns)
    assert len(record["stamps_ns"]) == 4
    assert np.diff(record["stamps_ns"]).tolist() == [125_000_000] * 3
    assert sum(record["class_shares"].values()) == pytest.approx(1.0)
    for folder in ("frames", "labels"):
        assert [p.name for p in sorted((tmp_path / "drive" / folder).iterdir())] == [f"{i:06d}.png" for i in range(4)]


def test_a_shorter_drive_replaces_a_longer_one(tmp_path: Path) -> None:
    write_drive(tmp_path, 0.5, 10, SIZE, seed=1)
    write_drive(tmp_path, 0.2, 10, SIZE, seed=1)
    assert len(list((tmp_path / "frames").iterdir())) == 2


def test_frames_move_from_one_to_the_next(tmp_path: Path) -> None:
    write_drive(tmp_path, 0.3, 10, SIZE, seed=1)
    first, second = (cv2.imread(str(tmp_path / "labels" / f"{i:06d}.png"), cv2.IMREAD_GRAYSCALE) for i in (0, 1))
    share_changed = float((first != second).mean())
    assert 0.001 < share_changed < 0.5


def test_a_trip_is_the_same_street_with_stops_and_its_positions_are_written(tmp_path: Path) -> None:
    trip = Trip(3, 1)
    write_trip(tmp_path, trip, 0.4, 5, SIZE)
    again = Trip(3, 1)
    way = np.array([again.pose_at(time).z for time in np.arange(0, 60, 0.5)])
    assert (np.diff(way) >= 0).all()
    assert (np.diff(way) == 0).sum() > 8
    assert np.diff(way).max() > 3
    assert [Trip(3).pose_at(time).z for time in (0.0, 2.5)] == [0.0, 20.0]
    header, *lines = (tmp_path / "positions.csv").read_text().splitlines()
    assert header == "time_s,latitude,longitude"
    rows = np.array([[float(part) for part in line.split(",")] for line in lines])
    assert rows[:, 0].tolist() == [0.0, 0.2, 0.4]
    metres = TangentPlane(47.0, 8.0).metres(rows[:, 1], rows[:, 2])
    poses = [trip.pose_at(time) for time in rows[:, 0]]
    np.testing.assert_allclose(metres[:, :2], [(pose.x, pose.z) for pose in poses], atol=1e-4)
    record = json.loads((tmp_path / "drive.json").read_text())
    assert record["trip"] == 1
    assert len(record["stamps_ns"]) == 2


@pytest.mark.parametrize(
    ("seconds", "fps", "size", "word"),
    [
        (-1.0, 10.0, SIZE, "seconds"),
        (float("nan"), 10.0, SIZE, "seconds"),
        (1.0, 0.0, SIZE, "fps"),
        (1.0, 10.0, (32, 160), "size"),
        (1.0, 10.0, (96, 9000), "size"),
        (1e9, 10.0, SIZE, "frames"),
    ],
)
def test_wrong_values_are_named_in_one_line(
    tmp_path: Path, seconds: float, fps: float, size: tuple[int, int], word: str
) -> None:
    with pytest.raises(DannetError, match=word) as caught:
        write_drive(tmp_path, seconds, fps, size, seed=0)
    assert "\n" not in str(caught.value)


def test_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DannetError, match="cannot write") as caught:
        write_drive(tmp_path / "file" / "drive", 0.1, 10, SIZE, seed=0)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    counts = write_data_set(root, seed=5, size=SIZE, counts=DataSetCounts(train=3, val=1, pairs=2, night_val=2))
    assert counts == {"cityscapes": 8, "dark_zurich": 2 * 2 + 2 + 1 + 2 * 3}
    return root


def test_source_labels_are_cityscapes_label_ids(data_set: Path) -> None:
    pictures = sorted((data_set / "cityscapes/leftImg8bit/train").rglob("*_leftImg8bit.png"))
    assert len(pictures) == 3
    for picture in pictures:
        name = picture.name.replace("_leftImg8bit.png", "_gtFine_labelIds.png")
        ids = cv2.imread(str(data_set / "cityscapes/gtFine/train" / picture.parent.name / name), cv2.IMREAD_UNCHANGED)
        assert ids.shape == SIZE
        assert (train_ids_from_label_ids(ids) != IGNORE_ID).all()
        assert 7 in ids


def test_pairs_show_one_street_by_day_and_night_a_little_apart(data_set: Path) -> None:
    zurich = data_set / "dark_zurich"
    lines = (zurich / "lists/zurich_dn_pair_train.csv").read_text().split()
    single = [p.read_text().strip() for p in sorted((zurich / "corresp/train/night").rglob("*_ref_day.csv"))]
    assert lines == single
    for line in lines:
        night, day = (read_rgb(zurich / "rgb_anon" / f"{stem}_rgb_anon.png") for stem in line.split(","))
        assert night.mean() < 0.75 * day.mean()
        assert night.shape == day.shape == (*SIZE, 3)


def test_night_validation_has_both_kinds_of_labels(data_set: Path) -> None:
    truth = data_set / "dark_zurich/gt/val/night/GOPR0356"
    train_ids = sorted(truth.glob("*_gt_labelTrainIds.png"))
    assert len(train_ids) == 2
    for path in train_ids:
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        ids = cv2.imread(str(path).replace("labelTrainIds", "labelIds"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(train_ids_from_label_ids(ids), labels)


def test_label_ids_are_the_inverse_of_train_ids() -> None:
    train_ids = np.append(np.arange(19), IGNORE_ID).astype(np.uint8)
    np.testing.assert_array_equal(train_ids_from_label_ids(label_ids(train_ids)), train_ids)


def test_the_data_sets_own_readers_read_it(data_set: Path) -> None:
    train = open_data_set("cityscapes", data_set / "cityscapes", "train")
    night = open_data_set("dark-zurich", data_set / "dark_zurich", "val")
    by_label_ids = open_data_set("dark-zurich", data_set / "dark_zurich", "val", encoding="label_ids")
    pairs = open_pairs("dark-zurich", data_set / "dark_zurich")
    assert (len(train), len(night), len(pairs)) == (3, 2, 2)
    assert (
        open_pairs("dark-zurich", data_set / "dark_zurich", data_set / "dark_zurich/lists/zurich_dn_pair_train.csv")
        == pairs
    )
    assert (train[0].read_labels() < 19).all()
    np.testing.assert_array_equal(night[1].read_labels(), by_label_ids[1].read_labels())
