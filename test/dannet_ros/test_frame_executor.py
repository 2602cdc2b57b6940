"""An executor that hands messages over itself, and leaves nothing else undone."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to spin")

import rclpy
from lifecycle_msgs.srv import GetState
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Float32

from dannet_ros import frame_executor
from dannet_ros.frame_executor import FrameExecutor, make_executor

pytestmark = pytest.mark.ros
QOS = QoSProfile(depth=100)


class Spun:
    """A node and its executor, in a ROS context of their own."""

    def __init__(self) -> None:
        self.busy = False
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("frame_executor_test", context=self.context)
        self.executor = FrameExecutor(lambda: self.busy, context=self.context)
        self.executor.add_node(self.node)
        self.publisher = self.node.create_publisher(Float32, "number", QOS)

    def subscribe(self, take: Callable[[Any], Any], **options: Any) -> Any:
        """A subscription that the publisher knows, and that knows it."""
        before = self.publisher.get_subscription_count()
        made = self.node.create_subscription(Float32, "number", take, QOS, **options)
        self.until(lambda: self.publisher.get_subscription_count() > before and made.get_publisher_count() > 0)
        return made

    def send(self, *numbers: float) -> None:
        """Publish."""
        for number in numbers:
            self.publisher.publish(Float32(data=float(number)))

    def until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Spin until it holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"did not happen within {timeout_s} s"
            self.executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        """End all."""
        self.executor.shutdown()
        if self.context.ok():
            self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def spun() -> Iterator[Spun]:
    made = Spun()
    yield made
    made.close()


def test_every_message_comes_once_and_in_order(spun):
    first, second = [], []
    spun.subscribe(lambda message: first.append(message.data))
    spun.subscribe(lambda message: second.append(message.data))
    spun.send(*range(50))
    spun.until(lambda: len(first) >= 50 and len(second) >= 50)
    assert first == second == list(range(50))


def test_a_callback_that_asks_for_it_is_told_about_the_message(spun):
    came = []

    def take(message: Any, info: Any) -> None:
        came.append((message.data, info["source_timestamp"]))

    spun.subscribe(take)
    spun.send(3)
    spun.until(lambda: bool(came))
    assert came[0][0] == 3
    assert came[0][1] > 0


def test_timers_and_services_have_their_turn_while_messages_keep_coming(spun):
    came, ticks, answers = [], [], []

    def take(message: Any) -> None:
        came.append(message.data)
        spun.send(message.data + 1)  # so that there is always one

    spun.subscribe(take)
    spun.node.create_timer(0.01, lambda: ticks.append(len(came)))
    spun.node.create_service(GetState, "state", lambda _, response: response)
    client = spun.node.create_client(GetState, "state")
    spun.until(client.service_is_ready)
    spun.send(0)
    asked = client.call_async(GetState.Request())
    asked.add_done_callback(answers.append)
    spun.until(lambda: len(ticks) > 5 and bool(answers) and len(came) > 100)
    assert came == list(range(len(came)))
    assert asked.result() is not None


def test_timers_wait_for_the_frame_in_work_and_messages_do_not(spun, monkeypatch):
    monkeypatch.setattr(frame_executor, "PATIENCE_S", 1000.0)
    came, ticks = [], []
    spun.subscribe(lambda message: came.append(message.data))
    spun.node.create_timer(0.01, lambda: ticks.append(spun.busy))
    spun.until(lambda: bool(ticks))
    spun.busy = True
    ticks.clear()
    for number in range(20):
        spun.send(number)
        spun.until(lambda wanted=number + 1: len(came) == wanted)
        time.sleep(0.01)
    assert not ticks
    spun.busy = False
    spun.until(lambda: bool(ticks))
    assert not any(ticks)


def test_timers_and_events_have_their_turn_where_every_moment_has_a_frame_in_work(spun):
    ticks, incompatible = [], []
    spun.busy = True
    spun.node.create_timer(0.01, lambda: ticks.append(spun.busy))
    unreliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    spun.node.create_publisher(Float32, "unreliable", unreliable)
    events = SubscriptionEventCallbacks(incompatible_qos=incompatible.append)
    spun.node.create_subscription(Float32, "unreliable", ticks.append, QOS, event_callbacks=events)
    spun.until(lambda: len(ticks) >= 20 and bool(incompatible))


def test_what_is_made_or_destroyed_later_is_noticed(spun):
    came, later = [], []

    def take_one(message: Any) -> None:
        came.append(message.data)
        spun.node.destroy_subscription(only)

    only = spun.subscribe(take_one)
    spun.send(1, 2, 3)
    spun.until(lambda: bool(came))
    spun.until(lambda: spun.publisher.get_subscription_count() == 0)
    spun.subscribe(lambda message: later.append(message.data))
    spun.send(4)
    spun.until(lambda: bool(later))
    assert came == [1], "it was destroyed in its own callback"
    assert later == [4]


def test_what_another_thread_makes_while_all_are_looked_for_is_noticed_too(spun, monkeypatch):
    came, look = [], frame_executor._Entities

    def look_and_make(*arguments: Any) -> Any:
        found = look(*arguments)
        monkeypatch.setattr(frame_executor, "_Entities", look)
        spun.node.create_subscription(Float32, "number", lambda message: came.append(message.data), QOS)
        return found

    monkeypatch.setattr(frame_executor, "_Entities", look_and_make)
    spun.executor.wake()
    spun.until(lambda: spun.publisher.get_subscription_count() > 0)
    spun.send(1)
    spun.until(lambda: bool(came))


def test_one_destroyed_by_another_ones_callback_is_passed_over(spun):
    came, made = [], []

    def take(message: Any) -> None:
        came.append(message.data)
        while made:
            spun.node.destroy_subscription(made.pop())

    made += [spun.subscribe(take), spun.subscribe(take)]
    spun.send(1)
    spun.until(lambda: bool(came))
    for _ in range(5):
        spun.executor.spin_once(timeout_sec=0.02)
    assert came == [1]


def test_qos_events_are_told(spun):
    lost, matched = [], []
    events = SubscriptionEventCallbacks(incompatible_qos=lost.append)
    wants_more = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    less = spun.node.create_publisher(
        Float32, "unreliable", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    spun.node.create_subscription(Float32, "unreliable", matched.append, wants_more, event_callbacks=events)
    spun.until(lambda: bool(lost))
    less.publish(Float32())
    assert not matched


def test_guard_conditions_and_coroutines_run(spun):
    guarded, came = [], []

    async def take(message: Any) -> None:
        came.append(message.data)

    guard = spun.node.create_guard_condition(lambda: guarded.append(1))
    spun.subscribe(take)
    guard.trigger()
    spun.send(5)
    spun.until(lambda: bool(guarded and came))
    assert (guarded, came) == ([1], [5])


def test_what_a_callback_raises_comes_out(spun):
    spun.subscribe(lambda _: 1 / 0)
    spun.send(1)
    with pytest.raises(ZeroDivisionError):
        spun.until(lambda: False, 20)
    spun.node.create_timer(0.01, lambda: {}[1])
    with pytest.raises(KeyError):
        spun.until(lambda: False, 20)


def test_it_sleeps_until_another_thread_wakes_it(spun):
    woken = threading.Event()

    def wake() -> None:
        woken.set()
        spun.executor.wake()

    begun_s, used_s = time.monotonic(), time.thread_time()
    waker = threading.Timer(1.0, wake)
    waker.start()
    while not woken.is_set():
        spun.executor.spin_once(timeout_sec=30)
    assert time.monotonic() - begun_s < 20
    assert time.thread_time() - used_s < 0.5
    waker.join()


def test_the_end_of_the_context_is_an_exception(spun):
    threading.Timer(0.2, spun.context.try_shutdown).start()
    with pytest.raises(ExternalShutdownException):
        spun.until(lambda: False, 20)


def test_spinning_after_shutdown_does_nothing(spun):
    spun.executor.shutdown()
    spun.executor.spin_once(timeout_sec=0.01)
    assert spun.executor._entities is None


def test_rclpys_own_is_used_where_asked_for_or_where_rclpy_differs(spun, ros, monkeypatch):
    def made() -> type:
        executor = make_executor()
        executor.shutdown()
        return type(executor)

    assert made() is FrameExecutor
    monkeypatch.setenv(frame_executor.SWITCH, "rclpy")
    assert made() is SingleThreadedExecutor
    monkeypatch.delenv(frame_executor.SWITCH)
    monkeypatch.setattr(frame_executor, "_INSIDE", ("_guard", "_not_there"))
    frame_executor.works_here.cache_clear()
    assert made() is SingleThreadedExecutor
    frame_executor.works_here.cache_clear()
