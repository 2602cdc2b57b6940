"""A bag's camera replayed through DDS to the running node: latency, age and drops as a vehicle would see them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dannet_core.errors import DannetError, ImageError, require
from dannet_ros.frame_statistics import OUTCOMES
from dannet_ros.replay.bag_evaluation import stop_flag
from dannet_ros.replay.bag_reading import CAMERA_INFO, COMPRESSED, PICTURES, Bag, open_bag
from dannet_ros.replay.frame_scores import digest, spread
from dannet_ros.replay.scanned import RawMessage
from dannet_ros.replay.serialized import labels_of, stamp_of, with_stamp
from dannet_ros.replay.transports import base_of

DROPS: Final = tuple(outcome for outcome in OUTCOMES if outcome != "processed")
"""Why the node's diagnostics say that a received frame got no label."""
PROFILE: Final = "FASTDDS_DEFAULT_PROFILES_FILE"
"""Without it Fast DDS loses most large images."""
QUIET_S: Final = 5.0
"""Whatever has not arrived this long after the last frame was lost."""
SETTLE_S: Final = 0.5
"""After the first match: the node's side has to learn of the publisher too."""
_MAX_CAMERA_DELAY_NS: Final = 10**9
_DEPTH: Final = 20
_STAMPS_KEPT: Final = 256


class LiveError(DannetError):
    """The node is not there or does not answer."""


@dataclass(frozen=True)
class LivePlan:
    """What to replay.

    Attributes:
        bag: its path.
        topic: the image topic; the node must subscribe to it.
        rate: 1 = as recorded.
        node: the node's name.
        wait_s: how long to wait for it.
    """

    bag: Path
    topic: str
    rate: float
    node: str
    wait_s: float


@dataclass
class _Sent:
    """One frame on its way.

    Attributes:
        number: which picture of its topic it is.
        bag_stamp_ns: its stamp in the bag, which others may have too.
        sent_ns: when it was sent, by the monotonic clock: the system's may jump.
        delay_ns: its age when it was sent.
        late_ms: after its time.
        arrived_ns: when its label arrived; None as long as it has not.
        labels: their digest.
    """

    number: int
    bag_stamp_ns: int
    sent_ns: int
    delay_ns: int
    late_ms: float
    arrived_ns: int | None = None
    labels: str = ""


@dataclass
class _Watch:
    """What comes back, written by the executor's thread.

    Attributes:
        frames: by the stamp they were sent with.
        counts: the node's counters at its last report.
        reports: how many of those there were.
        arrived: how many frames have come back.
        duplicates: labels that came twice.
    """

    frames: dict[int, _Sent] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    reports: int = 0
    arrived: int = 0
    duplicates: int = 0


def check_ros() -> Any:
    """Import rclpy.

    Raises:
        MissingPackageError: it is not installed.
    """
    return require("rclpy", "replay live", "source a ROS 2 installation, or pip install 'dannet_ros[ros]'")


def replay_live(plan: LivePlan, expected: Sequence[str]) -> dict[str, Any]:
    """Replay once; the frames are stamped anew, so that their age is that of a camera's frames.

    Args:
        plan: what to replay.
        expected: digest of the labels that the replay without DDS gave to each picture of the topic, in order.

    Raises:
        LiveError: the node does not subscribe in time.
    """
    rclpy = check_ros()
    from rclpy.signals import SignalHandlerOptions

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        with _Session(rclpy, plan) as session:
            session.wait_for_node()
            before = session.counts_now()
            seconds, interrupted = session.play()
            session.wait_for_rest()
            return _result(plan, session.watch, before, expected, {"seconds": seconds, "interrupted": interrupted})
    finally:
        rclpy.try_shutdown()


