"""The lifecycle node: connects topics, parameters and transitions to a session."""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from dannet_ros.camera_input import CameraInput, InputFacts, image_topic
from dannet_ros.declared_parameters import DeclaredParameters
from dannet_ros.diagnostics import Diagnostics, Health
from dannet_ros.model_fit import misfit
from dannet_ros.realtime import RealtimePriority
from dannet_ros.session import Session
from dannet_ros.watchdog import PERIOD_S, Watchdog

NODE_NAME: Final = "night_seg"
_Transition = Callable[["NightSegNode", LifecycleState], Any]


def _named_errors(transition: _Transition) -> _Transition:
    """Rclpy swallows what a transition raises and goes to on_error without a word: say it first."""

    @functools.wraps(transition)
    def saying(node: NightSegNode, state: LifecycleState) -> Any:
        try:
            return transition(node, state)
        except Exception as error:  # noqa: BLE001  whatever it is, on_error gives everything back
            node.failure = f"{transition.__name__}: {type(error).__name__}: {' '.join(str(error).split())}"
            node.get_logger().error(node.failure)
            return TransitionCallbackReturn.ERROR

    return saying


class NightSegNode(LifecycleNode):  # type: ignore[misc]  # rclpy is untyped
    """`night_seg`: subscribes a camera topic, publishes labels.

    Transitions, callbacks and timers run in the executor thread; the session's worker thread owns the model and
    publishes.

    Attributes:
        stopping: set it to make a configure that waits for its model give up.
        failure: why the last configure failed, or the model was closed, one line; empty when it did not.
        quiet: leave reporting `failure` to the caller instead of logging it.
        hung: a worker thread was left behind in a driver call; only ending the process gets rid of it.
        gave_up: the worker hangs for good, the GPU is lost, or the model cannot be opened again: only a new process
            may help.
        on_model_changed: called when a model has been opened, and when it has been closed; its topics with it.
    """

    def __init__(self, stopping: threading.Event | None = None, **node_arguments: Any) -> None:
        super().__init__(NODE_NAME, **node_arguments)
        self.stopping = stopping or threading.Event()
        self.failure = ""
        self.quiet = False
        self.hung = False
        self.gave_up = False
        self.on_model_changed: Callable[[], None] = lambda: None
        self._session: Session | None = None
        self._input: CameraInput | None = None
        self._priority = RealtimePriority()
        self._active = False
        self._breakdown = ""
        self._clock_jumps = 0
        self._reported_at_s = 0.0
        self._parameters_given = DeclaredParameters(
            self, lambda: self._session is not None, self._live_problem, self._apply
        )
        self._diagnostics = Diagnostics(self, self._health)
        self._watchdog = Watchdog(self.get_logger(), self._busy_s, self._hang_s, self._diagnostics.report)
        # By the steady clock: with use_sim_time and no /clock the node's own stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(1.0, self._on_period, clock=steady)
        self.create_timer(PERIOD_S, self._watch, clock=steady)
        backward = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False)
        self._jump_handle = self.get_clock().create_jump_callback(backward, post_callback=self._on_clock_jump)

    @property
    def counts(self) -> dict[str, int]:
        """Frames by outcome since configure, ``received`` included; empty while unconfigured."""
        session = self._session
        return {} if session is None else session.counts | {"received": session.received}

    @property
    def frame_in_work(self) -> bool:
        """Whether a frame is waiting, in work or being published."""
        return self._session is not None and self._session.frame_in_work

    def autostart(self) -> bool:
        """Configure and activate; False with `failure` set, and nothing logged, when that does not work."""
        self.quiet = True
        try:
            transitions = (self.trigger_configure, self.trigger_activate)
            return all(transition() == TransitionCallbackReturn.SUCCESS for transition in transitions)
        finally:
            self.quiet = False

    def stop(self) -> None:
        """Shut down from whatever state, closing the model."""
        if self._state_machine.current_state[1] in ("unconfigured", "inactive", "active"):
            self.trigger_shutdown()

    def destroy_node(self) -> None:
        """Also give back what DDS holds for the node; 67 MB of /dev/shm with our Fast DDS profile outlived the process.

        rclpy's lifecycle nodes keep their state machine, and that keeps the node.
        """
        super().destroy_node()
        self.__dict__.pop("_state_machine", None)

    @_named_errors
    def on_configure(self, state: LifecycleState) -> Any:
        """Check the parameters, open the model in its worker thread, subscribe."""
        self.failure = self._parameters_given.refusal() or self._start()
        if self.failure:
            self._close_session()
            if not self.quiet:
                self.get_logger().error(f"cannot configure: {self.failure}")
            return TransitionCallbackReturn.FAILURE
        self._announce()
        self.on_model_changed()
        return super().on_configure(state)

    @_named_errors
    def on_activate(self, state: LifecycleState) -> Any:
        """Begin labelling."""
        result = super().on_activate(state)
        if self._session is not None and self._session.worker.facts is not None:
            self._session.last_received_s = time.monotonic()
            self._session.publishers.publish_classes(self._session.worker.facts.metadata.classes)
        self._active = True
        return result

    @_named_errors
    def on_deactivate(self, state: LifecycleState) -> Any:
        """Stop labelling: nothing is published after this returns."""
        self._active = False
        if self._breakdown:
            return TransitionCallbackReturn.ERROR
        if self._session is not None and not self._session.pause():
            self.get_logger().warning(f"the worker is still busy after {self._busy_s():.0f} s")
        return super().on_deactivate(state)

    @_named_errors
    def on_cleanup(self, state: LifecycleState) -> Any:
        """Close the model and give everything back."""
        self._close_session()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> Any:
        """As cleanup, from any state."""
        self._active = False
        self._close_session()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> Any:
        """Give everything back, so that configure works again: the node is unconfigured afterwards."""
        self._active = False
        self.failure = self._breakdown or self.failure or f"an error in a transition from {state.label}"
        try:
            self._close_session()
        except Exception as error:  # noqa: BLE001  another outcome than success would finalise the node
            self.get_logger().error(f"while giving everything back: {type(error).__name__}: {error}")
            self._session = self._input = None
        return TransitionCallbackReturn.SUCCESS

    def _start(self) -> str:
        """Returns why it failed; empty when it did not."""
        parameters = self._parameters_given.values()
        # rclpy keeps a weak reference to every entity there ever was: a few for each configure.
        group = self.default_callback_group
        group.entities = {reference for reference in group.entities if reference() is not None}
        try:
            self._timer.timer_period_ns = round(parameters.diagnostics_period_s * 1e9)
            # Before the model is opened: threads inherit it.
            if problem := self._priority.take(parameters.realtime_priority):
                return f"parameter realtime_priority: {problem}"
            self._session = Session(self, parameters)
            failure = self._session.open(self.stopping, self._while_opening)
            if not failure:
                session = self._session
                self._input = CameraInput(
                    self, parameters, self._on_image, self._on_camera_info, session.lost.add_reported
                )
                self._input.open()
                failure = self._parameters_given.unused_override()
        except Exception as error:  # noqa: BLE001  rclpy swallows what a transition raises: say it instead
            return f"{type(error).__name__}: {' '.join(str(error).split())}"
        return failure

    def _close_session(self) -> None:
        camera, self._input = self._input, None
        if camera is not None:
            camera.close()
        session, self._session = self._session, None
        if session is not None and not session.close():
            self.hung = True
            self.get_logger().error("the worker hangs in one frame and is left behind")
        self._priority.give_back()
        if session is not None:
            del session, camera  # else what they hold would outlive them
            self.on_model_changed()

    def _live_problem(self, name: str, value: Any) -> str | None:
        facts = None if self._session is None else self._session.worker.facts
        return None if facts is None else misfit(facts.metadata, name, value)

    def _apply(self, changes: dict[str, Any]) -> None:
        if self._session is not None:
            self._session.apply(dataclasses.replace(self._session.parameters, **changes))

    def _on_image(self, message: Any) -> None:
        if self._active and self._session is not None:
            self._session.receive(message)

    def _on_camera_info(self, message: Any) -> None:
        if self._active and self._session is not None:
            self._session.publishers.camera_info_came(message)

    def _on_clock_jump(self, _jump: Any) -> None:
        self._clock_jumps += 1
        if self._session is not None:
            self._session.order.forget()

    def _on_period(self) -> None:
        if self._input is not None:
            self._input.match()
        self._diagnostics.report()

    def _while_opening(self) -> None:
        """An engine may take an hour to build, and the executor waits for it: report from in here."""
        now_s = time.monotonic()
        if now_s - self._reported_at_s >= self.get_parameter("diagnostics_period_s").value:
            self._reported_at_s = now_s
            self._diagnostics.report()

    def _watch(self) -> None:
        self._watchdog.look()
        if self._input is not None and self._input.match_due:
            self._input.match()
        session = self._session
        if not self._active or session is None:
            return
        most, longest_s = session.parameters.max_failures, session.parameters.max_hang_s
        if session.lost_gpu:
            self._give_up(session.lost_gpu)
        elif 0 < most <= session.statistics.failures_in_a_row:
            self._recover(f"{most} frames in a row failed, the last: {session.statistics.last_problem}")
        elif 0 < longest_s < session.worker.busy_s:
            self._give_up(f"the worker hangs for more than max_hang_s, {longest_s:g} s")

    def _recover(self, breakdown: str) -> None:
        """Through on_error to unconfigured and, with autostart, back: a new model is a new driver context."""
        self.get_logger().error(f"{breakdown}: closing the model")
        self._breakdown = breakdown
        try:
            self.trigger_deactivate()
        finally:
            self._breakdown = ""
        self._diagnostics.report()
        if self.get_parameter("autostart").value and not self.autostart() and not self.stopping.is_set():
            self._give_up(f"cannot open the model again: {self.failure}")

    def _give_up(self, reason: str) -> None:
        if not self.gave_up:
            self.get_logger().fatal(reason)
        self.gave_up = True

    def _announce(self) -> None:
        facts = None if self._session is None else self._session.worker.facts
        if facts is not None:
            self._parameters_given.set_class_names(facts.metadata.class_names)
            trained = "" if facts.metadata.trained else ", NOT TRAINED (random weights)"
            topic = self._input_facts().topic
            runs = f"{facts.backend}, {facts.why}" if facts.why else facts.backend
            for output, reason in facts.metadata.absent.items():
                self.get_logger().info(f"no topic ~/{output}: {reason}")
            self.get_logger().info(f"{facts.metadata.arch} on {facts.device} ({runs}){trained}, input {topic}")

    def _busy_s(self) -> float:
        return 0.0 if self._session is None else self._session.worker.busy_s

    def _hang_s(self) -> float:
        return float(self.get_parameter("hang_ms").value) / 1e3

    def _clock_stands(self) -> bool:
        return bool(self.get_parameter("use_sim_time").value) and self.get_clock().now().nanoseconds == 0

    def _input_facts(self) -> InputFacts:
        if self._input is not None:
            return self._input.facts()
        return InputFacts(image_topic(self, self.get_parameter("image_transport").value))

    def _health(self) -> Health:
        session, now_s = self._session, time.monotonic()
        state, limits = self._state_machine.current_state[1], self._parameters_given.values()
        # A node without a session has nothing to count; the rest of its health is known all the same.
        unopened = Health(
            state=state,
            failure=self.failure,
            opening_s=0.0,
            opening="",
            input=self._input_facts(),
            received=0,
            counts={},
            in_work=0,
            silence_s=0.0,
            lost=0,
            lost_ago_s=None,
            repeated=0,
            time_jumps=self._clock_jumps,
            clock_stands=self._clock_stands(),
            busy_s=0.0,
            spreads={},
            limits=limits,
            last_problem="",
            intensity=None,
            changed_share=None,
            model=limits.model,
            model_file_problem="",
            facts=None,
        )
        return unopened if session is None else session.health(unopened, now_s)
