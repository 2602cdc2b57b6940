"""An executor that takes messages without rclpy's way round.

Whenever anything comes, rclpy's own looks at every entity of the node in Python, twice a message: 2 ms in which it
holds the lock that the frame in work needs. Here all of them are waited for as well, but what they are is remembered,
and a message goes to its callback at once. Timers, services and QoS events are left to rclpy's executor.
"""

from __future__ import annotations

import inspect
import os
from contextlib import ExitStack, suppress
from functools import cache
from typing import Any, Final

from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor, TimeoutException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.subscription import Subscription
from rclpy.waitable import NumberOfEntities

SWITCH: Final = "DANNET_EXECUTOR"
"""Environment variable: ``rclpy`` keeps to rclpy's executor, e.g. to compare with."""
_RARER: Final = ("timer", "service", "client")
_INSIDE: Final = ("_guard", "_sigint_gc", "_context", "_is_shutdown")


class FrameExecutor(SingleThreadedExecutor):  # type: ignore[misc]  # rclpy has no types everywhere
    """Like rclpy's SingleThreadedExecutor, for a node whose messages matter most."""

    def __init__(self, *, context: Any = None) -> None:
        """Wait for nothing yet; ``context``: rclpy's, None = the default one."""
        self._entities: _Entities | None = None
        super().__init__(context=context)

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for something to do, and do what is ready.

        Args:
            timeout_sec: longest wait, seconds; None = without end.

        Raises:
            ExternalShutdownException: the ROS context has ended.
        """
        if self._is_shutdown:
            return
        entities = self._entities
        if entities is None:
            entities = self._entities = _Entities(self.get_nodes(), (self._guard, self._sigint_gc), self._context)
        messages, others = entities.wait(-1 if timeout_sec is None else int(timeout_sec * 1e9))
        if not self._context.ok():
            raise ExternalShutdownException
        for subscription in messages:
            _hand_over(subscription)
        if others:
            self._serve_others()

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
        self._entities = None

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

    def __init__(self, nodes: list[Any], wakers: tuple[Any, ...], context: Any) -> None:
        self._held = ExitStack()
        self._context = context
        self._wakers = [guard for guard in wakers if guard]
        self._subscriptions = self._hold(one for node in nodes for one in node.subscriptions)
        self._timers = self._hold(one for node in nodes for one in node.timers)
        self._clients = self._hold(one for node in nodes for one in node.clients)
        self._services = self._hold(one for node in nodes for one in node.services)
        self._guards = self._hold(one for node in nodes for one in node.guards)
        self._waitables = self._hold((one for node in nodes for one in node.waitables), lambda one: one)
        self._wait_set = self._make()

    def __del__(self) -> None:
        self._held.close()

    def wait(self, timeout_ns: int) -> tuple[list[Any], bool]:
        """Subscriptions that have a message, and whether anything else is ready."""
        wait_set = self._wait_set
        self._fill(wait_set)
        wait_set.wait(timeout_ns)
        ready = set(wait_set.get_ready_entities("subscription"))
        messages = [one for one in self._subscriptions if one.handle.pointer in ready]
        plain = [one for one in messages if not inspect.iscoroutinefunction(one.callback)]
        others = len(plain) < len(messages) or any(wait_set.get_ready_entities(kind) for kind in _RARER)
        # Always asked: a guard's trigger is taken by waiting.
        others = self._mark_guards(set(wait_set.get_ready_entities("guard_condition"))) or others
        return plain, others or any(waitable.is_ready(wait_set) for waitable in self._waitables)

    def _mark_guards(self, ready: set[int]) -> bool:
        marked = False
        for guard in self._guards:
            if guard.handle.pointer in ready:
                guard._executor_triggered = marked = True  # noqa: SLF001  rclpy triggers it again
        return marked

    def _hold(self, entities: Any, handle: Any = lambda one: one.handle) -> list[Any]:
        held = []
        for entity in entities:
            with suppress(rclpy_implementation.InvalidHandle):  # destroyed meanwhile
                self._held.enter_context(handle(entity))
                held.append(entity)
        return held

    def _make(self) -> Any:
        counts = NumberOfEntities(
            len(self._subscriptions), len(self._guards) + len(self._wakers), len(self._timers), len(self._clients),
            len(self._services),
        )  # fmt: skip
        for waitable in self._waitables:
            counts += waitable.get_num_entities()
        self._held.enter_context(self._context.handle)
        return rclpy_implementation.WaitSet(
            counts.num_subscriptions, counts.num_guard_conditions, counts.num_timers, counts.num_clients,
            counts.num_services, counts.num_events, self._context.handle,
        )  # fmt: skip

    def _fill(self, wait_set: Any) -> None:
        wait_set.clear_entities()
        for add, entities in (
            (wait_set.add_subscription, self._subscriptions),
            (wait_set.add_timer, self._timers),
            (wait_set.add_client, self._clients),
            (wait_set.add_service, self._services),
            (wait_set.add_guard_condition, self._guards),
            (wait_set.add_guard_condition, self._wakers),
        ):
            for entity in entities:
                add(entity.handle)
        for waitable in self._waitables:
            waitable.add_to_wait_set(wait_set)


def _hand_over(subscription: Any) -> None:
    """One message to its callback."""
    taken = None
    with suppress(rclpy_implementation.InvalidHandle), subscription.handle:  # an earlier callback destroyed it
        taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
    if taken is not None:
        alone = subscription._callback_type is Subscription.CallbackType.MessageOnly  # noqa: SLF001
        subscription.callback(*(taken[:1] if alone else taken))


def make_executor() -> SingleThreadedExecutor:
    """A `FrameExecutor`; rclpy's own where that is asked for, or where it is not laid out as is known here."""
    if os.environ.get(SWITCH) == "rclpy" or not works_here():
        return SingleThreadedExecutor()
    return FrameExecutor()


@cache
def works_here() -> bool:
    """Whether this rclpy has what `FrameExecutor` uses of it beside what it documents."""
    waits = ("clear_entities", "wait", "get_ready_entities", "add_subscription", "add_guard_condition")
    if not all(hasattr(getattr(rclpy_implementation, "WaitSet", None), name) for name in waits):
        return False
    plain = SingleThreadedExecutor()
    try:
        return hasattr(Subscription, "CallbackType") and all(hasattr(plain, name) for name in _INSIDE)
    finally:
        plain.shutdown()
