"""The demo's subscriber: takes in labels, overlays and diagnostics over DDS, with the time each arrived."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image

NODE = "/night_seg"
OVERLAY_JPEG_QUALITY = 92
QUIET_S = 4.0
"""Whatever has not arrived this long after it was sent was lost."""


def stamp_ns(message: Any) -> int:
    """The header's stamp in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


class Listener:
    """Subscribes in a thread of its own; use it as a context manager.

    Attributes:
        labels: H x W uint8 by stamp.
        label_stamps: of every label message, in the order of arrival.
        overlays: JPEG bytes by stamp.
        sent_at: when the camera info of each frame arrived: it is published right after the frame.
        labelled_at: when each label arrived; both in seconds of the monotonic clock.
        diagnostics: the node's last report.
    """

    def __init__(self, camera_info_topic: str) -> None:
        self.labels: dict[int, npt.NDArray[np.uint8]] = {}
        self.label_stamps: list[int] = []
        self.overlays: dict[int, bytes] = {}
        self.sent_at: dict[int, float] = {}
        self.labelled_at: dict[int, float] = {}
        self.diagnostics: dict[str, str] = {}
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("demo_listener")
        qos = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
        self._node.create_subscription(CameraInfo, camera_info_topic, self._on_camera_info, qos)
        self._node.create_subscription(Image, f"{NODE}/label", self._on_label, qos)
        self._node.create_subscription(Image, f"{NODE}/overlay", self._on_overlay, qos)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="demo listener", daemon=True)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._thread.join(5)
        self._node.destroy_node()
        rclpy.try_shutdown()

    def wait(self, done: Callable[[], bool], seconds: float, alive: Callable[[], bool]) -> bool:
        """Wait until ``done``; False after ``seconds``, or as soon as ``alive`` is not."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline or not alive():
                return done()
            time.sleep(0.05)
        return True

    @property
    def node_is_ready(self) -> bool:
        """The node is active and its label topic is known here."""
        return self.diagnostics.get("state") == "active" and self._node.count_publishers(f"{NODE}/label") > 0

    def node_is_done(self, sent: int, played_at: float) -> bool:
        """Every frame has its outcome, and every label has arrived here.

        Args:
            sent: number of frames.
            played_at: when the last one was sent; the node cannot know of frames lost at the very end.
        """
        report = self.diagnostics
        processed, lost = int(report.get("processed", 0)), int(report.get("lost before arrival", 0))
        arrived = int(report.get("received", 0)) + lost >= sent
        arrived = arrived or time.monotonic() - played_at > QUIET_S
        return arrived and report.get("in work") == "0" and len(self.label_stamps) >= processed

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def _on_camera_info(self, message: Any) -> None:
        self.sent_at[stamp_ns(message)] = time.monotonic()

    def _on_label(self, message: Any) -> None:
        stamp = stamp_ns(message)
        self.labelled_at[stamp] = time.monotonic()
        self.label_stamps.append(stamp)
        self.labels[stamp] = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step).copy()

    def _on_overlay(self, message: Any) -> None:
        rgb = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        # A compressed copy: a long drive's overlays must fit into memory.
        ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, OVERLAY_JPEG_QUALITY])
        if ok:
            self.overlays[stamp_ns(message)] = data.tobytes()

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(NODE):
                self.diagnostics = {pair.key: pair.value for pair in status.values}
