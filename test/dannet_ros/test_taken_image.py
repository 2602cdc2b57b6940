"""Pictures used where rcl wrote them say what rclpy's own messages say, and their memory is given back."""

import gc
import resource
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to subscribe")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dannet_ros import taken_image
from dannet_ros.conversions import to_camera, to_image
from dannet_ros.taken_image import TakenImage, take_directly, works_here

pytestmark = pytest.mark.ros
QOS = QoSProfile(depth=10)
FIELDS = ("header", "height", "width", "encoding", "is_bigendian", "step")


@pytest.fixture
def both_ways():
    """Send a message; it comes once as rclpy makes it, once taken directly."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("taken_image_test", context=context)
    usual, taken = [], []
    publisher = node.create_publisher(Image, "picture", QOS)
    node.create_subscription(Image, "picture", usual.append, QOS)
    assert take_directly(node.create_subscription(Image, "picture", taken.append, QOS))
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def send(message):
        usual.clear()
        taken.clear()
        publisher.publish(message)
        deadline = time.monotonic() + 20
        while not (usual and taken) and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.1)
        return usual.pop(), taken.pop()

    while publisher.get_subscription_count() < 2:
        executor.spin_once(timeout_sec=0.1)
    yield send
    executor.shutdown()
    node.destroy_node()
    context.try_shutdown()


def message(encoding: str = "rgb8", shape: tuple[int, ...] = (67, 77, 3), frame_id: str = "Rück/kamera"):
    made = to_image(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), encoding, Header())
    made.header.frame_id, made.header.stamp.sec, made.header.stamp.nanosec = frame_id, -5, 4_294_967_295
    return made


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def with_no_data():
    made = message()
    made.data = b""
    return made


@pytest.mark.parametrize(
    "sent",
    [message(), message("mono8", (48, 64)), message(frame_id=""), message(frame_id="f" * 3000), with_no_data()],
    ids=["rgb8", "mono8", "no frame", "long frame", "no data"],
)
def test_it_says_what_rclpys_message_says(both_ways, sent):
    usual, taken = both_ways(sent)
    assert type(taken) is TakenImage
    assert type(usual) is Image
    assert [getattr(taken, field) for field in FIELDS] == [getattr(usual, field) for field in FIELDS]
    np.testing.assert_array_equal(taken.data, np.frombuffer(usual.data, np.uint8))


def test_pixels_outlive_the_message_and_what_comes_later(both_ways):
    sent = message()
    camera = to_camera(both_ways(sent)[1])
    for _ in range(6):
        both_ways(message("mono8", (67, 231)))
        gc.collect()
    assert camera.to_rgb().tobytes() == bytes(sent.data)


def test_memory_is_given_back_with_the_last_view(both_ways):
    view = both_ways(message())[1].data[5:]
    owner = view.base
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner, taken_image._Pixels)
    freed = weakref.finalize(owner, lambda: None)
    del owner
    assert freed.alive
    del view
    gc.collect()
    assert not freed.alive


def test_a_thousand_pictures_leave_nothing_behind(both_ways):
    sent = message("mono8", (1000, 1000))
    for _ in range(20):
        both_ways(sent)
    before = resident_mb()
    for _ in range(200):
        both_ways(sent)
    assert resident_mb() - before < 40  # 200 MB where none was given back


def test_where_taking_over_fails_rclpys_message_comes(both_ways, monkeypatch):
    monkeypatch.setattr(taken_image.TakenImage, "__init__", lambda *_: 1 / 0)
    usual, taken = both_ways(message())
    assert taken == usual


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setenv(taken_image.SWITCH, "rclpy")
    works_here.cache_clear()
    assert not take_directly(object())
    works_here.cache_clear()
