"""Bags are read by their records: without an index, whatever their QoS, and damaged ones as far as they go."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dannet_ros.replay.bag_reading import BagError, open_bag

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
COUNT = 40
STORED = [
    ("mcap", "NONE"),
    ("mcap", "STORAGE"),
    ("mcap", "FILE"),
    ("mcap", "MESSAGE"),
    ("sqlite3", "NONE"),
    ("sqlite3", "FILE"),
]


def cut(path: Path, share: float) -> None:
    file = next(one for one in path.iterdir() if one.name != "metadata.yaml")
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


@pytest.mark.parametrize(("storage", "compression"), STORED)
def test_half_a_bag_gives_the_first_frames_unchanged_and_the_reason(
    bags, tmp_path: Path, storage: str, compression: str
) -> None:
    pictures = bags.frames(COUNT)
    bag = bags.write(tmp_path / "bag", pictures, storage=storage, compression=compression)
    whole, problems = bags.read(bag)
    assert (len(whole), problems) == (COUNT, [])
    cut(bag, 0.5)
    found, problems = bags.read(bag)
    assert COUNT // 4 < len(found) < COUNT
    for expected, got in zip(pictures, found, strict=False):
        np.testing.assert_array_equal(got, expected)
    assert any("cut off" in problem or "malformed" in problem for problem in problems), problems
    assert not any("\n" in problem for problem in problems)
    with pytest.raises(BagError, match="damaged"), open_bag(bag):
        pass


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_recorder_that_died_before_it_wrote_metadata_costs_no_frame(bags, tmp_path: Path, storage: str) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(6), storage=storage)
    (bag / "metadata.yaml").unlink()
    found, problems = bags.read(bag)
    assert len(found) == 6
    assert problems == ["not whole: no metadata.yaml; read record by record"]


@pytest.mark.parametrize("name", ["bag_0.mcap", "bag_0.db3"])
def test_a_storage_file_alone_is_a_bag(bags, tmp_path: Path, name: str) -> None:
    storage = "mcap" if name.endswith("mcap") else "sqlite3"
    bag = bags.write(tmp_path / "bag", bags.frames(3), storage=storage)
    shutil.copy(next(bag.glob(f"*{Path(name).suffix}")), tmp_path / name)
    found, problems = bags.read(tmp_path / name)
    assert (len(found), problems) == (3, [])


def test_files_of_a_bag_follow_one_another_by_number(bags, tmp_path: Path) -> None:
    pictures = bags.frames(3)
    (tmp_path / "bag").mkdir()
    for number, picture in zip((2, 9, 10), pictures, strict=True):
        part = bags.write(tmp_path / f"part_{number}", [picture])
        shutil.copy(next(part.glob("*.mcap")), tmp_path / "bag" / f"bag_{number}.mcap")
    found, _ = bags.read(tmp_path / "bag")
    for expected, got in zip(pictures, found, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_channel_that_is_not_cdr_costs_nothing_but_itself(bags, tmp_path: Path) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(COUNT))
    file = next(bag.glob("*.mcap"))
    note = b"/note\x03\x00\x00\x00"
    whole = file.read_bytes()
    assert whole.count(note + b"cdr") >= 1
    file.write_bytes(whole.replace(note + b"cdr", note + b"jsn")[: len(whole) // 2])
    with open_bag(bag, lenient=True) as opened:
        assert list(opened.kinds) == ["/camera/image"]
    found, problems = bags.read(bag)
    assert len(found) > COUNT // 4
    assert any("cut off" in problem for problem in problems), problems


def test_what_holds_nothing_readable_stays_an_error(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "bag_0.mcap").write_bytes(b"nothing of the kind")
    (tmp_path / "bag" / "bag_1.db3").write_bytes(b"nothing of the kind")
    with (
        pytest.raises(BagError, match=r"not a bag: expected a folder with metadata\.yaml"),
        open_bag(tmp_path / "bag", lenient=True),
    ):
        pass


def test_humble_bags_without_message_definitions_are_read(bags, tmp_path: Path) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(4), storage="sqlite3")
    connection = sqlite3.connect(next(bag.glob("*.db3")))
    with connection:
        connection.execute("DELETE FROM message_definitions")
    connection.close()
    found, problems = bags.read(bag)
    assert (len(found), problems) == (4, [])


def changed(bag: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit a bag's metadata."""
    file = bag / "metadata.yaml"
    metadata = yaml.safe_load(file.read_text())
    change(metadata["rosbag2_bagfile_information"])
    file.write_text(yaml.safe_dump(metadata))


