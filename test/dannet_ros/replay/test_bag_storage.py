"""Damaged bags are read as far as they go, and say what is missing."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from dannet_ros.replay.bag_reading import BagError, open_bag

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
COUNT = 40
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def read(bag: Path) -> tuple[list[np.ndarray], list[str]]:
    with open_bag(bag, lenient=True) as opened:
        return [image.rgb for image in opened.images(["/camera/image"])], opened.problems


def cut(path: Path, share: float) -> None:
    file = next(one for one in path.iterdir() if one.name != "metadata.yaml")
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


@pytest.mark.parametrize(
    ("storage", "compression"),
    [
        ("mcap", "NONE"),
        ("mcap", "STORAGE"),
        ("mcap", "FILE"),
        ("mcap", "MESSAGE"),
        ("sqlite3", "NONE"),
        ("sqlite3", "FILE"),
    ],
)
def test_half_a_bag_gives_the_first_frames_unchanged_and_the_reason(
    bags, tmp_path: Path, storage: str, compression: str
) -> None:
    pictures = bags.frames(COUNT)
    bag = bags.write(tmp_path / "bag", pictures, storage=storage, compression=compression)
    whole, problems = read(bag)
    assert (len(whole), problems) == (COUNT, [])
    cut(bag, 0.5)
    found, problems = read(bag)
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
    found, problems = read(bag)
    assert len(found) == 6
    assert problems == ["not whole: no metadata.yaml; read record by record"]


@pytest.mark.parametrize("name", ["bag_0.mcap", "bag_0.db3"])
def test_a_storage_file_alone_is_a_bag(bags, tmp_path: Path, name: str) -> None:
    storage = "mcap" if name.endswith("mcap") else "sqlite3"
    bag = bags.write(tmp_path / "bag", bags.frames(3), storage=storage)
    shutil.copy(next(bag.glob(f"*{Path(name).suffix}")), tmp_path / name)
    found, problems = read(tmp_path / name)
    assert (len(found), problems) == (3, [])


def test_files_of_a_bag_follow_one_another_by_number(bags, tmp_path: Path) -> None:
    pictures = bags.frames(3)
    (tmp_path / "bag").mkdir()
    for number, picture in zip((2, 9, 10), pictures, strict=True):
        part = bags.write(tmp_path / f"part_{number}", [picture])
        shutil.copy(next(part.glob("*.mcap")), tmp_path / "bag" / f"bag_{number}.mcap")
    found, _ = read(tmp_path / "bag")
    for expected, got in zip(pictures, found, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_damaged_chunk_ends_the_reading_before_it(bags, tmp_path: Path) -> None:
    count = 3 * COUNT
    bag = bags.write(tmp_path / "bag", bags.frames(count), compression="STORAGE")
    file = next(bag.glob("*.mcap"))
    data = bytearray(file.read_bytes())
    second = data.find(ZSTD_MAGIC, data.find(ZSTD_MAGIC) + 4)
    data[second : second + 16] = bytes(16)
    file.write_bytes(data)
    found, problems = read(bag)
    assert 0 < len(found) < count
    assert any("damaged" in problem for problem in problems)


def test_a_channel_that_is_not_cdr_costs_nothing_but_itself(bags, tmp_path: Path) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(COUNT))
    file = next(bag.glob("*.mcap"))
    note = b"/note\x03\x00\x00\x00"
    whole = file.read_bytes()
    assert whole.count(note + b"cdr") >= 1
    file.write_bytes(whole.replace(note + b"cdr", note + b"jsn")[: len(whole) // 2])
    with open_bag(bag, lenient=True) as opened:
        assert list(opened.kinds) == ["/camera/image"]
    found, problems = read(bag)
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
    import sqlite3

    bag = bags.write(tmp_path / "bag", bags.frames(4), storage="sqlite3")
    connection = sqlite3.connect(next(bag.glob("*.db3")))
    with connection:
        connection.execute("DELETE FROM message_definitions")
    connection.close()
    found, problems = read(bag)
    assert (len(found), problems) == (4, [])
