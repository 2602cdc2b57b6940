"""Standard ``qos_overrides.TOPIC.ENTITY.POLICY`` parameters: taken where given, refused where nothing takes them."""

from __future__ import annotations

from typing import Any, Final, Literal

from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

PREFIX: Final = "qos_overrides."
_INVALID: Final = QoSPolicyKind.INVALID

Entity = Literal["publisher", "subscription"]


def is_overridden(node: Any, topic: str, entity: Entity, policy: QoSPolicyKind) -> bool:
    """Whether the user gave this policy for this topic, a resolved name."""
    return f"{PREFIX}{topic}.{entity}.{policy.name.lower()}" in node._parameter_overrides  # noqa: SLF001  no public way


def overriding_options(node: Any, topic: str, entity: Entity) -> QoSOverridingOptions:
    """Only the policies that are given: rclpy declares them read-only, so a default would outlive its configure."""
    topic = str(node.resolve_topic_name(topic))
    given = [kind for kind in QoSPolicyKind if kind != _INVALID and is_overridden(node, topic, entity, kind)]
    return QoSOverridingOptions(given)


def unused_override(node: Any) -> str | None:
    """One line about an override that no topic has taken, once all topics are made; None when there is none."""
    for name in sorted(node._parameter_overrides):  # noqa: SLF001  no public way
        if name.startswith(PREFIX) and not node.has_parameter(name):
            return (
                f"parameter {name}: no such topic, entity or policy here: expected "
                f"{PREFIX}/RESOLVED/TOPIC.subscription|publisher.history|depth|reliability|durability"
            )
    return None
