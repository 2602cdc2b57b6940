"""The lifecycle node: connects topics, parameters and transitions to a session."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any, Final

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dannet_core.classes import reweighting_vector
from dannet_core.errors import SettingsError
from dannet_ros.diagnostics import Diagnostics, Health
from dannet_ros.parameters import NodeParameters, descriptor, refused_live, specs, unknown_parameter
from dannet_ros.session import Session

NODE_NAME: Final = "night_seg"
CAMERA_INFO_QOS: Final = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


class NightSegNode(LifecycleNode):  # type: ignore[misc]  # rclpy is untyped
    """`night_seg`: subscribes a camera topic, publishes labels.

    Transitions, callbacks and the diagnostics timer run in the executor thread; the session's worker thread owns the
    model and publishes.

    Attributes:
        stopping: set it to make a configure that waits for its model give up.
        failure: why the last configure failed, one line; empty when it did not.
        quiet: leave reporting `failure` to the caller instead of logging it.
        hung: a worker thread was left behind in a driver call; only ending the process gets rid of it.
    """

    def __init__(self, stopping: threading.Event | None = None, **node_arguments: Any) -> None:
        super().__init__(NODE_NAME, **node_arguments)
        self.stopping = stopping or threading.Event()
        self.failure = ""
        self.quiet = False
        self.hung = False
        self._problems = self._declare_parameters()
        self._session: Session | None = None
        self._inputs: list[Any] = []
        self._active = False
        self._incompatible_qos = ""
        self._diagnostics = Diagnostics(self, self._health)
        # By the steady clock: with use_sim_time and no /clock the node's own stands still.
        self._timer = self.create_timer(1.0, self._diagnostics.report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)

    @property
    def counts(self) -> dict[str, int]:
        """Frames by outcome since configure, ``received`` included; empty while unconfigured."""
        session = self._session
        return {} if session is None else session.counts | {"received": session.mailbox.received}

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

    def on_configure(self, state: LifecycleState) -> Any:
        """Check the parameters, open the model in its worker thread, subscribe."""
        self.failure = self._refusal() or self._start(self._values())
        if self.failure:
            self._close_session()
            if not self.quiet:
                self.get_logger().error(f"cannot configure: {self.failure}")
            return TransitionCallbackReturn.FAILURE
        self._announce()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> Any:
        """Begin labelling."""
        result = super().on_activate(state)
        if self._session is not None and self._session.worker.facts is not None:
            self._session.last_received_s = time.monotonic()
            self._session.publishers.publish_label_info(self._session.worker.facts.metadata.class_names)
        self._active = True
        return result

    def on_deactivate(self, state: LifecycleState) -> Any:
        """Stop labelling: nothing is published after this returns."""
        self._active = False
        if self._session is not None and not self._session.pause():
            self.get_logger().warning(f"the worker is still busy after {self._session.worker.busy_s:.0f} s")
        return super().on_deactivate(state)

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
        """Give everything back, so that configure works again."""
        self._active = False
        self._close_session()
        return super().on_error(state)

    def _declare_parameters(self) -> dict[str, str]:
        """Declare the table; a wrong override is kept as a problem for configure, and the default stands in."""
        problems: dict[str, str] = {}
        for spec in specs().values():
            override = self._parameter_overrides.get(spec.name)
            problem = None if override is None else spec.problem(override.value)
            if problem is not None:
                problems[spec.name] = problem
            self.declare_parameter(spec.name, spec.default, descriptor(spec), ignore_override=problem is not None)
        unknown = unknown_parameter(self._parameter_overrides, self._parameters)
        return problems if unknown is None else {"": unknown, **problems}

    def _refusal(self) -> str:
        problem = next(iter(self._problems.values()), None) or self._values().problem()
        if problem is not None:
            return problem
        try:
            self._values().inference_settings()
        except SettingsError as error:
            return f"parameter {error}"
        return ""

    def _values(self) -> NodeParameters:
        return NodeParameters(**{name: self.get_parameter(name).value for name in specs()})

    def _check_parameters(self, parameters: list[Any]) -> Any:
        known = [(specs()[p.name], p.value) for p in parameters if p.name in specs()]
        for spec, value in known:
            problem = spec.problem(value)
            if problem is None and self._session is not None:
                problem = self._live_problem(spec.name, value) if spec.live else refused_live(spec)
            if problem is not None:
                return SetParametersResult(successful=False, reason=problem)
        return SetParametersResult(successful=True)

    def _live_problem(self, name: str, value: Any) -> str | None:
        facts = None if self._session is None else self._session.worker.facts
        if name == "reweight_std" and facts is not None:
            try:
                reweighting_vector(facts.metadata.class_shares, value)
            except SettingsError as error:
                return f"parameter {error}"
        return None

    def _apply_parameters(self, parameters: list[Any]) -> None:
        for parameter in parameters:
            self._problems.pop(parameter.name, None)
        if self._session is not None:
            live = {p.name: p.value for p in parameters if p.name in specs() and specs()[p.name].live}
            self._session.apply(dataclasses.replace(self._session.parameters, **live))

    def _start(self, parameters: NodeParameters) -> str:
        """Returns why it failed; empty when it did not."""
        try:
            self._timer.timer_period_ns = round(parameters.diagnostics_period_s * 1e9)
            self._session = Session(self, parameters)
            failure = self._session.open(self.stopping)
            if not failure:
                self._subscribe(parameters)
        except Exception as error:  # noqa: BLE001  rclpy swallows what a transition raises: say it instead
            return f"{type(error).__name__}: {' '.join(str(error).split())}"
        return failure

    def _close_session(self) -> None:
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs.clear()
        session, self._session = self._session, None
        if session is not None and not session.close():
            self.hung = True
            self.get_logger().error("the worker hangs in one frame and is left behind")

    def _subscribe(self, wanted: NodeParameters) -> None:
        qos = QoSProfile(depth=wanted.input_depth, reliability=ReliabilityPolicy[wanted.input_reliability.upper()])
        self._incompatible_qos = ""
        self._inputs = [
            self._subscribe_image(CompressedImage if wanted.image_transport == "compressed" else Image, qos),
            self.create_subscription(CameraInfo, "camera_info", self._on_camera_info, CAMERA_INFO_QOS),
        ]

    def _subscribe_image(self, kind: Any, qos: QoSProfile) -> Any:
        topic, callbacks = self._image_topic(), {"incompatible_qos": self._on_incompatible_qos}
        try:
            events = SubscriptionEventCallbacks(message_lost=self._on_message_lost, **callbacks)
            return self.create_subscription(kind, topic, self._on_image, qos, event_callbacks=events)
        except UnsupportedEventTypeError:  # not every middleware counts lost messages
            events = SubscriptionEventCallbacks(**callbacks)
            return self.create_subscription(kind, topic, self._on_image, qos, event_callbacks=events)

    def _image_topic(self) -> str:
        """The resolved topic; remapping ``image`` carries its compressed sibling along, as image_transport does."""
        base = str(self.resolve_topic_name("image"))
        compressed = self.get_parameter("image_transport").value == "compressed"
        return str(self.resolve_topic_name(f"{base}/compressed")) if compressed else base

    def _on_image(self, message: Any) -> None:
        if self._active and self._session is not None:
            self._session.receive(message)

    def _on_camera_info(self, message: Any) -> None:
        if self._active and self._session is not None:
            self._session.publishers.remember_camera_info(message)

    def _on_message_lost(self, event: Any) -> None:
        if self._active and self._session is not None:
            self._session.lost.add_reported(event.total_count_change)

    def _on_incompatible_qos(self, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        self._incompatible_qos = f"{policy} (see input_reliability)" if policy == "RELIABILITY" else policy
        self.get_logger().warning(
            f"a publisher on {self._image_topic()} has an incompatible QoS: {self._incompatible_qos}"
        )

    def _announce(self) -> None:
        facts = None if self._session is None else self._session.worker.facts
        if facts is not None:
            trained = "" if facts.metadata.trained else ", NOT TRAINED (random weights)"
            self.get_logger().info(
                f"{facts.metadata.arch} on {facts.device} ({facts.backend}){trained}, input {self._image_topic()}"
            )

    def _health(self) -> Health:
        session, topic = self._session, self._image_topic()
        lost_at_s = None if session is None else session.lost.last_lost_at_s
        counts = {} if session is None else session.counts
        received = 0 if session is None else session.mailbox.received
        now_s = time.monotonic()
        return Health(
            state=self._state_machine.current_state[1],
            failure=self.failure,
            topic=topic,
            publishers=self.count_publishers(topic),
            incompatible_qos=self._incompatible_qos,
            received=received,
            counts=counts,
            in_work=received - sum(counts.values()),
            silence_s=0.0 if session is None else now_s - session.last_received_s,
            lost=0 if session is None else session.lost.lost,
            lost_ago_s=None if lost_at_s is None else now_s - lost_at_s,
            busy_s=0.0 if session is None else session.worker.busy_s,
            spreads={} if session is None else session.statistics.spreads(),
            slow_frame_ms=self.get_parameter("slow_frame_ms").value,
            last_problem="" if session is None else session.statistics.last_problem,
            model=self.get_parameter("model").value,
            facts=None if session is None else session.worker.facts,
        )
