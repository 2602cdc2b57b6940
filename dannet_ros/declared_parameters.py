"""The parameter table declared on the node: what is wrong with what was given, and which changes are taken when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.parameter import Parameter

from dannet_core.classes import CLASS_NAMES
from dannet_core.errors import SettingsError
from dannet_ros.parameters import (
    CLASS_NAMES_PARAMETER,
    NodeParameters,
    descriptor,
    refused_live,
    specs,
    unknown_parameter,
)
from dannet_ros.qos_overrides import unused_override


class DeclaredParameters:
    """Parameters of one node. Wrong overrides do not stop its construction: `refusal` tells configure about them."""

    def __init__(
        self,
        node: Any,
        is_configured: Callable[[], bool],
        live_problem: Callable[[str, Any], str | None],
        apply: Callable[[dict[str, Any]], None],
    ) -> None:
        """Declare the table.

        Args:
            node: a node whose overrides were given to its constructor.
            is_configured: whether parameters that are not live have to wait.
            live_problem: why a change is refused by what is running; None = it is not.
            apply: takes the live values that were changed.
        """
        self._node = node
        self._is_configured = is_configured
        self._live_problem = live_problem
        self._apply = apply
        self._problems = self._declare()
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._changed)

    def refusal(self) -> str:
        """Why configure must not go on, one line; empty when it may."""
        problem = next(iter(self._problems.values()), None) or self.values().problem()
        if problem is not None:
            return problem
        try:
            self.values().inference_settings()
        except SettingsError as error:
            return f"parameter {error}"
        return ""

    def unused_override(self) -> str:
        """Which QoS override nothing has taken, once all topics are made; empty when there is none."""
        return unused_override(self._node) or ""

    def values(self) -> NodeParameters:
        """All values now."""
        values: dict[str, Any] = {name: self._node.get_parameter(name).value for name in specs()}
        return NodeParameters(**_hashable(values))

    def set_class_names(self, names: tuple[str, ...]) -> None:
        """Show the opened model's classes."""
        about = self._node.describe_parameter(CLASS_NAMES_PARAMETER)
        about.read_only = False  # rclpy refuses the node itself too
        try:
            result = self._node.set_parameters([Parameter(CLASS_NAMES_PARAMETER, value=list(names))])[0]
        finally:
            about.read_only = True
        assert result.successful, result.reason

    def _declare(self) -> dict[str, str]:
        """A wrong override is kept as a problem, and the default stands in."""
        node, problems = self._node, {}
        overrides = node._parameter_overrides  # noqa: SLF001  no public way to look at one before it is declared
        for spec in specs().values():
            override = overrides.get(spec.name)
            problem = None if override is None else spec.problem(override.value)
            if problem is not None:
                problems[spec.name] = problem
            default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
            node.declare_parameter(spec.name, default, descriptor(spec), ignore_override=problem is not None)
        about = ParameterDescriptor(
            description="Class names by train id, of the model once it is configured.",
            additional_constraints="it follows from the model",
            read_only=True,
        )
        node.declare_parameter(CLASS_NAMES_PARAMETER, list(CLASS_NAMES), about, ignore_override=True)
        if CLASS_NAMES_PARAMETER in overrides:
            problems[CLASS_NAMES_PARAMETER] = _READ_ONLY
        unknown = unknown_parameter(overrides, node._parameters)  # noqa: SLF001  rclpy's own are known too
        return problems if unknown is None else {"": unknown, **problems}

    def _check(self, parameters: list[Any]) -> Any:
        for parameter in parameters:
            problem = self._problem(parameter.name, parameter.value)
            if problem is not None:
                return SetParametersResult(successful=False, reason=problem)
        return SetParametersResult(successful=True)

    def _problem(self, name: str, value: Any) -> str | None:
        spec = specs().get(name)
        problem = None if spec is None else spec.problem(value)
        if spec is None or problem is not None or not self._is_configured():
            return problem
        return self._live_problem(name, value) if spec.live else refused_live(spec)

    def _changed(self, parameters: list[Any]) -> None:
        for parameter in parameters:
            self._problems.pop(parameter.name, None)
        changes = {p.name: p.value for p in parameters if p.name in specs() and specs()[p.name].live}
        self._apply(_hashable(changes))


def _hashable(values: dict[str, Any]) -> dict[str, Any]:
    """ROS gives lists; the table holds tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


_READ_ONLY = f"parameter {CLASS_NAMES_PARAMETER}: read-only: it follows from the model"
