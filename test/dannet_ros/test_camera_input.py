"""Subscriptions that follow what publishers offer, over real DDS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dannet_ros.conversions import to_image

pytestmark = pytest.mark.ros
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


def facts(rig: Any) -> Any:
    return rig.node._health().input


def is_heard(rig: Any, publisher: Any, picture: np.ndarray, name: str) -> None:
    def send() -> bool:
        publisher.publish(to_image(picture, "rgb8", Header(frame_id=name)))
        return any(message.header.frame_id == name for message in rig.came["label"])

    rig.until(send)


def test_reliability_follows_the_publishers_as_they_come_and_go(
    make_rig: Callable[..., Any], night: np.ndarray
) -> None:
    rig = make_rig(diagnostics_period_s=0.1)
    rig.listen("label")
    assert facts(rig).reliability == "best_effort", "it hears every publisher that may come"
    reliable = rig.other.create_publisher(Image, "image", RELIABLE)
    rig.until(lambda: facts(rig).reliability == "reliable")
    is_heard(rig, reliable, night, "reliable")
    sensor = rig.other.create_publisher(Image, "image", BEST_EFFORT)
    rig.until(lambda: facts(rig).reliability == "best_effort")
    is_heard(rig, sensor, night, "sensor")
    is_heard(rig, reliable, night, "reliable again")
    rig.other.destroy_publisher(sensor)
    rig.until(lambda: facts(rig).reliability == "reliable")
    rig.other.destroy_publisher(reliable)
    rig.until(lambda: facts(rig).publishers == 0)
    is_heard(rig, rig.other.create_publisher(Image, "image", BEST_EFFORT), night, "came back as best effort")
    assert facts(rig).problem == ""


@pytest.fixture
def other_driver(ros: Any) -> Iterator[Any]:
    """A node of its own DDS participant: within one, a topic has one type."""
    context = ros.Context()
    ros.init(context=context)
    node = ros.create_node("driver", context=context)
    yield node
    node.destroy_node()
    ros.shutdown(context=context)


def test_publisher_of_another_type_is_named(make_rig: Callable[..., Any], other_driver: Any) -> None:
    rig = make_rig()
    other_driver.create_publisher(CompressedImage, "image", BEST_EFFORT)
    rig.until(lambda: "/driver" in facts(rig).problem)
    assert facts(rig).problem == (
        "/driver publishes sensor_msgs/msg/CompressedImage, expected sensor_msgs/msg/Image (see image_transport)"
    )


def test_topics_that_do_carry_pictures_are_suggested(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    rig.other.create_publisher(Image, "/front/image_raw", BEST_EFFORT)
    rig.until(lambda: facts(rig).others)
    assert facts(rig).others == ("/front/image_raw",), "the node's own outputs are no suggestion"
    assert facts(rig).meant == "/front/image_raw"


def test_the_base_topic_of_a_compressed_one_is_what_has_to_be_written(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(image_transport="compressed")
    rig.other.create_publisher(CompressedImage, "/front/image_raw/compressed", BEST_EFFORT)
    rig.until(lambda: facts(rig).others)
    assert (facts(rig).others, facts(rig).meant) == (("/front/image_raw/compressed",), "/front/image_raw")


def test_a_compressed_topic_given_as_the_raw_one_is_named_with_what_to_write(
    make_rig: Callable[..., Any], other_driver: Any
) -> None:
    rig = make_rig()
    rig.node._input._topic = "/front/image_raw/compressed"  # as a remapping gives it
    other_driver.create_publisher(CompressedImage, "/front/image_raw/compressed", BEST_EFFORT)
    rig.until(lambda: "/driver" in facts(rig).problem)
    assert facts(rig).problem.endswith(
        "(see image_transport): write image_transport:=compressed and image:=/front/image_raw"
    )


def test_overrides_of_both_ends_are_taken(make_rig: Callable[..., Any]) -> None:
    overrides = {
        "qos_overrides./image.subscription.depth": 7,
        "qos_overrides./image.subscription.reliability": "reliable",
        "qos_overrides./night_seg/label.publisher.reliability": "best_effort",
    }
    rig = make_rig(diagnostics_period_s=0.1, **overrides)
    assert rig.node._input._images.qos_profile.depth == 7
    assert facts(rig).reliability == "reliable"
    rig.other.create_publisher(Image, "image", BEST_EFFORT)
    rig.until(lambda: "incompatible" in facts(rig).problem)
    assert facts(rig).reliability == "reliable", "what is given is not matched to anything"
    images = rig.node._session.publishers._images
    assert images["label"].qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert images["color"].qos_profile.reliability == ReliabilityPolicy.RELIABLE
    for transition in (rig.node.trigger_deactivate, rig.node.trigger_cleanup, rig.node.trigger_configure):
        assert transition().name == "SUCCESS", "they are taken again"
    assert rig.node._input._images.qos_profile.depth == 7


@pytest.mark.parametrize(
    ("override", "value", "reason"),
    [
        ("qos_overrides./imgae.subscription.depth", 3, "qos_overrides./imgae.subscription.depth: no such topic"),
        ("qos_overrides./image.subscription.reliability", "sometimes", "reliability"),
        ("qos_overrides./image.subscription.depth", "many", "depth"),
    ],
)
def test_overrides_that_are_wrong_or_do_nothing_stop_configure(
    make_rig: Callable[..., Any], override: str, value: Any, reason: str
) -> None:
    rig = make_rig(start=False, **{override: value})
    assert rig.node.trigger_configure().name == "FAILURE"
    assert reason in rig.node.failure
    assert rig.node._input is None
    assert not [s for s in rig.node.subscriptions if s.topic_name == "/image"], "nothing is left behind"
