"""Pictures that go to rcl as they lie in memory arrive as rclpy's own would."""

import ctypes
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to publish")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dannet_ros import c_image, direct_image
from dannet_ros.conversions import ReusedImage
from dannet_ros.direct_image import DirectImage, works_here

pytestmark = pytest.mark.ros
HEADER = Header(frame_id="Rück/kamera")
HEADER.stamp.sec, HEADER.stamp.nanosec = -5, 123_456_789


@pytest.fixture
def node():
    context = rclpy.Context()
    rclpy.init(context=context)
    made = LifecycleNode("direct_image_test", context=context)
    yield made
    made.destroy_node()
    context.try_shutdown()


@pytest.fixture
def connection(node):
    """An active publisher, and what has arrived from it."""
    came = []
    qos = QoSProfile(depth=5)
    publisher = node.create_lifecycle_publisher(Image, "picture", qos)
    node.create_subscription(Image, "picture", came.append, qos)
    publisher.on_activate(None)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)

    def wait_for(count: int) -> list:
        deadline = time.monotonic() + 20
        while len(came) < count and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.1)
        return came

    while not publisher.get_subscription_count():
        executor.spin_once(timeout_sec=0.1)
    yield publisher, wait_for
    executor.shutdown()


def test_this_ros_has_the_layout_known_here():
    assert works_here()


@pytest.mark.parametrize(("encoding", "channels"), [("mono8", ()), ("rgb8", (3,))])
def test_what_arrives_is_what_rclpy_sends(connection, encoding, channels):
    publisher, wait_for = connection
    direct, usual = DirectImage(encoding), ReusedImage(encoding)
    for number, size in enumerate([(48, 64), (48, 64), (31, 77)]):  # written again, then of another size
        made = np.random.default_rng(number).integers(0, 256, (*size, *channels), dtype=np.uint8)
        for outgoing in (direct, usual):
            np.copyto(outgoing.pixels(*size), made)
            outgoing.publish(publisher, HEADER)
        sent_direct, sent_usual = wait_for(2 * number + 2)[-2:]
        assert sent_direct == sent_usual
        assert sent_direct.header == HEADER
        np.testing.assert_array_equal(np.frombuffer(sent_direct.data, np.uint8), made.ravel())


def test_an_inactive_publisher_sends_nothing(connection):
    publisher, wait_for = connection
    outgoing = DirectImage("mono8")
    outgoing.pixels(8, 8)[:] = 1
    publisher.on_deactivate(None)
    outgoing.publish(publisher, HEADER)
    publisher.on_activate(None)
    outgoing.pixels(8, 8)[:] = 2
    outgoing.publish(publisher, HEADER)
    assert [set(message.data) for message in wait_for(1)] == [{2}]


def test_where_rcl_refuses_rclpy_says_why(connection, monkeypatch):
    publisher, wait_for = connection

    refusing = direct_image._Rcl(lambda *_: 1, lambda: None)
    monkeypatch.setattr(direct_image, "_rcl", lambda: refusing)
    outgoing = DirectImage("mono8")
    outgoing.pixels(8, 8)[:] = 7
    outgoing.publish(publisher, HEADER)
    assert set(wait_for(1)[0].data) == {7}


@pytest.mark.parametrize("change", ["a field more", "a number less", "another order"])
def test_another_layout_is_not_taken(monkeypatch, change):
    fields = list(c_image.CImage._fields_)
    if change == "a field more":
        fields.insert(3, ("quality", ctypes.c_uint64))
    elif change == "a number less":
        fields.pop(6)
    else:
        fields[3], fields[4] = fields[4], fields[3]
    other = type("CImage", (ctypes.Structure,), {"_fields_": tuple(fields), "is_bigendian": 1})
    monkeypatch.setattr(c_image, "CImage", other)
    assert not c_image.layout_is_known()


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setenv(direct_image.SWITCH, "rclpy")
    works_here.cache_clear()
    assert not works_here()
    works_here.cache_clear()
