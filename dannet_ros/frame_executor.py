"""An executor that takes messages without rclpy's way round.

Whenever anything comes, rclpy's own looks at every entity of the node in Python, twice a message: 2 ms in which it
holds the lock that the frame in work needs. Here what the entities are is remembered, messages and timers go to their
callbacks at once, and QoS events, two thirds of all entities, are looked for ten times a second. Services and the rest
are left to rclpy's executor. Timers and events wait for the frame in work, which they would hold up by milliseconds.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import cache
from typing import Any, Final, NamedTuple

from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor, TimeoutException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.waitable import NumberOfEntities

SWITCH: Final = "DANNET_EXECUTOR"
"""Environment variable: ``rclpy`` keeps to rclpy's executor, e.g. to compare with."""
EVENTS_S: Final = 0.1
"""How long a QoS event may wait."""
PATIENCE_S: Final = 0.025
"""How long timers and events that are due wait for the frame in work."""
_STEP_S: Final = 0.003
"""How often it is looked for the frame's end meanwhile."""
_INSIDE: Final = (
    "_guard", "_sigint_gc", "_context", "_is_shutdown", "_tasks", "_take_subscription", "_take_timer",
)  # fmt: skip


class _Ready(NamedTuple):
    """What can be done now; ``others``: by rclpy's executor."""

    subscriptions: list[Any]
    timers: list[Any]
    others: bool


_NOTHING: Final = _Ready([], [], others=False)


