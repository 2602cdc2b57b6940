"""What `test_launch_night_seg.py` launches; also runs alone: launch_test launch_check_night_seg.py model:=FILE."""

from __future__ import annotations

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
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dannet_ros.conversions import to_image
from launch import LaunchDescription

NODE = "/car/night_seg"


def generate_test_description() -> LaunchDescription:
    launch_file = Path(get_package_share_directory("dannet_ros")) / "launch" / "night_seg.launch.py"
    arguments = {
        "model": LaunchConfiguration("model"),
        "image": "/front/image_raw",
        "namespace": "car",
        "log_level": "warn",
    }
    included = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(launch_file)), launch_arguments=arguments.items()
    )
    return LaunchDescription([DeclareLaunchArgument("model"), included, launch_testing.actions.ReadyToTest()])


class WhileRunning(unittest.TestCase):
    """Against the launched node, over DDS."""

    @classmethod
    def setUpClass(cls) -> None:
        rclpy.init()
        cls.node = rclpy.create_node("launch_check")
        cls.executor = SingleThreadedExecutor()
        cls.executor.add_node(cls.node)

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

    def call(self, kind: Any, name: str, request: Any) -> Any:
        client = self.node.create_client(kind, f"{NODE}/{name}")
        self.until(client.service_is_ready)
        future = client.call_async(request)
        self.until(future.done)
        return future.result()

    def state(self) -> str:
        return str(self.call(GetState, "get_state", GetState.Request()).current_state.label)

    def test_1_labels_and_camera_info_come_under_the_cameras_header(self) -> None:
        labels: list[Any] = []
        infos: list[Any] = []
        camera = self.node.create_publisher(Image, "/front/image_raw", 1)
        camera_info = self.node.create_publisher(CameraInfo, "/front/camera_info", 1)
        self.node.create_subscription(Image, f"{NODE}/label", labels.append, 1)
        self.node.create_subscription(CameraInfo, f"{NODE}/camera_info", infos.append, 1)
        header = Header(stamp=Time(sec=5, nanosec=6), frame_id="front")
        picture = np.full((120, 160, 3), 30, np.uint8)

        def send() -> None:
            camera_info.publish(CameraInfo(header=header))
            camera.publish(to_image(picture, "rgb8", header))

        self.until(lambda: labels and infos, send)
        assert labels[0].header == header
        assert (labels[0].height, labels[0].width, labels[0].encoding) == (120, 160, "mono8")
        assert infos[0].header == header

    def test_2_lifecycle_services(self) -> None:
        self.until(lambda: self.state() == "active")
        for transition, state in (
            (Transition.TRANSITION_DEACTIVATE, "inactive"),
            (Transition.TRANSITION_CLEANUP, "unconfigured"),
            (Transition.TRANSITION_CONFIGURE, "inactive"),
            (Transition.TRANSITION_ACTIVATE, "active"),
        ):
            request = ChangeState.Request(transition=Transition(id=transition))
            assert self.call(ChangeState, "change_state", request).success
            assert self.state() == state

    def test_3_diagnostics_name_the_camera_topic(self) -> None:
        reports: list[Any] = []
        self.node.create_subscription(DiagnosticArray, "/diagnostics", lambda m: reports.extend(m.status), 10)
        self.until(lambda: reports)
        assert reports[0].name == f"{NODE}: night segmentation"
        assert reports[0].hardware_id == "/front/image_raw"


@launch_testing.post_shutdown_test()
class AfterShutdown(unittest.TestCase):
    """After launch has sent SIGINT."""

    def test_exit_code(self, proc_info: Any) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
