import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dannet_core.pixels import write_png
from dannet_ros.replay.__main__ import main

rclpy = pytest.importorskip("rclpy", reason="rclpy and a DDS carry the messages")
pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
pytestmark = pytest.mark.ros
ROOT = Path(__file__).parents[3]
COUNT, FPS, RATE = 8, 20.0, 0.25


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    (tmp_path / "frames").mkdir()
    for index in range(COUNT):
        write_png(tmp_path / "frames" / f"{index:06d}.png", np.full((64, 96, 3), 10 * index, np.uint8))
    assert main(["make_bag", str(tmp_path / "frames"), "--out", str(tmp_path / "bag"), "--fps", str(FPS)]) == 0
    return tmp_path / "bag"


@pytest.fixture
def context() -> Iterator[Any]:
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    rclpy.try_shutdown(context=context)


# Each topic is matched on its own: on a loaded machine the settling time has to hold for the slower of the two.
PLAY = """
import sys
from dannet_ros.replay import play
from dannet_ros.replay.__main__ import main
play.SETTLE_S = 3.0
sys.exit(main(["play", *sys.argv[1:]]))
"""


def player(bag: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PLAY, str(bag), *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ
    )


def test_every_message_arrives_unchanged_at_the_recorded_rate(bag: Path, context: Any) -> None:
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import CameraInfo, Image

    node = rclpy.create_node("listener", context=context)
    qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
    images: list[tuple[Any, int]] = []
    infos: list[Any] = []
    node.create_subscription(Image, "/camera/image", lambda m, info: images.append((m, info["source_timestamp"])), qos)
    node.create_subscription(CameraInfo, "/camera/camera_info", infos.append, qos)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    process = player(bag, "--wait", "300", "--rate", str(RATE))
    deadline = time.monotonic() + 300
    while (len(images) < COUNT or len(infos) < COUNT) and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.05)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert f"played {2 * COUNT} messages" in output
    first = 1_700_000_000 * 10**9
    expected = [first + round(n * 1e9 / FPS) for n in range(COUNT)]
    assert [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m, _ in images] == expected
    assert [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in infos] == expected
    assert [m.data[0] for m, _ in images] == [10 * n for n in range(COUNT)]
    assert {(m.height, m.width, m.encoding, m.step, len(m.data)) for m, _ in images} == {(64, 96, "rgb8", 288, 18432)}
    # Not in one burst: first and last were sent as far apart as in the bag, give or take a first one sent late.
    assert (images[-1][1] - images[0][1]) / 1e9 > 0.5 * (COUNT - 1) / FPS / RATE


def test_gives_up_in_one_line_when_nobody_listens(bag: Path) -> None:
    process = player(bag, "--wait", "0.3")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert (
        errors.strip().removeprefix("dannet_ros.replay ")
        == "play: no subscriber on /camera/image after 0.3 s: start it first, or --wait 0"
    )


def test_unknown_topics_are_named(bag: Path) -> None:
    process = player(bag, "--topics", "/other")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert (
        errors.strip().removeprefix("dannet_ros.replay ")
        == "play: topics: got /other, expected one of /camera/image, /camera/camera_info"
    )


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            ["/camera/image", "/camera/camera_info=2"],
            "no subscriber on /camera/image and /camera/camera_info after 0.3 s: start it first, or --wait 0",
        ),
        (
            ["/camera/images"],
            "wait_for: got /camera/images, expected one of /camera/image, /camera/camera_info, alone or with =COUNT",
        ),
        (["/camera/image=two"], "wait_for: got /camera/image=two, expected one of /camera/image"),
    ],
)
def test_the_subscribers_that_are_waited_for_are_named(bag: Path, wanted: list[str], said: str) -> None:
    process = player(bag, "--wait", "0.3", "--wait-for", *wanted)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert said in errors.splitlines()[-1]
