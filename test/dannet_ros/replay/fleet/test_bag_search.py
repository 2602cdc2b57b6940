"""Which bags a folder holds, what each is called, and what is not counted twice."""

import os
from pathlib import Path

import pytest

from dannet_ros.replay.bag_reading import BagError
from dannet_ros.replay.fleet.bag_search import find_bags, names_of


def bag(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "metadata.yaml").touch()
    (path / f"{path.name}_0.mcap").touch()
    return path


def paths(*given: Path) -> list[Path]:
    return [one.path for one in find_bags(given).bags]


def test_one_bag_alone_is_told_from_a_folder_that_holds_one(tmp_path: Path) -> None:
    drive = bag(tmp_path / "night" / "drive")
    assert find_bags([drive]).single
    assert find_bags([drive / "drive_0.mcap"]).single
    folder = find_bags([tmp_path / "night"])
    assert (folder.single, [one.path for one in folder.bags]) == (False, [drive])


def test_a_folder_is_searched_to_any_depth_in_the_order_of_paths(tmp_path: Path) -> None:
    late, early = bag(tmp_path / "b" / "drive"), bag(tmp_path / "a" / "monday" / "drive")
    assert paths(tmp_path) == [early, late]


def test_bags_that_lost_their_metadata_loose_files_and_bags_of_ros_1_are_found_too(tmp_path: Path) -> None:
    whole, lost = bag(tmp_path / "whole"), bag(tmp_path / "lost")
    (lost / "metadata.yaml").unlink()
    (lost / "lost_1.mcap.zstd").touch()
    loose = [tmp_path / name for name in ("alone.db3", "old.bag", "other.mcap")]
    for file in loose:
        file.touch()
    assert paths(tmp_path) == sorted([whole, lost, *loose])


def test_files_of_a_folder_without_other_bags_are_one_bag_as_ever(tmp_path: Path) -> None:
    for name in ("drive_0.mcap", "drive_1.mcap"):
        (tmp_path / name).touch()
    found = find_bags([tmp_path])
    assert (found.single, [one.path for one in found.bags]) == (True, [tmp_path])


def test_what_an_evaluation_wrote_is_left_out_and_said(tmp_path: Path) -> None:
    drive = bag(tmp_path / "drive")
    written = bag(tmp_path / "results" / "bag")
    (tmp_path / "results" / "metrics.json").write_text('{\n "format": "dannet_ros evaluate_bag 1",\n')
    bag(tmp_path / "out" / "bags" / ".drive.123.partial" / "drive" / "bag")
    other = bag(tmp_path / "others" / "bag")
    (tmp_path / "others" / "metrics.json").write_text('{"format": "of somebody else"}')
    found = find_bags([tmp_path])
    assert [one.path for one in found.bags] == [drive, other]
    assert found.notes == [f"{written} left out: an evaluation wrote it"]
    assert find_bags([tmp_path], tmp_path / "results").notes == []


def test_a_bag_counts_once_however_often_and_however_it_is_named(tmp_path: Path) -> None:
    drive = bag(tmp_path / "drive")
    link = tmp_path / "link"
    link.symlink_to(drive)
    found = find_bags([drive, link, drive, drive / "drive_0.mcap"])
    assert [one.path for one in found.bags] == [drive]
    assert found.notes == [
        f"{link}: the same bag as {drive}: counted once",
        f"{drive}: named twice: counted once",
        f"{drive / 'drive_0.mcap'}: a part of {drive}: counted once, with it",
    ]


def test_a_folder_that_cannot_be_followed_is_a_problem(tmp_path: Path) -> None:
    bag(tmp_path / "drive")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert find_bags([tmp_path]).problems == [f"{tmp_path / 'gone'}: broken link to {tmp_path / 'nowhere'}"]


def test_what_is_not_there_is_refused_before_any_work(tmp_path: Path) -> None:
    drive = bag(tmp_path / "drive")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BagError, match="nowhere: no such bag"):
        find_bags([drive, tmp_path / "nowhere"])
    with pytest.raises(BagError, match="empty: no bag in it"):
        find_bags([drive, tmp_path / "empty"])


def test_names_differ_even_where_the_bags_are_called_alike() -> None:
    alike = [Path("/data/mon/cam/drive"), Path("/data/tue/cam/drive"), Path("/data/tue/other")]
    assert names_of(alike) == ["mon_cam_drive", "tue_cam_drive", "other"]
    crossed = [Path("/a/b/c"), Path("/a/b_c"), Path("/x/c")]
    assert len(set(names_of(crossed))) == 3
    assert names_of([Path("/a/Drive"), Path("/b/drive")]) == ["a_Drive", "b_drive"]
    assert names_of([Path("/a/.hidden"), Path("/")]) == ["hidden", "bag"]
    assert len(names_of([Path("/a") / ("n" * 250)])[0]) == 200


def test_a_name_that_is_no_text_is_a_problem_and_not_a_crash_at_the_end(tmp_path: Path) -> None:
    drive = bag(tmp_path / "drive")
    bag(Path(os.fsdecode(os.fsencode(tmp_path) + b"/night\xff")))
    found = find_bags([tmp_path])
    assert [one.path for one in found.bags] == [drive]
    assert found.problems == [f"{tmp_path}/night\\udcff: its name is no text (UTF-8): rename it"]
