"""The camera's topics: subscriptions whose QoS follows the publisher's, and why nothing is heard when nothing is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.qos import (
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dannet_ros.parameters import NodeParameters
from dannet_ros.qos_overrides import is_overridden, overriding_options
from dannet_ros.taken_image import take_directly

IMAGE_TYPE: Final = "sensor_msgs/msg/Image"
COMPRESSED_TYPE: Final = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO_DEPTH: Final = 5
_OTHERS_SHOWN: Final = 3
_COMPRESSED: Final = "/compressed"


class InputFacts(NamedTuple):
    """The image topic at one moment.

    Attributes:
        topic: resolved name.
        publishers: how many publish on it.
        reliability: of our subscription; empty while there is none.
        problem: why a publisher cannot be heard, and which; empty = none.
        others: topics that do carry pictures of the wanted kind, a few of them, where this one has no publisher.
        meant: what ``image`` has to be remapped to for the only one of them; empty = several, or none.
    """

    topic: str
    publishers: int = 0
    reliability: str = ""
    problem: str = ""
    others: tuple[str, ...] = ()
    meant: str = ""


class CameraInput:
    """The two subscriptions of one configured node; for the executor thread."""

    def __init__(
        self,
        node: Any,
        parameters: NodeParameters,
        on_image: Callable[[Any], None],
        on_camera_info: Callable[[Any], None],
        on_lost: Callable[[int], None],
    ) -> None:
        self._node = node
        self._kind = CompressedImage if parameters.image_transport == "compressed" else Image
        self._type = COMPRESSED_TYPE if parameters.image_transport == "compressed" else IMAGE_TYPE
        self._topic = image_topic(node, parameters.image_transport)
        self._depth = parameters.input_depth
        self._on_image = on_image
        self._on_camera_info = on_camera_info
        self._on_lost = on_lost
        fixed = is_overridden(node, self._topic, "subscription", QoSPolicyKind.RELIABILITY)
        self._follows = parameters.input_reliability == "auto" and not fixed
        self._wanted = (
            ReliabilityPolicy.BEST_EFFORT
            if parameters.input_reliability == "auto"
            else ReliabilityPolicy[parameters.input_reliability.upper()]
        )
        self._images: Any = None
        self._infos: Any = None
        self._match_due = True

    def open(self) -> None:
        """Subscribe; whatever this raises, `close` gives back what was made."""
        self.match()
        qos = QoSProfile(depth=CAMERA_INFO_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._infos = self._subscribe(CameraInfo, "camera_info", self._on_camera_info, qos)

    @property
    def match_due(self) -> bool:
        """The middleware said that a publisher does not match: `match` should not wait for its next turn."""
        return self._match_due

    def match(self) -> None:
        """Subscribe as the publishers offer: reliable where all of them are, else best effort, which hears them all.

        Without a publisher, or where the reliability is given, the subscription stays as it is.
        """
        self._match_due = False
        offered = [info.qos_profile.reliability for info in self._publishers() if info.topic_type == self._type]
        if self._follows and offered:
            reliable = all(policy == ReliabilityPolicy.RELIABLE for policy in offered)
            self._wanted = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        if self._images is not None:
            if not self._follows or self._images.qos_profile.reliability == self._wanted:
                return
            old, self._images = self._images, None
            self._node.destroy_subscription(old)
        qos = QoSProfile(depth=self._depth, reliability=self._wanted)
        self._images = self._subscribe(self._kind, self._topic, self._on_image, qos)
        if self._kind is Image:
            take_directly(self._images)

    def facts(self) -> InputFacts:
        """What can be said about the image topic now."""
        publishers = self._publishers()
        problems = [problem for info in publishers if (problem := self._problem(info))]
        others = () if publishers else self._others()
        return InputFacts(
            topic=self._topic,
            publishers=len(publishers),
            reliability=self._images.qos_profile.reliability.name.lower(),
            problem="; ".join(problems[:_OTHERS_SHOWN]),
            others=others,
            meant=self._meant(others),
        )

    def close(self) -> None:
        """Give the subscriptions back."""
        for subscription in (self._images, self._infos):
            if subscription is not None:
                self._node.destroy_subscription(subscription)
        self._images = self._infos = None

    def _publishers(self) -> list[Any]:
        return list(self._node.get_publishers_info_by_topic(self._topic))

    def _problem(self, info: Any) -> str:
        known = "UNKNOWN" not in info.node_name  # the name may be discovered a moment after the publisher
        who = f"{info.node_namespace.rstrip('/')}/{info.node_name}" if known else "a publisher"
        if info.topic_type != self._type:
            return f"{who} publishes {info.topic_type}, expected {self._type} (see image_transport){self._remedy(info)}"
        compatibility, reason = qos_check_compatible(info.qos_profile, self._images.qos_profile)
        if compatibility != QoSCompatibility.ERROR:
            return ""
        hint = " (see input_reliability)" if "best effort" in reason.lower() else ""
        return f"the QoS of {who} is incompatible: {reason.removeprefix('ERROR: ').rstrip('; ')}{hint}"

    def _remedy(self, info: Any) -> str:
        """What to write so that a publisher of the other kind of picture is heard."""
        if info.topic_type == COMPRESSED_TYPE and self._topic.endswith(_COMPRESSED):
            return f": write image_transport:=compressed and image:={self._topic.removesuffix(_COMPRESSED)}"
        if info.topic_type == IMAGE_TYPE:
            return f": write image_transport:=raw and image:={self._topic}"
        return ""

    def _meant(self, others: tuple[str, ...]) -> str:
        """What ``image`` has to be for the one topic that carries pictures; empty where there are several, or none."""
        if len(others) != 1:
            return ""
        if self._type == IMAGE_TYPE:
            return others[0]
        return others[0].removesuffix(_COMPRESSED) if others[0].endswith(_COMPRESSED) else ""

    def _others(self) -> tuple[str, ...]:
        own = f"{self._node.get_fully_qualified_name()}/"
        topics = [name for name, types in self._node.get_topic_names_and_types() if self._type in types]
        others = [name for name in topics if name != self._topic and not name.startswith(own)]
        return tuple(name for name in others if self._node.count_publishers(name))[:_OTHERS_SHOWN]

    def _subscribe(self, kind: Any, topic: str, take: Callable[[Any], None], qos: QoSProfile) -> Any:
        options = overriding_options(self._node, topic, "subscription")
        create = partial(self._node.create_subscription, kind, topic, take, qos, qos_overriding_options=options)
        images: dict[str, Any] = {} if kind is CameraInfo else {"incompatible_qos": self._on_incompatible_qos}
        try:
            lost = None if kind is CameraInfo else self._on_message_lost
            return create(event_callbacks=SubscriptionEventCallbacks(message_lost=lost, **images))
        except UnsupportedEventTypeError:  # not every middleware counts lost messages
            return create(event_callbacks=SubscriptionEventCallbacks(**images))

    def _on_message_lost(self, event: Any) -> None:
        self._on_lost(event.total_count_change)

    def _on_incompatible_qos(self, event: Any) -> None:
        # Destroying a subscription in its own callback is asking for trouble: leave it to the timer.
        self._match_due = True
        if not self._follows:
            policy = qos_policy_name_from_kind(event.last_policy_kind)
            self._node.get_logger().warning(f"a publisher on {self._topic} has an incompatible QoS: {policy}")


def image_topic(node: Any, transport: str) -> str:
    """The resolved topic; remapping ``image`` carries its compressed sibling along, as image_transport does."""
    base = str(node.resolve_topic_name("image"))
    return str(node.resolve_topic_name(f"{base}/compressed")) if transport == "compressed" else base
