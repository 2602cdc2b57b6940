"""What `test_launch_night_seg.py` launches for two cameras; alone: launch_test FILE model:=MODEL."""

from __future__ import annotations

import os
import signal
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import launch_testing
import launch_testing.actions
import launch_testing.asserts
import numpy as np
import rclpy
from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dannet_ros.conversions import to_image
from launch import LaunchDescription

CAMERAS = ("front", "rear")


def generate_test_description() -> LaunchDescription:
    launch_file = Path(get_package_share_directory("dannet_ros")) / "launch" / "night_seg_multi.launch.py"
    arguments = {
        "model": LaunchConfiguration("model"),
        "cameras": ",".join(CAMERAS),
        "image": "picture",
        "log_level": "warn",
        "respawn": "true",
    }
    included = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(launch_file)), launch_arguments=arguments.items()
    )
    return LaunchDescription([DeclareLaunchArgument("model"), included, launch_testing.actions.ReadyToTest()])


class WhileRunning(unittest.TestCase):
    """Against the launched nodes, over DDS."""

    @classmethod
    def setUpClass(cls) -> None:
        rclpy.init()
        cls.node = rclpy.create_node("launch_check_multi")
        cls.executor = SingleThreadedExecutor()
        cls.executor.add_node(cls.node)
        cls.labels: dict[str, list[Any]] = {camera: [] for camera in CAMERAS}
        cls.publishers = {camera: cls.node.create_publisher(Image, f"/{camera}/picture", 1) for camera in CAMERAS}
        for camera, labels in cls.labels.items():
            cls.node.create_subscription(Image, f"/{camera}/night_seg/label", labels.append, 1)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.executor.shutdown()
        cls.node.destroy_node()
        rclpy.try_shutdown()

    def until(self, condition: Callable[[], Any], each_time: Callable[[], None] = lambda: None) -> None:
        deadline = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < deadline, "did not happen within 300 s"
            each_time()
            self.executor.spin_once(timeout_sec=0.1)

    def send(self, *cameras: str) -> None:
        for camera in cameras:
            picture = np.full((120, 160, 3), 30, np.uint8)
            header = Header(frame_id=camera, stamp=self.node.get_clock().now().to_msg())
            self.publishers[camera].publish(to_image(picture, "rgb8", header))

    def test_1_every_camera_is_labelled_in_its_own_namespace(self) -> None:
        self.until(lambda: all(self.labels.values()), lambda: self.send(*CAMERAS))
        for camera, labels in self.labels.items():
            assert {message.header.frame_id for message in labels} == {camera}

    def test_2_cores_and_model_are_shared(self) -> None:
        shown = []
        for camera in CAMERAS:
            client = self.node.create_client(GetParameters, f"/{camera}/night_seg/get_parameters")
            self.until(client.service_is_ready)
            future = client.call_async(GetParameters.Request(names=["threads", "model"]))
            self.until(future.done)
            threads, model = future.result().values
            shown.append((threads.integer_value, model.string_value))
        assert shown[0] == shown[1]
        assert shown[0][0] == max(1, (os.cpu_count() or 1) // 2)

    def test_3_killed_node_is_started_again_while_the_other_goes_on(self, proc_info: Any) -> None:
        front = next(p for p in proc_info.processes() if "__ns:=/front" in p.process_details["cmd"])
        killed = front.process_details["pid"]
        os.kill(killed, signal.SIGKILL)
        self.labels["rear"].clear()
        self.until(lambda: self.labels["rear"], lambda: self.send("rear"))
        self.until(lambda: front.process_details["pid"] != killed)
        self.labels["front"].clear()
        self.until(lambda: self.labels["front"], lambda: self.send("front"))


@launch_testing.post_shutdown_test()
class AfterShutdown(unittest.TestCase):
    """After launch has sent SIGINT."""

    def test_exit_codes(self, proc_info: Any) -> None:
        launch_testing.asserts.assertExitCodes(proc_info, allowable_exit_codes=[0, -signal.SIGKILL])
