from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dannet_core.pixels import read_rgb
from dannet_ros.replay.__main__ import main


def stamps(folder: Path, bags: Any) -> list[int]:
    return sorted((int(file.stem) - bags.START_NS) // bags.STEP_NS for file in folder.iterdir())


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_evenly_picked_pictures_are_named_by_their_stamp(tmp_path: Path, bags: Any, storage: str, capsys: Any) -> None:
    pictures = bags.frames(9)
    bag = bags.write(tmp_path / "bag", pictures, bags.labels(9), storage)
    assert main(["bag_frames", str(bag), "--out", str(tmp_path / "out"), "--most", "3"]) == 0
    assert stamps(tmp_path / "out", bags) == [0, 4, 8]
    got = read_rgb(tmp_path / "out" / f"{bags.START_NS + 4 * bags.STEP_NS}.png")
    np.testing.assert_array_equal(got, pictures[4])
    assert "3 pictures of 9 on /camera/image" in capsys.readouterr().out


def test_all_of_them_and_those_of_one_topic(tmp_path: Path, bags: Any) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(4), bags.labels(4))
    assert main(["bag_frames", str(bag), "--out", str(tmp_path / "all"), "--most", "0"]) == 0
    assert stamps(tmp_path / "all", bags) == [0, 1, 2, 3]
    command = ["bag_frames", str(bag), "--out", str(tmp_path / "truth"), "--topic", "/ground_truth/label"]
    assert main(command) == 0
    assert len(list((tmp_path / "truth").iterdir())) == 4


def test_a_damaged_picture_and_a_cut_bag_leave_the_rest(tmp_path: Path, bags: Any, capsys: Any) -> None:
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        for index, picture in enumerate(bags.frames(3)):
            recorder.image("/camera/image", index, picture)
        recorder.compressed("/rear/image/compressed", 0, b"no picture")
    command = ["bag_frames", str(tmp_path / "bag"), "--out", str(tmp_path / "out"), "--topic", "/camera/image"]
    assert main(command) == 0
    assert len(list((tmp_path / "out").iterdir())) == 3
    capsys.readouterr()
    command[-1] = "/rear/image/compressed"
    assert main([*command[:3], str(tmp_path / "rear"), *command[4:]]) == 2
    error = capsys.readouterr().err
    assert "left out: " in error
    assert "no readable picture on /rear/image/compressed" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--out", "out"], "nowhere: no such bag"),
        (["two", "--out", "out"], "got several cameras, expected one: pass --topic, of /left/image, /right/image"),
        (["two", "--out", "out", "--topic", "/x"], "no topic /x: it holds /left/image, /right/image"),
        (["two", "--out", "full", "--topic", "/left/image"], "full: not empty, expected a new folder"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, bags: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with bags.record(tmp_path / "two") as writer:
        recorder = bags.Recorder(writer)
        for topic in ("/left/image", "/right/image"):
            recorder.image(topic, 0, bags.frames(1)[0])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").write_text("kept")
    assert main(["bag_frames", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "stamps", [[0] * 5, [5 * 10**9] * 5, [1, 2, 2, 3, 1], [5, 4, 3, 2, 1], [-(10**9), -(10**9), 0, -1, -1]]
)
def test_every_picture_is_a_file_of_its_own_whatever_the_stamps(
    tmp_path: Path, bags: Any, capsys: Any, stamps: list[int]
) -> None:
    pictures = bags.frames(len(stamps))
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        for index, (picture, stamp) in enumerate(zip(pictures, stamps, strict=True)):
            recorder.image("/camera/image", index, picture, stamp_ns=stamp)
    assert main(["bag_frames", str(tmp_path / "bag"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert len(files) == len(stamps)
    assert f"out: {len(stamps)} pictures of {len(stamps)} on /camera/image" in said
    for index, (picture, stamp) in enumerate(zip(pictures, stamps, strict=True)):
        repeated = stamp in stamps[:index]
        name = f"{stamp}_message{index}.png" if repeated else f"{stamp}.png"
        np.testing.assert_array_equal(read_rgb(tmp_path / "out" / name), picture)
        files.remove(name)
    repeats = len(stamps) - len(set(stamps))
    assert (f"; {repeats} have a stamp that was there: named STAMP_messageN.png" in said) == bool(repeats)


def test_a_topic_of_two_types_gives_its_pictures(tmp_path: Path, bags: Any, capsys: Any) -> None:
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        for index, picture in enumerate(bags.frames(3)):
            recorder.text("/camera/image", index, "not a picture")
            recorder.image("/camera/image", index, picture)
    assert main(["bag_frames", str(tmp_path / "bag"), "--out", str(tmp_path / "out")]) == 0
    assert "3 pictures of 3 on /camera/image" in capsys.readouterr().out
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_pictures_of_a_ros_1_bag(tmp_path: Path, bags: Any) -> None:
    rosbag1, typesys = pytest.importorskip("rosbags.rosbag1"), pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS1_NOETIC)
    kind = "sensor_msgs/msg/Image"
    pictures = bags.frames(2)
    with rosbag1.Writer(tmp_path / "old.bag") as writer:
        connection = writer.add_connection("/camera/image", kind, typestore=store)
        for index, picture in enumerate(pictures):
            stamp = store.types["builtin_interfaces/msg/Time"](0, 0)
            header = store.types["std_msgs/msg/Header"](0, stamp, "camera")
            height, width = picture.shape[:2]
            message = store.types[kind](header, height, width, "rgb8", 0, 3 * width, picture.reshape(-1))
            writer.write(connection, bags.START_NS + index, store.serialize_ros1(message, kind))
    assert main(["bag_frames", str(tmp_path / "old.bag"), "--out", str(tmp_path / "out")]) == 0
    for name, picture in zip(("0.png", "0_message1.png"), pictures, strict=True):
        np.testing.assert_array_equal(read_rgb(tmp_path / "out" / name), picture)


def test_the_topic_left_out_is_named(tmp_path: Path, bags: Any, capsys: Any) -> None:
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        recorder.image("/camera/image", 0, bags.frames(1)[0])
        recorder.image("/depth", 0, np.zeros((80, 112), np.uint16), encoding="16UC1")
    assert main(["bag_frames", str(tmp_path / "bag"), "--out", str(tmp_path / "out")]) == 0
    assert "/depth left out: 16UC1 pixels: depth, or other measurements; --topic takes it" in capsys.readouterr().err