class _Session:
    """A camera and a listener in one process, the listener in a thread of its own."""

    def __init__(self, rclpy: Any, plan: LivePlan) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import Image

        self.watch, self._plan = _Watch(), plan
        self._node = rclpy.create_node("evaluate_bag")
        self._qos = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        # Raw bytes: to build megabytes of Python message would be charged to the node's latency.
        self._node.create_subscription(Image, f"{plan.node}/label", self._on_label, self._qos, raw=True)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, self._qos)
        self._publishers: dict[str, Any] = {}
        self._kinds: dict[str, str] = {}
        self._stamps: dict[int, int] = {}
        self._failure = ""
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="evaluate_bag listener", daemon=True)

    def __enter__(self) -> _Session:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._thread.join(5)
        self._node.destroy_node()

    def wait_for_node(self) -> None:
        """Until the node subscribes to the frames, its labels are seen here, and it has reported once."""
        plan = self._plan
        with open_bag(plan.bag, lenient=True) as bag:
            kinds = bag.kinds
        camera = base_of(plan.topic).rpartition("/")[0]
        wanted = [
            plan.topic,
            *(t for t, kind in kinds.items() if kind == CAMERA_INFO and t.rpartition("/")[0] == camera),
        ]
        self._kinds = {topic: kinds[topic] for topic in wanted}
        self._publishers = {topic: self._publisher(kinds[topic], topic) for topic in wanted}
        image, deadline = self._publishers[plan.topic], time.monotonic() + plan.wait_s
        while not (image.get_subscription_count() and self._node.count_publishers(f"{plan.node}/label")):
            self._wait_or_fail(deadline, f"nobody subscribes to {plan.topic}, or {plan.node} publishes no labels")
        while "received" not in self.watch.counts:
            self._wait_or_fail(deadline, f"no /diagnostics of {plan.node}")
        time.sleep(SETTLE_S)

    def counts_now(self) -> dict[str, int]:
        """The node's counters at its last report."""
        return dict(self.watch.counts)

    def play(self) -> tuple[float, bool]:
        """Publish the frames; seconds it took, and whether Ctrl-C ended it."""
        begin, first_ns = 0.0, None
        with open_bag(self._plan.bag, lenient=True) as bag, stop_flag() as stop:
            for number, message in self._numbered(bag):
                if first_ns is None:
                    first_ns, begin = message.time_ns, time.monotonic()
                due = begin + (message.time_ns - first_ns) / 1e9 / self._plan.rate
                time.sleep(max(due - time.monotonic(), 0.0))
                self._publish(message, number, (time.monotonic() - due) * 1e3)
                if stop.is_set():
                    return time.monotonic() - begin, True
        return time.monotonic() - begin, False

    def wait_for_rest(self) -> None:
        """Until every frame has come back, or nothing has for a while; then for reports that count the last ones."""
        watch, deadline, last = self.watch, time.monotonic() + QUIET_S, -1
        while time.monotonic() < deadline and (arrived := watch.arrived) < len(watch.frames):
            if arrived != last:
                last, deadline = arrived, time.monotonic() + QUIET_S
            time.sleep(0.02)
        reports, deadline = watch.reports + 2, time.monotonic() + QUIET_S
        while (watch.reports < reports or watch.counts.get("in work")) and time.monotonic() < deadline:
            time.sleep(0.02)
        if self._failure:
            raise LiveError(self._failure)

    def _numbered(self, bag: Bag) -> Iterator[tuple[int, RawMessage]]:
        """Messages of the types that are published, each picture with its number among those of the topic."""
        pictures = 0
        for message in bag.raw(list(self._publishers)):
            if message.kind == self._kinds[message.topic]:
                yield pictures, message
            pictures += message.topic == self._plan.topic and message.kind in PICTURES

    def _publish(self, message: RawMessage, number: int, late_ms: float) -> None:
        try:
            bag_stamp_ns, now_ns = stamp_of(message.data), time.time_ns()
        except ImageError:  # the replay without DDS has refused and reported it
            return
        stamp_ns = self._new_stamp(bag_stamp_ns, message.time_ns, now_ns)
        if message.topic == self._plan.topic:
            while stamp_ns in self.watch.frames:  # two frames of one stamp in the bag
                stamp_ns = self._stamps[bag_stamp_ns] = max(now_ns, stamp_ns + 1)
            delay_ns = now_ns - stamp_ns
            self.watch.frames[stamp_ns] = _Sent(number, bag_stamp_ns, time.monotonic_ns(), delay_ns, late_ms)
        self._publishers[message.topic].publish(with_stamp(message.data, stamp_ns))

    def _new_stamp(self, bag_stamp_ns: int, recorded_ns: int, now_ns: int) -> int:
        """One stamp for an image and its camera_info; the camera's own delay before the recorder is part of its age."""
        delay_ns = recorded_ns - bag_stamp_ns
        delay_ns = delay_ns if 0 <= delay_ns <= _MAX_CAMERA_DELAY_NS else 0
        if len(self._stamps) > _STAMPS_KEPT:
            self._stamps.pop(next(iter(self._stamps)))
        return self._stamps.setdefault(bag_stamp_ns, now_ns - delay_ns)

    def _publisher(self, kind: str, topic: str) -> Any:
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image

        types = {CAMERA_INFO: CameraInfo, COMPRESSED: CompressedImage}
        return self._node.create_publisher(types.get(kind, Image), topic, self._qos)

    def _wait_or_fail(self, deadline: float, problem: str) -> None:
        if time.monotonic() > deadline:
            raise LiveError(f"live: {problem} after {self._plan.wait_s:g} s: start the node with image remapped to it")
        time.sleep(0.02)

    def _spin(self) -> None:
        from rclpy.executors import ExternalShutdownException

        try:
            self._executor.spin()
        except ExternalShutdownException:
            return
        except Exception as error:  # noqa: BLE001  told to the main thread, which would wait for labels in vain
            self._failure = f"live: listening ended: {type(error).__name__}: {error}"

    def _on_label(self, data: bytes) -> None:
        arrived_ns = time.monotonic_ns()
        sent = self.watch.frames.get(stamp_of(data))
        if sent is None:
            return
        if sent.arrived_ns is not None:
            self.watch.duplicates += 1
            return
        sent.labels = digest(labels_of(data))
        sent.arrived_ns = arrived_ns
        self.watch.arrived += 1

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(f"{self._plan.node}:"):
                values = {pair.key: pair.value for pair in status.values}
                if "received" in values:
                    self.watch.counts = {key: int(value) for key, value in values.items() if value.isdigit()}
                    self.watch.reports += 1


