"""`ros2 run dannet_ros play BAG`: publishes a bag's camera topics over DDS at the rate of their stamps."""

from __future__ import annotations

import importlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dannet_core.errors import DannetError, SettingsError, require
from dannet_core.settings import option
from dannet_ros.replay.bag_reading import CAMERA_INFO, COMPRESSED, IMAGE, Bag, open_bag

DESCRIPTION = "Publishes the image and camera_info topics of a bag; waits for a subscriber first."
SETTLE_S: Final = 0.5
"""After the first match: the subscriber's side has to learn of the publisher too, or it drops the first frames."""
DEPTH: Final = 10


class PlayError(DannetError):
    """Nobody listens."""


@dataclass(frozen=True)
class Settings:
    """Options of `play`."""

    bag: Path = option("folder of the bag", positional=True)
    topics: list[str] = option("topics to publish; none: all Image, CompressedImage and CameraInfo topics", [])
    rate: float = option("1 = as recorded, 2 = twice as fast", 1.0, limits=(0.01, 100))
    wait_for: list[str] = option(
        "topics that must have a subscriber first, each TOPIC or TOPIC=COUNT; none: any of the image topics", []
    )
    wait: float = option("seconds to wait for those subscribers; 0 = do not wait", 10.0, limits=(0, 3600))


def run(settings: Settings) -> int:
    """Play the bag once."""
    rclpy = require("rclpy", "play bags", "source a ROS 2 installation, or pip install 'dannet_ros[ros]'")
    from rclpy.signals import SignalHandlerOptions

    with open_bag(settings.bag, lenient=True) as bag:
        topics = _chosen_topics(bag, settings)
        # rclpy's own handlers would end the context under a publisher; KeyboardInterrupt ends the loop in order.
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        try:
            node = rclpy.create_node("bag_player")
            publishers = {topic: _publisher(node, bag.kinds[topic], topic) for topic in topics}
            if settings.wait > 0:
                _wait_for_subscribers(publishers, _awaited(bag, topics, settings), settings.wait)
            print(_play(bag, publishers, settings.rate), flush=True)
            for problem in bag.problems:
                print(f"{settings.bag}: {problem}", file=sys.stderr)
            node.destroy_node()
        finally:
            rclpy.try_shutdown()
    return 0


def _chosen_topics(bag: Bag, settings: Settings) -> list[str]:
    playable = [topic for topic, kind in bag.kinds.items() if kind in (IMAGE, COMPRESSED, CAMERA_INFO)]
    for topic in settings.topics:
        if topic not in playable:
            raise SettingsError(
                f"topics: got {topic}, expected one of {', '.join(playable) or 'none: nothing to play'}"
            )
    if not playable:
        raise SettingsError(f"{settings.bag}: no camera topics: it holds {', '.join(bag.kinds) or 'nothing'}")
    return list(settings.topics) or playable


def _awaited(bag: Bag, topics: list[str], settings: Settings) -> list[dict[str, int]]:
    """Subscribers that are needed, by topic; any one of the alternatives will do."""
    if not settings.wait_for:
        return [{topic: 1} for topic in topics if bag.kinds[topic] != CAMERA_INFO] or [{topic: 1} for topic in topics]
    needed = {}
    for entry in settings.wait_for:
        topic, _, count = entry.partition("=")
        if topic not in topics or not (count or "1").isdecimal():
            raise SettingsError(
                f"wait_for: got {entry}, expected one of {', '.join(topics)}, alone or with =COUNT behind it"
            )
        needed[topic] = int(count or 1)
    return [needed]


def _publisher(node: Any, kind: str, topic: str) -> Any:
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    package, _, name = kind.split("/")
    message_class = getattr(importlib.import_module(f"{package}.msg"), name)
    return node.create_publisher(message_class, topic, QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE))


def _wait_for_subscribers(publishers: dict[str, Any], alternatives: list[dict[str, int]], wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while not any(
        all(publishers[topic].get_subscription_count() >= count for topic, count in needed.items())
        for needed in alternatives
    ):
        if time.monotonic() > deadline:
            wanted = " or ".join(" and ".join(needed) for needed in alternatives)
            raise PlayError(f"no subscriber on {wanted} after {wait_s:g} s: start it first, or --wait 0")
        time.sleep(0.02)
    time.sleep(SETTLE_S)


def _play(bag: Bag, publishers: dict[str, Any], rate: float) -> str:
    """Publish the serialised messages as they are; returns what was played, in words."""
    from rclpy.duration import Duration

    first_ns, begin, worst_late_s, count = None, 0.0, 0.0, 0
    kinds, others = bag.kinds, 0
    for message in bag.raw(list(publishers)):
        if message.kind != kinds[message.topic]:  # a topic in DDS has one type
            others += 1
            continue
        if first_ns is None:
            first_ns, begin = message.time_ns, time.monotonic()
        due = begin + (message.time_ns - first_ns) / 1e9 / rate
        time.sleep(max(due - time.monotonic(), 0.0))
        worst_late_s = max(worst_late_s, time.monotonic() - due)
        publishers[message.topic].publish(bytes(message.data))
        count += 1
    for publisher in publishers.values():
        publisher.wait_for_all_acked(Duration(seconds=2))
    if count == 0:
        raise PlayError(f"nothing to play: {', '.join(publishers)} hold no messages")
    seconds = time.monotonic() - begin
    left_out = f", {others} of a second type on their topic left out" if others else ""
    return f"played {count} messages in {seconds:.1f} s, at most {worst_late_s * 1e3:.0f} ms late{left_out}"