def split(bags, folder: Path, storage: str, seconds: Callable[[Any, int], None]) -> Path:
    """A bag of two files: three frames and notes in the first, what ``seconds`` records in the second."""
    suffix = {"mcap": ".mcap", "sqlite3": ".db3"}[storage]
    first = bags.write(folder / "first", bags.frames(3), storage=storage)
    with bags.record(folder / "second", storage) as writer:
        recorder = bags.Recorder(writer)
        for index in range(3, 6):
            seconds(recorder, index)
    (folder / "bag").mkdir()
    for number, part in enumerate((first, folder / "second")):
        shutil.copy(next(part.glob(f"*{suffix}")), folder / "bag" / f"bag_{number}{suffix}")
    shutil.copy(first / "metadata.yaml", folder / "bag")

    def promise(information: dict[str, Any]) -> None:
        information["relative_file_paths"] = [f"bag_{number}{suffix}" for number in range(2)]
        information["message_count"] = 9
        for topic in information["topics_with_message_count"]:
            if topic["topic_metadata"]["name"] == "/camera/image":
                topic["message_count"] = 6

    changed(folder / "bag", promise)
    return folder / "bag"


@pytest.mark.parametrize(("storage", "compression"), STORED)
def test_messages_come_in_the_order_of_rosbags(bags, tmp_path: Path, storage: str, compression: str) -> None:
    highlevel = pytest.importorskip("rosbags.highlevel")
    order = np.random.default_rng(3).integers(0, 25, 90)
    with bags.record(tmp_path / "bag", storage, compression) as writer:
        recorder = bags.Recorder(writer)
        for number, index in enumerate(order):
            recorder.text(f"/note_{number % 3}", int(index), f"{number} " * 8000)
    with highlevel.AnyReader([tmp_path / "bag"]) as reader:
        expected = [(connection.topic, time, bytes(data)) for connection, time, data in reader.messages()]
    with open_bag(tmp_path / "bag") as bag:
        assert [(one.topic, one.time_ns, one.data) for one in bag.raw(list(bag.kinds))] == expected
        few = [(one.topic, one.time_ns, one.data) for one in bag.raw(["/note_1"])]
    assert few == [one for one in expected if one[0] == "/note_1"]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_the_files_of_a_bag_need_agree_on_nothing(bags, tmp_path: Path, storage: str) -> None:
    pictures = bags.frames(6)

    def second(recorder: Any, index: int) -> None:
        recorder.text("/only_here", index, "first, so that the ids of topics differ")
        recorder.image("/camera/image", index, pictures[index])

    bag = split(bags, tmp_path, storage, second)

    def other_qos(information: dict[str, Any]) -> None:
        for topic in information["topics_with_message_count"]:
            topic["topic_metadata"]["offered_qos_profiles"] = [{"history": "unknown", "deadline": "soon"}]

    changed(bag, other_qos)
    with open_bag(bag) as opened:
        found = [image.rgb for image in opened.images(["/camera/image"])]
        assert (opened.count("/camera/image"), opened.count("/only_here")) == (6, 3)
        assert opened.notes == ["more messages than metadata.yaml promises on /only_here: all are read"]
    for expected, got in zip([*bags.frames(3), *pictures[3:]], found, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_another_qos_text_in_one_file_costs_no_frame(bags, tmp_path: Path, storage: str) -> None:
    bag = split(
        bags, tmp_path, storage, lambda recorder, index: recorder.image("/camera/image", index, bags.frames(1)[0])
    )
    if storage == "sqlite3":
        connection = sqlite3.connect(bag / "bag_1.db3")
        with connection:
            connection.execute("UPDATE topics SET offered_qos_profiles = '- history: 3'")
        connection.close()
    found, problems = bags.read(bag)
    assert (len(found), problems) == (6, [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda i: i.update(message_count=20), "metadata.yaml promises 20 messages, 9 can be read"),
        (
            lambda i: i["topics_with_message_count"][0].update(message_count=8),
            "metadata.yaml promises 8 messages on /camera/image, 6 can be read",
        ),
        (
            lambda i: i.update(files=[{"path": f"bag_{n}.mcap", "message_count": 6} for n in range(2)]),
            "metadata.yaml promises 6 messages in bag_1.mcap, 3 can be read",
        ),
        (
            lambda i: i["relative_file_paths"].append("bag_2.mcap"),
            "not whole: metadata.yaml lists bag_2.mcap, not there",
        ),
        (
            lambda i: i["relative_file_paths"].pop(),
            "bag_1.mcap left out: metadata.yaml does not list what is in the folder beside it",
        ),
        (
            lambda i: [i.pop("message_count"), i.pop("topics_with_message_count")],
            "metadata.yaml: it does not say how many messages there are: what was read cannot be compared with it",
        ),
        (lambda i: i["relative_file_paths"].append("x" * 300), "not whole: metadata.yaml lists xxx"),
        (lambda i: i.update(relative_file_paths="x"), "metadata.yaml: relative_file_paths: got 'x', expected a list"),
    ],
)
def test_what_the_metadata_promises_and_is_not_there_is_named(bags, tmp_path: Path, change: Any, said: str) -> None:
    bag = split(
        bags, tmp_path, "mcap", lambda recorder, index: recorder.image("/camera/image", index, bags.frames(1)[0])
    )
    assert bags.read(bag)[1] == []
    changed(bag, change)
    problems = bags.read(bag)[1]
    assert any(said in problem for problem in problems), problems
    with pytest.raises(BagError, match="damaged or not a bag"), open_bag(bag):
        pass


