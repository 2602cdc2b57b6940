"""A frame is published beside the next one's work, and neither writes into the other's messages."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to publish")

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from dannet_core import NightSegmenter
from dannet_ros.conversions import to_image, to_rgb
from dannet_ros.publishing_thread import PublishingThread

pytestmark = pytest.mark.ros
OUTPUTS = ("label", "color", "overlay", "relit", "confidence")


def test_steps_are_done_in_order_and_none_is_queued():
    thread, done, release = PublishingThread(), [], threading.Event()
    thread.hand_over(lambda: (release.wait(60), done.append(1)))
    second = threading.Thread(target=thread.hand_over, args=(lambda: done.append(2),))
    second.start()
    time.sleep(0.05)
    assert second.is_alive(), "handed over while the first was in work"
    assert not thread.wait_until_idle(0.05)
    release.set()
    second.join(60)
    assert thread.close(60)
    assert done == [1, 2]


def test_closing_says_when_it_hangs():
    thread, release = PublishingThread(), threading.Event()
    thread.hand_over(lambda: release.wait(60))
    assert not thread.close(0.05)
    release.set()
    assert thread.close(60)


def test_one_that_never_did_anything_is_closed_at_once():
    thread = PublishingThread()
    assert thread.wait_until_idle(0)
    assert thread.close(0)


def test_next_frame_is_made_while_one_is_published(
    make_rig: Callable[..., Any], night: np.ndarray, tiny_model: Path
) -> None:
    rig = make_rig()
    rig.listen(*OUTPUTS)
    publishers, begun, release = rig.node._session.publishers, [], threading.Event()
    publish, take = publishers.publish, publishers.next_outgoing

    def held_publish(*arguments: Any) -> None:
        begun.append("publish")
        assert release.wait(100)
        publish(*arguments)

    def noted_take() -> Any:
        begun.append("begin")
        return take()

    publishers.publish, publishers.next_outgoing = held_publish, noted_take
    pictures = {second: np.roll(night, 16 * second, axis=1) for second in (1, 2, 3)}
    for second, want in ((1, 2), (2, 3), (3, 3)):
        rig.node._on_image(to_image(pictures[second], "rgb8", Header(stamp=Time(sec=second))))
        rig.until(lambda want=want: len(begun) == want)
    rig.spin(0.3)
    assert begun == ["begin", "publish", "begin"], "the second frame is made, the third waits in the mailbox"
    release.set()
    rig.until(lambda: all(len(rig.came[name]) == 3 for name in OUTPUTS))
    rig.until(rig.settled)
    assert rig.node.counts["processed"] == 3
    with NightSegmenter.load(tiny_model) as segmenter:
        for messages in zip(*(rig.came[name] for name in OUTPUTS), strict=True):
            (second,) = {message.header.stamp.sec for message in messages}
            wanted = segmenter.segment(pictures[second])
            got = dict(zip(OUTPUTS, map(to_rgb, messages), strict=True))
            np.testing.assert_array_equal(got["label"][:, :, 0], wanted.labels)
            np.testing.assert_array_equal(got["color"], wanted.colorize())
            np.testing.assert_array_equal(got["overlay"], wanted.overlay(pictures[second], 0.5))
            np.testing.assert_array_equal(got["relit"], wanted.relit)
            np.testing.assert_allclose(got["confidence"][:, :, 0], wanted.confidence * 255, atol=1)


def test_deactivation_waits_for_what_is_being_published(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig()
    rig.listen("label")
    publishers, publish = rig.node._session.publishers, rig.node._session.publishers.publish

    def slow_publish(*arguments: Any) -> None:
        time.sleep(0.3)
        publish(*arguments)

    publishers.publish = slow_publish
    rig.node._on_image(to_image(night, "rgb8", Header()))
    rig.until(lambda: rig.node._session.mailbox.wait_until_idle(0))
    rig.node.trigger_deactivate()
    assert rig.node.counts["processed"] == 1
    rig.until(lambda: len(rig.came["label"]) == 1)


def test_what_fails_in_publishing_is_one_frames_failure(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig()
    rig.listen("label")
    publishers, publish = rig.node._session.publishers, rig.node._session.publishers.publish
    publishers.publish = lambda *_: 1 / 0
    rig.node._on_image(to_image(night, "rgb8", Header()))
    rig.until(lambda: rig.node.counts["failed"] == 1)
    publishers.publish = publish
    rig.node._on_image(to_image(night, "rgb8", Header(stamp=Time(sec=1))))
    rig.until(lambda: rig.node.counts["processed"] == 1)
