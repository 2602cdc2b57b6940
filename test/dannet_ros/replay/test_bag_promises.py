"""Whatever metadata.yaml says, and wherever a storage file ends: never part of a drive that is called complete."""

import copy
import itertools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dannet_ros.replay.__main__ import main
from dannet_ros.replay.bag_reading import BagError, open_bag

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
FRAMES = 6
REFUSED = "refused: "
KINDS = (("mcap", "NONE"), ("mcap", "STORAGE"), ("mcap", "MESSAGE"), ("mcap", "FILE"), ("sqlite3", "NONE"))
EXAMPLES = int(os.environ.get("DANNET_FUZZ_BAGS", "40"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == 40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
)


class Drive:
    """A bag of two files with three frames each, and what is in it."""

    def __init__(self, bags: Any, folder: Path, storage: str, compression: str) -> None:
        pictures = bags.frames(FRAMES)
        self.files: dict[str, bytes] = {}
        for part in range(2):
            with bags.record(folder / f"drive_{part}", storage, compression) as writer:
                recorder = bags.Recorder(writer)
                for index in range(part * 3, part * 3 + 3):
                    recorder.image("/camera/image", index, pictures[index])
                    recorder.text("/note", index, f"note {index}")
            (file,) = (one for one in (folder / f"drive_{part}").iterdir() if one.name != "metadata.yaml")
            self.files[file.name] = file.read_bytes()
        self.metadata = yaml.safe_load((folder / "drive_0" / "metadata.yaml").read_text())
        information = self.metadata["rosbag2_bagfile_information"]
        information["relative_file_paths"] = list(self.files)
        information["message_count"] = 2 * FRAMES
        for topic in information["topics_with_message_count"]:
            topic["message_count"] = FRAMES
        information["files"] = [{**information["files"][0], "path": name} for name in self.files]
        self.write(folder / "whole", yaml.safe_dump(self.metadata), self.files)
        self.pictures, self.problems = read(folder / "whole")

    @staticmethod
    def write(folder: Path, text: str | bytes, files: dict[str, bytes]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "metadata.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        for name, data in files.items():
            (folder / name).write_bytes(data)


def read(folder: Path) -> tuple[list[bytes], list[str]]:
    """The camera's messages and the problems; of a bag that is refused, nothing and the reason."""
    try:
        with open_bag(folder, lenient=True) as bag:
            if "/camera/image" not in bag.kinds:
                return [], bag.problems
            return [message.data for message in bag.raw(["/camera/image"])], bag.problems
    except BagError as error:
        return [], [f"{REFUSED}{error}"]


def refused(problems: list[str]) -> bool:
    return any(problem.startswith(REFUSED) for problem in problems)


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Drive]:
    return {}


@pytest.fixture
def drive_of(bags: Any, drives: dict[tuple[str, str], Drive], tmp_path_factory: pytest.TempPathFactory) -> Any:
    def make(kind: tuple[str, str]) -> Drive:
        if kind not in drives:
            drives[kind] = Drive(bags, tmp_path_factory.mktemp("drive"), *kind)
        return drives[kind]

    return make


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every key and list entry of the metadata."""
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [*itertools.chain.from_iterable([(*path, key), *places(tree[key], (*path, key))] for key in list(keys))]


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=4), st.dates(),
    st.sampled_from([[], {}, "unknown", "best_available", -1, 0, 2**63, 10**40, "- history: 3", "[}", "bag/../x.mcap"]),
    st.lists(st.integers(-3, 20), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[float, str, Any]]:
    """Which places are changed, as shares of their number, how, and to what."""
    what = st.sampled_from(["set", "delete", "again", "reverse"])
    return draw(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), what, ODD), max_size=3))


def edited(metadata: dict[str, Any], changes: list[tuple[float, str, Any]]) -> dict[str, Any]:
    tree: Any = copy.deepcopy(metadata)
    for share, what, value in changes:
        paths = places(tree)
        if not paths:
            break
        *path, last = paths[int(share * len(paths))]
        parent = tree
        for key in path:
            parent = parent[key]
        if what == "delete":
            del parent[last]
        elif what == "set":
            parent[last] = value
        elif isinstance(parent, list):
            parent[:] = [*parent, copy.deepcopy(parent[last])] if what == "again" else parent[::-1]
    return tree


def check(folder: Path, drive: Drive, *, untouched: bool) -> None:
    """The rule: everything in order, or a named problem; what comes is of the drive and in its order."""
    found, problems = read(folder)
    assert not (untouched and refused(problems))
    assert not any("\n" in problem for problem in problems)
    rest = iter(drive.pictures)
    assert all(one in rest for one in found), "another frame, or another order"
    if untouched:
        assert found == drive.pictures
    if found != drive.pictures:
        assert problems


def test_whatever_metadata_says_a_problem_is_one_line(drive_of: Any, tmp_path: Path) -> None:
    drive = drive_of(KINDS[0])
    for path in places(drive.metadata):
        *parents, last = path
        tree = copy.deepcopy(drive.metadata)
        parent = tree
        for key in parents:
            parent = parent[key]
        parent[last] = "two\nlines"
        drive.write(tmp_path / "bag", yaml.dump(tree), drive.files)
        _, problems = read(tmp_path / "bag")
        assert not any("\n" in problem for problem in problems), (path, problems)


@FUZZ
@given(kind=st.sampled_from(KINDS), changes=edits())
def test_edited_metadata_costs_no_frame(drive_of: Any, tmp_path: Path, kind: Any, changes: Any) -> None:
    drive = drive_of(kind)
    assert len(drive.pictures) == FRAMES
    assert drive.problems == []
    tree = edited(drive.metadata, changes)
    drive.write(tmp_path / "bag", yaml.dump(tree), drive.files)
    listed = tree.get("rosbag2_bagfile_information") if isinstance(tree, dict) else None
    same_list = isinstance(listed, dict) and listed.get("relative_file_paths") == list(drive.files)
    check(tmp_path / "bag", drive, untouched=same_list)


@FUZZ
@given(
    kind=st.sampled_from(KINDS),
    changes=edits(),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    gone=st.integers(0, 5),
)
def test_a_cut_or_missing_file_is_named_whatever_the_metadata_says(
    drive_of: Any, tmp_path: Path, kind: Any, changes: Any, ends: tuple[float, float], gone: int
) -> None:
    drive = drive_of(kind)
    files = {name: data[: int(len(data) * end)] for (name, data), end in zip(drive.files.items(), ends, strict=True)}
    if gone < len(files):
        del files[list(files)[gone]]
    drive.write(tmp_path / "bag", yaml.dump(edited(drive.metadata, changes)), files)
    check(tmp_path / "bag", drive, untouched=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [0.02, 0.6, 0.99, 1.0, None])
def test_evaluate_bag_calls_complete_what_is_whole(
    drive_of: Any, tiny_onnx: Path, tmp_path: Path, kind: Any, end: float | None, capsys: Any
) -> None:
    drive = drive_of(kind)
    files = dict(drive.files)
    name = list(files)[1]
    files[name] = files[name][: int(len(files[name]) * (end or 0))]
    if end is None:
        del files[name]
    drive.write(tmp_path / "bag", yaml.safe_dump(drive.metadata), files)
    arguments = ["--model", str(tiny_onnx), "--out", str(tmp_path / "out"), "--write-bag", "none"]
    assert main(["evaluate_bag", str(tmp_path / "bag"), *arguments]) == 0
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["complete"] == (end == 1.0)
    assert content["frames_labelled"] >= FRAMES // 2
    assert content["complete"] or content["bag"]["problems"]
    assert ("warning: " in capsys.readouterr().out) == (end != 1.0)


@FUZZ
@given(kind=st.sampled_from(KINDS), cut=st.floats(0, 1), at=st.floats(0, 1), junk=st.binary(max_size=6))
def test_damaged_metadata_text_is_named(
    drive_of: Any, tmp_path: Path, kind: Any, cut: float, at: float, junk: bytes
) -> None:
    drive = drive_of(kind)
    text = yaml.safe_dump(drive.metadata).encode()
    text = text[: int(len(text) * cut)]
    place = int(len(text) * at)
    drive.write(tmp_path / "bag", text[:place] + junk + text[place + len(junk) :], drive.files)
    check(tmp_path / "bag", drive, untouched=False)


@FUZZ
@given(kind=st.sampled_from(KINDS), at=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=1, max_size=16))
def test_damage_inside_a_file_is_no_traceback(drive_of: Any, tmp_path: Path, kind: Any, at: float, junk: bytes) -> None:
    drive = drive_of(kind)
    files = dict(drive.files)
    name, data = next(iter(files.items()))
    place = int(len(data) * at)
    files[name] = data[:place] + junk + data[place + len(junk) :]
    drive.write(tmp_path / "bag", yaml.safe_dump(drive.metadata), files)
    found, problems = read(tmp_path / "bag")
    assert len(found) == FRAMES or problems
