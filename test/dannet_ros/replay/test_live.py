"""A bag replayed through real DDS to the real node in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy and a DDS carry the messages")
pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
pytestmark = [pytest.mark.ros, pytest.mark.slow]
ROOT = Path(__file__).parents[3]
COUNT = 30


@pytest.fixture
def node(tiny_onnx: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = ["-p", f"model:={tiny_onnx}", "-p", "warm_up_height:=0", "-p", "warm_up_width:=0", "-p", "threads:=1"]
    arguments += ["-p", "diagnostics_period_s:=0.2"]
    command = [sys.executable, "-m", "dannet_ros.node", "--ros-args", *arguments, "-r", "image:=/camera/image"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ, text=True, stderr=subprocess.DEVNULL)
    yield process
    process.terminate()
    try:
        process.wait(300)
    finally:
        process.kill()  # one left behind would answer the tests after it


def evaluate(bag: Path, model: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dannet_ros.replay", "evaluate_bag", str(bag), "--model", str(model)]
    options = ["--out", str(out), "--live", "--write-bag", "none", *more]
    return subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=300, check=False, cwd=ROOT, env=os.environ
    )


@pytest.mark.usefixtures("node")
def test_every_frame_comes_back_or_is_accounted_for_and_labels_are_those_of_the_replay(
    bags, tiny_onnx: Path, tmp_path: Path
) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(COUNT), bags.labels(COUNT))
    result = evaluate(bag, tiny_onnx, tmp_path / "out", "--live-wait", "300", "--live-rate", "0.75")
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    live = content["timing"]["live"]
    assert live["sent"] == COUNT
    assert live["labelled"] > 0
    assert live["labelled"] + sum(live["dropped"].values()) == COUNT
    assert live["identical_to_replay"] == live["labelled"]
    assert live["duplicates"] == 0
    assert [frame["stamp_ns"] for frame in live["frames"]] == [frame["stamp_ns"] for frame in content["frames"]]
    # The recorder of this bag took 7 ms to get each frame, which is part of its age.
    delays = [f["age_ms"] - f["latency_ms"] for f in live["frames"] if f["latency_ms"] is not None]
    assert delays == pytest.approx([7.0] * len(delays), abs=1e-3)
    assert f"live at 0.75x: {live['labelled']} of {COUNT} frames labelled" in result.stdout
    assert "Live replay" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.usefixtures("node")
def test_a_damaged_bag_is_replayed_as_far_as_it_goes(bags, tiny_onnx: Path, tmp_path: Path) -> None:
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        for index, picture in enumerate(bags.frames(COUNT)):
            recorder.image("/camera/image", index, picture)
            if index == 2:
                recorder.bytes("/camera/image", index, b"\0\1\0\0")
    file = next((tmp_path / "bag").glob("*.mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    result = evaluate(tmp_path / "bag", tiny_onnx, tmp_path / "out", "--live-wait", "300", "--live-rate", "0.75")
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    readable = [frame for frame in content["frames"] if "refused" not in frame]
    assert COUNT // 4 < len(readable) == len(content["frames"]) - 1 < COUNT
    live = content["timing"]["live"]
    assert live["sent"] == len(readable)
    assert live["labelled"] + sum(live["dropped"].values()) == len(readable)


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("stamps", ["zero", "pairs"])
def test_labels_are_compared_with_those_of_their_own_frame_when_stamps_repeat(
    bags, tiny_onnx: Path, tmp_path: Path, stamps: str
) -> None:
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        for index, picture in enumerate(bags.frames(COUNT)):
            stamp_ns = 0 if stamps == "zero" else bags.START_NS + index // 2 * 2 * bags.STEP_NS
            recorder.image("/camera/image", index, picture, stamp_ns=stamp_ns)
    result = evaluate(tmp_path / "bag", tiny_onnx, tmp_path / "out", "--live-wait", "30", "--live-rate", "0.75")
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert len({frame["models"]["tiny"]["labels"] for frame in content["frames"]}) == COUNT
    live = content["timing"]["live"]
    assert (live["sent"], live["duplicates"]) == (COUNT, 0)
    assert live["labelled"] > COUNT // 2
    assert live["identical_to_replay"] == live["labelled"]


def test_without_a_node_it_says_so_and_keeps_the_results(bags, tiny_onnx: Path, tmp_path: Path) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(2))
    result = evaluate(bag, tiny_onnx, tmp_path / "out", "--live-wait", "0.5")
    assert result.returncode == 2
    said = result.stderr.strip().splitlines()[-1]
    assert "live: nobody subscribes to /camera/image, or /night_seg publishes no labels after 0.5 s" in said
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["frames_labelled"] == 2
