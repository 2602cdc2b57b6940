"""Thousands of malformed and odd messages: the node lives, accounts for every one, and labels the next good frame."""

from __future__ import annotations

import array
import random
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

from builtin_interfaces.msg import Time
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dannet_core.inference.camera_image import DEEP_ENCODINGS
from dannet_ros.conversions import ENCODINGS, to_image

pytestmark = pytest.mark.ros
DIRECT, OVER_DDS = 5000, 500


class OddMessages:
    """A seeded source of messages; ``malformed`` counts those that cannot be pictures."""

    def __init__(self, picture: np.ndarray, seed: int) -> None:
        self._picture = picture
        self._random = random.Random(seed)  # noqa: S311  not cryptography
        self._kinds = [
            self.wrong_step, self.short_data, self.unknown_encoding, self.zero_size, self.huge_size, self.tiny,
            self.odd_stamp, self.changing_size, self.odd_yuv_width, self.long_data, self.any_encoding,
            self.any_deep_encoding,
        ]  # fmt: skip
        self.malformed = 0

    def next(self) -> Any:
        kind = self._random.choice(self._kinds)
        message = kind()
        fine = (self.odd_stamp, self.changing_size, self.long_data, self.any_encoding, self.any_deep_encoding)
        self.malformed += kind not in fine
        return message

    def good(self) -> Any:
        return to_image(self._picture, "rgb8", Header(frame_id="camera"))

    def wrong_step(self) -> Any:
        message = self.good()
        message.step = self._random.choice([0, 1, message.step - 1, message.step + 1, 2**31, 2**32 - 1])
        return message

    def short_data(self) -> Any:
        message = self.good()
        del message.data[self._random.randrange(len(message.data)) :]
        return message

    def long_data(self) -> Any:
        message = self.good()
        message.data.extend(b"\x00" * self._random.randrange(1, 5000))
        return message

    def unknown_encoding(self) -> Any:
        message = self.good()
        message.encoding = self._random.choice(["", "RGB8", "rgb16", "32FC1", "mono12", "nv12", "ü" * 50, "rgb8\t"])
        return message

    def zero_size(self) -> Any:
        message = self.good()
        setattr(message, self._random.choice(["width", "height"]), 0)
        return message

    def huge_size(self) -> Any:
        message = self.good()
        message.width, message.height = self._random.choice([(2**32 - 1, 2**32 - 1), (210, 2**31), (16385, 150)])
        message.step = min(message.width * 3, 2**32 - 1)
        return message

    def tiny(self) -> Any:
        return to_image(np.zeros((self._random.randrange(1, 64), 210, 3), np.uint8), "rgb8", Header())

    def odd_stamp(self) -> Any:
        message = self.good()
        seconds = self._random.choice([-(2**31), -1, 0, 2**31 - 1])
        message.header.stamp = Time(sec=seconds, nanosec=self._random.choice([0, 10**9, 2**32 - 1]))
        return message

    def changing_size(self) -> Any:
        height, width = self._random.randrange(64, 200), self._random.randrange(64, 300)
        return to_image(np.full((height, width, 3), self._random.randrange(256), np.uint8), "rgb8", Header())

    def odd_yuv_width(self) -> Any:
        message = Image(height=70, width=71, step=142, encoding="yuv422")
        message.data = array.array("B", bytes(142 * 70))
        return message

    def any_encoding(self) -> Any:
        name = self._random.choice(list(ENCODINGS))
        encoding = ENCODINGS[name]
        step = 72 * encoding.bytes_per_pixel
        message = Image(height=80, width=72, step=step, encoding=name)
        message.data = array.array("B", self._random.randbytes(int(step * 80 * encoding.rows_per_row)))
        return message

    def any_deep_encoding(self) -> Any:
        name = self._random.choice(list(DEEP_ENCODINGS))
        step = 72 * 2 * ENCODINGS[DEEP_ENCODINGS[name]].bytes_per_pixel + self._random.randrange(8)
        message = Image(height=80, width=72, step=step, encoding=name, is_bigendian=self._random.randrange(2))
        message.data = array.array("B", self._random.randbytes(step * 80))
        return message


def check_sums(rig: Any, received: int, malformed: int) -> None:
    counts = rig.node.counts
    assert counts["received"] == received
    assert counts["malformed"] == malformed
    assert counts["failed"] == 0
    assert counts["processed"] + counts["replaced"] + counts["malformed"] == received


def test_five_thousand_odd_messages_one_by_one(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    """Through the subscription's own callback, each waited for, so that every single one is looked at."""
    rig = make_rig()
    rig.listen("label")
    source = OddMessages(night, seed=11)
    session = rig.node._session
    for number in range(DIRECT):
        rig.node._on_image(source.next())
        assert session.wait_until_idle(300), f"stuck at message {number}"
        if number % 100 == 0:
            rig.spin(0.0)
    rig.until(rig.settled)
    check_sums(rig, DIRECT, source.malformed)
    assert 2000 < source.malformed < 4500
    rig.came["label"].clear()
    good = source.good()
    good.header.frame_id = "good"
    rig.node._on_image(good)
    rig.until(lambda: any(m.header.frame_id == "good" for m in rig.came["label"]))


def test_odd_messages_over_dds(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(input_reliability="reliable", input_depth=100)
    rig.sensor_qos = QoSProfile(depth=100)
    camera = rig.camera(Image, "image")
    rig.listen("label")
    source = OddMessages(night, seed=12)
    for number in range(1, OVER_DDS + 1):
        camera.publish(source.next())
        rig.until(lambda number=number: rig.node.counts["received"] == number and rig.settled())
    check_sums(rig, OVER_DDS, source.malformed)
    good = source.good()
    good.header.frame_id = "good"
    camera.publish(good)
    rig.until(lambda: any(m.header.frame_id == "good" for m in rig.came["label"]))


def test_flood_over_dds_keeps_only_the_newest(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig()
    camera = rig.camera(Image, "image")
    rig.listen("label")
    source = OddMessages(night, seed=13)
    for _ in range(300):
        camera.publish(source.next())
        rig.spin(0.0)
    rig.until(rig.settled)
    good = source.good()
    good.header.frame_id = "good"
    camera.publish(good)
    rig.until(lambda: any(m.header.frame_id == "good" for m in rig.came["label"]))
    rig.until(rig.settled)  # a frame is counted after its labels are sent
    counts = rig.node.counts
    assert 1 <= counts["processed"] <= counts["received"] <= 301


def test_truncated_and_damaged_compressed_messages(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(image_transport="compressed")
    rig.listen("label")
    generator = np.random.default_rng(4)
    jpeg = cv2.imencode(".jpg", night[:, :, ::-1])[1].ravel()
    session = rig.node._session
    for _ in range(500):
        kept = jpeg[: generator.integers(0, len(jpeg) - 1)]
        rig.node._on_image(CompressedImage(format="jpeg", data=kept.tobytes()))
        assert session.wait_until_idle(300)
    rig.until(rig.settled)
    check_sums(rig, 500, 500)
    rig.node._on_image(CompressedImage(header=Header(frame_id="good"), format="jpeg", data=jpeg.tobytes()))
    rig.until(lambda: any(m.header.frame_id == "good" for m in rig.came["label"]))