class FrameExecutor(SingleThreadedExecutor):  # type: ignore[misc]  # rclpy has no types everywhere
    """Like rclpy's SingleThreadedExecutor, for a node whose messages matter most."""

    def __init__(self, frame_in_work: Callable[[], bool] = lambda: False, *, context: Any = None) -> None:
        """Wait for nothing yet.

        Args:
            frame_in_work: whether there is a frame that timers and events are to wait for.
            context: rclpy's, None = the default one.
        """
        self._frame_in_work = frame_in_work
        self._due_since_s: float | None = None
        self._entities: _Entities | None = None
        self._changed = self._found_after = object()
        self._events_due_s = 0.0
        super().__init__(context=context)

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for something to do, and do what is ready.

        Args:
            timeout_sec: longest wait, seconds; None = `EVENTS_S`, which is never exceeded.

        Raises:
            ExternalShutdownException: the ROS context has ended.
        """
        if self._is_shutdown:
            return
        ready = self._wait(EVENTS_S if timeout_sec is None or timeout_sec < 0 else timeout_sec)
        for subscription in ready.subscriptions:
            _run(self._take_subscription(subscription))
        for timer in ready.timers:
            _run(self._take_timer(timer))
        # A task, such as what is to be done with a service's answer, triggers the executor's own guard.
        if ready.others or any(not task.done() for task, _, _ in self._tasks):
            self._serve_others()

    def _wait(self, timeout_s: float) -> _Ready:
        try:
            ready = self._wait_for_all(timeout_s)
        except rclpy_implementation.InvalidHandle:  # destroyed by another thread
            self._forget()
            ready = _NOTHING
        except rclpy_implementation.RCLError:
            if self._context.ok():
                raise
            raise ExternalShutdownException from None
        if not self._context.ok():
            raise ExternalShutdownException
        return ready

    def _wait_for_all(self, timeout_s: float) -> _Ready:
        entities = self._entities
        if entities is None or self._found_after is not self._changed:
            # Before they are looked for: what another thread changes meanwhile is looked for once more.
            self._found_after = self._changed
            entities = self._entities = _Entities(self.get_nodes(), (self._guard, self._sigint_gc), self._context)
            self._events_due_s = 0.0
        waited = self._due_since_s is not None
        if waited and self._are_to_wait(time.monotonic()):
            return entities.wait(min(timeout_s, _STEP_S), with_timers=False)
        ready = entities.wait(min(timeout_s, max(0.0, self._events_due_s - time.monotonic())))
        now_s = time.monotonic()
        events = now_s >= self._events_due_s
        if (events or ready.timers) and not waited and self._are_to_wait(now_s):
            return ready._replace(timers=[])
        if not events:
            return ready
        self._events_due_s = now_s + EVENTS_S
        return ready._replace(others=entities.has_events() or ready.others)

    def _are_to_wait(self, now_s: float) -> bool:
        """Whether timers and events, some of which are due, wait for the frame in work."""
        if self._due_since_s is None:
            self._due_since_s = now_s
        if self._frame_in_work() and now_s < self._due_since_s + PATIENCE_S:
            return True
        self._due_since_s = None
        return False

    def wake(self) -> None:
        """See `rclpy.executors.Executor.wake`: a node calls it when its entities have changed."""
        self._forget()
        super().wake()

    def add_node(self, node: Any) -> bool:
        """See `rclpy.executors.Executor.add_node`."""
        added = bool(super().add_node(node))
        self._forget()
        return added

    def remove_node(self, node: Any) -> None:
        """See `rclpy.executors.Executor.remove_node`."""
        super().remove_node(node)
        self._forget()

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """See `rclpy.executors.Executor.shutdown`."""
        self._forget()
        return bool(super().shutdown(timeout_sec))

    def _forget(self) -> None:
        self._changed, self._entities = object(), None

    def _serve_others(self) -> None:
        while not self._is_shutdown:
            try:
                handler, _, _ = self.wait_for_ready_callbacks(timeout_sec=0)
            except (TimeoutException, ShutdownException):
                return
            handler()
            handler.result()


class _Entities:
    """What nodes wait for. All handles are held while this lives: nobody pulls one from under it."""

    def __init__(self, nodes: list[Any], wakers: Iterable[Any], context: Any) -> None:
        self._held = ExitStack()
        self._context = context.handle
        self._held.enter_context(self._context)
        self._wakers = [guard for guard in wakers if guard]
        self._subscriptions = self._hold(one for node in nodes for one in node.subscriptions)
        self._timers = self._hold(one for node in nodes for one in node.timers)
        self._clients = self._hold(one for node in nodes for one in node.clients)
        self._services = self._hold(one for node in nodes for one in node.services)
        self._guards = self._hold(one for node in nodes for one in node.guards)
        self._waitables = self._hold((one for node in nodes for one in node.waitables), lambda one: one)
        own = (self._subscriptions, [*self._guards, *self._wakers], self._timers, self._clients, self._services)
        self._wait_set = self._make(NumberOfEntities(*map(len, own)))
        events = NumberOfEntities()
        for waitable in self._waitables:
            events += waitable.get_num_entities()
        self._event_set = self._make(events)

    def __del__(self) -> None:
        self._held.close()

    def wait(self, timeout_s: float, with_timers: bool = True) -> _Ready:
        """Wait for anything but events."""
        wait_set = self._wait_set
        wait_set.clear_entities()
        for add, entities in (
            (wait_set.add_subscription, self._subscriptions),
            (wait_set.add_timer, self._timers if with_timers else []),
            (wait_set.add_client, self._clients),
            (wait_set.add_service, self._services),
            (wait_set.add_guard_condition, self._guards),
            (wait_set.add_guard_condition, self._wakers),
        ):
            for entity in entities:
                add(entity.handle)
        wait_set.wait(int(timeout_s * 1e9))
        subscriptions = _of(self._subscriptions, wait_set.get_ready_entities("subscription"))
        timers = [
            timer
            for timer in _of(self._timers, wait_set.get_ready_entities("timer"))
            if timer.handle.is_timer_ready()  # not where it was cancelled
        ]
        guards = _of(self._guards, wait_set.get_ready_entities("guard_condition"))
        for guard in guards:
            guard._executor_triggered = True  # noqa: SLF001  waiting takes the trigger, and rclpy triggers it again
        others = bool(guards or wait_set.get_ready_entities("service") or wait_set.get_ready_entities("client"))
        plain = _without_coroutines(subscriptions), _without_coroutines(timers)
        others = others or len(plain[0]) < len(subscriptions) or len(plain[1]) < len(timers)
        return _Ready(*plain, others)

    def has_events(self) -> bool:
        """Whether a QoS event, or another of what rclpy calls waitables, is ready."""
        event_set = self._event_set
        event_set.clear_entities()
        for waitable in self._waitables:
            waitable.add_to_wait_set(event_set)
        event_set.wait(0)
        return any(waitable.is_ready(event_set) for waitable in self._waitables)

    def _hold(self, entities: Iterable[Any], handle: Callable[[Any], Any] = lambda one: one.handle) -> list[Any]:
        held = []
        for entity in entities:
            with suppress(rclpy_implementation.InvalidHandle):  # destroyed meanwhile
                self._held.enter_context(handle(entity))
                held.append(entity)
        return held

    def _make(self, counts: NumberOfEntities) -> Any:
        return rclpy_implementation.WaitSet(
            counts.num_subscriptions, counts.num_guard_conditions, counts.num_timers, counts.num_clients,
            counts.num_services, counts.num_events, self._context,
        )  # fmt: skip


def _of(entities: list[Any], pointers: Iterable[int]) -> list[Any]:
    ready = set(pointers)
    return [one for one in entities if one.handle.pointer in ready] if ready else []


def _without_coroutines(entities: list[Any]) -> list[Any]:
    return [one for one in entities if not inspect.iscoroutinefunction(one.callback)]


def _run(execute: Callable[[], Any] | None) -> None:
    """Run what rclpy made of an entity: a coroutine that waits for nothing. None: another callback destroyed it."""
    if execute is not None:
        with suppress(StopIteration):
            execute().send(None)


def make_executor(frame_in_work: Callable[[], bool] = lambda: False) -> SingleThreadedExecutor:
    """A `FrameExecutor`; rclpy's own where that is asked for, or where it is not laid out as is known here.

    Args:
        frame_in_work: see `FrameExecutor`.
    """
    if os.environ.get(SWITCH) == "rclpy" or not works_here():
        return SingleThreadedExecutor()
    return FrameExecutor(frame_in_work)


@cache
def works_here() -> bool:
    """Whether this rclpy has what `FrameExecutor` uses of it beside what it documents."""
    waits = ("clear_entities", "wait", "get_ready_entities", "add_subscription", "add_guard_condition")
    if not all(hasattr(getattr(rclpy_implementation, "WaitSet", None), name) for name in waits):
        return False
    if hasattr(SingleThreadedExecutor, "_execute_subscription"):  # up to Iron, where taking gives something else
        return False
    plain = SingleThreadedExecutor()
    try:
        return all(hasattr(plain, name) for name in _INSIDE)
    finally:
        plain.shutdown()