@pytest.mark.parametrize(
    "change",
    [
        lambda i: i.update(version=12, custom_data=None, ros_distro=7),
        lambda i: i.update(relative_file_paths=["/old/place/bag_0.mcap", "C:\\bags\\bag_1.mcap"]),
        lambda i: i.update(relative_file_paths=["bag_1.mcap", "bag_0.mcap", "bag_1.mcap"]),
        lambda i: i.update(message_count=1, files=None, duration="long", storage_identifier="sqlite3"),
        lambda i: [
            topic["topic_metadata"].update(offered_qos_profiles="[}") for topic in i["topics_with_message_count"]
        ],
    ],
)
def test_what_is_odd_in_the_metadata_and_loses_nothing_is_no_problem(bags, tmp_path: Path, change: Any) -> None:
    bag = split(
        bags, tmp_path, "mcap", lambda recorder, index: recorder.image("/camera/image", index, bags.frames(1)[0])
    )
    before, _ = bags.read(bag)
    changed(bag, change)
    found, problems = bags.read(bag)
    assert problems == []
    np.testing.assert_array_equal(np.stack(found), np.stack(before))


def test_a_file_packed_in_several_frames_is_unpacked_to_its_end(bags, tmp_path: Path) -> None:
    from dannet_ros.replay.zstandard import zstd

    bag = bags.write(tmp_path / "bag", bags.frames(6))
    file = next(bag.glob("*.mcap"))
    data = file.read_bytes()
    packed = b"".join(zstd().compress(data[at : at + 50_000]) for at in range(0, len(data), 50_000))
    file.unlink()
    (bag / f"{file.name}.zstd").write_bytes(packed)
    found, problems = bags.read(bag)
    assert (len(found), problems) == (6, [])
    (bag / f"{file.name}.zstd").write_bytes(packed[: len(packed) // 2])
    found, problems = bags.read(bag)
    assert len(found) < 6
    assert any("cut off" in problem for problem in problems), problems


def test_files_in_a_folder_of_their_own_are_found_where_the_list_says(bags, tmp_path: Path) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(3))
    (bag / "data").mkdir()
    next(bag.glob("*.mcap")).rename(bag / "data" / "drive.mcap")
    changed(bag, lambda information: information.update(relative_file_paths=["data/drive.mcap"]))
    found, problems = bags.read(bag)
    assert (len(found), problems) == (3, [])
