"""The node as a process of its own: exit codes, one-line errors, signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hangup import hangups_heard

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dannet_ros.conversions import to_image

pytestmark = pytest.mark.ros
ROOT = Path(__file__).parents[2]


def start(*words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    with hangups_heard():
        return subprocess.Popen(
            [sys.executable, "-m", "dannet_ros.node", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )


def finish(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    out, errors = process.communicate(timeout=300)
    return process.returncode, [line for line in (out + errors).splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        (["-p", "model:=/nowhere/dannet.onnx"], r"\[FATAL\].*: /nowhere/dannet\.onnx: no such model file"),
        (["-p", f"model:={ROOT}/pyproject.toml"], r"\[FATAL\].*pyproject\.toml: .*\.onnx"),
        ([], r"\[FATAL\].*: parameter model: not set"),
        (["-p", "modle:=x.onnx"], r"\[FATAL\].*: parameter modle: unknown: did you mean model\?"),
        (["-p", "model:=x.onnx", "-p", "overlay_alpha:=7.0"], r"\[FATAL\].*: parameter overlay_alpha: got 7\.0"),
        (["--params-file", "/nowhere.yaml"], r"night_seg: .*nowhere\.yaml"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(words: list[str], pattern: str) -> None:
    code, lines = finish(start("--ros-args", *words))
    assert code == 2
    assert len(lines) == 1, lines
    assert re.search(pattern, lines[0])


def test_unknown_parameter_in_a_file_is_one_line(tmp_path: Path) -> None:
    params = tmp_path / "mine.param.yaml"
    params.write_text("/night_seg:\n  ros__parameters:\n    model: x.onnx\n    overlay_alfa: 0.3\n")
    code, lines = finish(start("--ros-args", "--params-file", str(params)))
    assert code == 2
    assert len(lines) == 1, lines
    assert "parameter overlay_alfa: unknown: did you mean overlay_alpha?" in lines[0]


def test_shipped_params_file_is_accepted(tiny_model: Path) -> None:
    params = ROOT / "config" / "night_seg.param.yaml"
    process = start("--ros-args", "--params-file", str(params), "-p", f"model:={tiny_model}", "-p", "reweight_std:=1.0")
    code, lines = finish(process)
    assert code == 2
    assert "reweight_std" in lines[0], "the one wrong value is what stops it"


def test_arguments_that_are_not_ros_arguments_are_refused() -> None:
    code, lines = finish(start("model.onnx"))
    assert code == 2
    assert lines[-1] == "night_seg: error: unrecognized arguments: model.onnx"


def test_help_lists_the_parameters() -> None:
    code, lines = finish(start("--help"))
    assert code == 0
    assert any("min_confidence (0.0)" in line for line in lines)


@pytest.fixture
def running(ros: Any, tiny_model: Path) -> Iterator[subprocess.Popen[str]]:
    words = ["-p", f"model:={tiny_model}", "-p", "warm_up_height:=0", "-p", "warm_up_width:=0", "-p", "threads:=1"]
    process = start("--ros-args", *words)
    yield process
    process.kill()
    process.wait()


def shared_memory_of(process: subprocess.Popen[str]) -> list[Path]:
    """The segments of Fast DDS that a process owns: it holds a lock beside each."""
    held = (str(descriptor.readlink()) for descriptor in Path(f"/proc/{process.pid}/fd").iterdir())
    names = (re.fullmatch(r"(/dev/shm/fastdds_[0-9a-f]{16})_el", name) for name in held)
    return [Path(name[1]) for name in names if name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_while_frames_come_is_a_clean_exit(
    ros: Any, running: subprocess.Popen[str], night: np.ndarray, number: signal.Signals
) -> None:
    node = ros.create_node("process_test_camera")
    labels: list[Any] = []
    camera = node.create_publisher(Image, "image", 1)
    node.create_subscription(Image, "night_seg/label", labels.append, 1)
    executor = ros.executors.SingleThreadedExecutor()
    executor.add_node(node)
    image, deadline = to_image(night, "rgb8", Header(frame_id="camera")), time.monotonic() + 300
    while len(labels) < 3:
        assert time.monotonic() < deadline
        camera.publish(image)
        executor.spin_once(timeout_sec=0.03)
    shared_memory = shared_memory_of(running)
    running.send_signal(number)
    deadline = time.monotonic() + 300
    while running.poll() is None and time.monotonic() < deadline:
        camera.publish(image)
        executor.spin_once(timeout_sec=0.03)
    executor.shutdown()
    node.destroy_node()
    code, lines = finish(running)
    assert code == 0
    assert [line for line in lines if "[INFO]" not in line] == []
    assert shared_memory or "fastrtps" not in get_rmw_implementation_identifier()
    assert [path for path in shared_memory if path.exists()] == []


def test_signal_during_start_is_a_clean_exit(running: subprocess.Popen[str]) -> None:
    time.sleep(1.2)
    running.send_signal(signal.SIGINT)
    code, lines = finish(running)
    assert code in (0, -signal.SIGINT), "before Python has installed anything the signal itself ends the process"
    assert not any("FATAL" in line for line in lines)