def _result(
    plan: LivePlan, watch: _Watch, before: Mapping[str, int], expected: Sequence[str], run: Mapping[str, Any]
) -> dict[str, Any]:
    fresh = {key: value - before.get(key, 0) for key, value in watch.counts.items()}
    frames = list(watch.frames.values())
    came = [frame for frame in frames if frame.arrived_ns is not None]
    dropped = {outcome: fresh.get(outcome, 0) for outcome in DROPS}
    dropped["lost before the node"] = max(len(frames) - fresh.get("received", 0), 0)
    dropped["lost after the node"] = max(fresh.get("processed", 0) - len(came), 0)
    records = [_record(frame, frames[0].sent_ns) for frame in frames]
    return {
        "topic": plan.topic,
        "node": plan.node,
        "rate": plan.rate,
        **run,
        "sent": len(frames),
        "labelled": len(came),
        "dropped": dropped,
        "fastdds_profile": PROFILE in os.environ,
        "duplicates": watch.duplicates,
        "identical_to_replay": sum(frame.labels == expected[frame.number] for frame in came),
        "latency_ms": spread([record["latency_ms"] for record in records if record["latency_ms"] is not None]),
        "age_ms": spread([record["age_ms"] for record in records if record["age_ms"] is not None]),
        "sent_late_ms": spread([frame.late_ms for frame in frames]),
        "frames": records,
    }


def _record(frame: _Sent, start_ns: int) -> dict[str, Any]:
    latency_ms = None if frame.arrived_ns is None else (frame.arrived_ns - frame.sent_ns) / 1e6
    return {
        "stamp_ns": frame.bag_stamp_ns,
        "sent_s": (frame.sent_ns - start_ns) / 1e9,
        "latency_ms": latency_ms,
        "age_ms": None if latency_ms is None else latency_ms + frame.delay_ns / 1e6,
    }
