"""A GPU that is lost while the node runs: the process says why and ends with 2."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dannet_core.errors import EngineError
from dannet_ros.conversions import to_image

pytestmark = pytest.mark.ros
TESTS = Path(__file__).parents[1]
NODE = """
import sys
import lost_gpu
lost_gpu.install()
import dannet_ros.session as session
from dannet_core.inference.backends.cuda_device import CudaDevice
from dannet_ros.node import main

open_model = session.open_model

def open_on_the_gpu(*arguments):
    segmenter = open_model(*arguments)
    device, backend = CudaDevice(), segmenter._backend
    close = backend.close
    backend.infer = lambda *_: lost_gpu.lose(device)

    def close_both():
        close()
        try:
            device.close()
        except Exception as error:
            print("closing:", error, file=sys.stderr)

    backend.close = close_both
    return segmenter

session.open_model = open_on_the_gpu
sys.exit(main(sys.argv[1:]))
"""


def test_a_lost_gpu_ends_the_process_with_2_and_the_reason(ros: Any, tiny_model: Path, night: np.ndarray) -> None:
    node = ros.create_node("lost_gpu_camera")
    camera = node.create_publisher(Image, "lost/image", 1)
    listener = node.create_subscription(Image, "lost/night_seg/label", lambda _: None, 1)
    executor = ros.executors.SingleThreadedExecutor()
    executor.add_node(node)
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    given = [f"model:={tiny_model}", "warm_up_height:=0", "warm_up_width:=0", "threads:=1"]
    words = ["--ros-args", "-r", "__ns:=/lost", *(word for one in given for word in ("-p", one))]
    process = subprocess.Popen(
        [sys.executable, "-c", NODE, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    try:
        deadline_s = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline_s:
            camera.publish(to_image(night, "rgb8", Header()))
            executor.spin_once(timeout_sec=0.05)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        executor.shutdown()
        node.destroy_subscription(listener)
        node.destroy_node()
    assert process.returncode == 2, said
    fatal = [line for line in said.splitlines() if "[FATAL]" in line]
    assert len(fatal) == 1
    assert "an illegal memory access was encountered" in fatal[0]
    assert "start the process again" in fatal[0]
    assert "closing: cuda: leaving the context" in said
    assert "PyCUDA ERROR" not in said


def test_one_fatal_frame_is_enough_and_other_failures_are_not(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(max_failures=0)
    rig.listen("label")
    worker = rig.node._session.worker
    errors = [EngineError("cuda: out of memory", fatal=False), EngineError("cuda: the GPU is gone", fatal=True)]
    label = worker._label

    def label_badly(segmenter: Any, *frame: Any) -> None:
        def fail(*_: Any) -> Any:
            raise errors.pop(0)

        segmenter._backend.infer = fail
        label(segmenter, *frame)

    worker._label = label_badly
    rig.until(lambda: rig.node._session.publishers.wanted() == {"label"})
    rig.node._on_image(to_image(night, "rgb8", Header()))
    rig.until(lambda: rig.node.counts["failed"] == 1)
    rig.spin(0.3)
    assert not rig.node.gave_up
    rig.node._on_image(to_image(night, "rgb8", Header()))
    rig.until(lambda: rig.node.gave_up)
    assert rig.node._session.lost_gpu == "cuda: the GPU is gone"
