"""What the node publishes: computed only while somebody listens, always under the input's own header."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from copy import copy
from typing import Any, Final

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float32, Float32MultiArray, Header, MultiArrayDimension

from dannet_core.class_set import ClassSet
from dannet_ros.camera_infos import CameraInfos
from dannet_ros.conversions import to_image
from dannet_ros.frame_statistics import STAGES
from dannet_ros.legend import legend
from dannet_ros.outgoing import OUTPUTS, Outgoing, Picture
from dannet_ros.qos_overrides import overriding_options

OUTPUT_DEPTH: Final = 2
OUTPUT_QOS: Final = QoSProfile(depth=OUTPUT_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
"""Reliable, because a reliable publisher serves both kinds of subscriber and RViz asks for reliable by default; two
deep, because a label image is worth nothing once the next two exist."""
LATCHED_QOS: Final = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


class Publishers:
    """The lifecycle publishers of one configured node.

    `wanted` and `next_outgoing` are for the worker thread, `publish` and what follows it for the publishing one.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._made: list[Any] = []
        self._outgoing = deque((Outgoing(), Outgoing()))
        self._infos = CameraInfos()
        try:
            self._images = {name: self._create(Image, name, OUTPUT_QOS) for name in OUTPUTS}
            self._camera_info = self._create(CameraInfo, "camera_info", OUTPUT_QOS)
            self._latency = self._create(Float32, "latency_ms", OUTPUT_QOS)
            self._stages = self._create(Float32MultiArray, "stage_latency_ms", OUTPUT_QOS)
            self._legend = self._create(Image, "legend", LATCHED_QOS)
            self._label_info = self._create_label_info()
        except Exception:
            self.destroy()
            raise

    def withdraw(self, outputs: Iterable[str]) -> None:
        """Take back the topics of image outputs that the model cannot give; before the first frame."""
        for name in outputs:
            publisher = self._images.pop(name)
            self._made.remove(publisher)
            self._node.destroy_lifecycle_publisher(publisher)

    def wanted(self) -> set[str]:
        """Names of the image outputs somebody subscribes to."""
        return {name for name, publisher in self._images.items() if publisher.get_subscription_count() > 0}

    def next_outgoing(self) -> Outgoing:
        """Messages for a frame; those of the frame before may still be in publishing, those before that are not."""
        self._outgoing.rotate()
        return self._outgoing[0]

    def publish(self, header: Any, picture: Picture, wanted: set[str], outgoing: Outgoing) -> None:
        """Make and publish the wanted outputs with ``header`` as it came."""
        for name in OUTPUTS:
            if name in wanted:
                outgoing.fill(name, picture)
                outgoing.messages[name].publish(self._images[name], header)

    def camera_info_came(self, message: Any) -> None:
        """Republish a camera_info with the labels of the same stamp: at once where those are out already."""
        if self._infos.came(message):
            self._camera_info.publish(message)

    def publish_camera_info(self, header: Any) -> None:
        """Republish the camera_info of this very stamp, now or when it comes: another one's would be a lie."""
        message = self._infos.take(header)
        if message is not None:
            self._camera_info.publish(message)

    def publish_latency(self, latencies_ms: dict[str, float]) -> None:
        """Publish one frame's milliseconds by stage, where somebody listens."""
        if self._latency.get_subscription_count() > 0:
            self._latency.publish(Float32(data=latencies_ms["total"]))
        if self._stages.get_subscription_count() > 0:
            message = Float32MultiArray(data=[latencies_ms.get(stage, 0.0) for stage in STAGES])
            message.layout.dim = [MultiArrayDimension(label=",".join(STAGES), size=len(STAGES), stride=len(STAGES))]
            self._stages.publish(message)

    def publish_classes(self, classes: ClassSet) -> None:
        """Latch the legend and, where vision_msgs is installed, the class names."""
        stamp = self._node.get_clock().now().to_msg()
        self._legend.publish(to_image(legend(classes), "rgb8", Header(stamp=stamp)))
        if self._label_info is not None:
            self._label_info.publish(_label_info(classes.names, stamp))

    def destroy(self) -> None:
        """Give the publishers back; only when the worker thread has stopped."""
        while self._made:
            self._node.destroy_lifecycle_publisher(self._made.pop())

    def _create(self, kind: Any, name: str, qos: QoSProfile) -> Any:
        options = overriding_options(self._node, f"~/{name}", "publisher")
        # An override is written into the profile it is given: every topic needs one of its own.
        made = self._node.create_lifecycle_publisher(kind, f"~/{name}", copy(qos), qos_overriding_options=options)
        self._made.append(made)
        return made

    def _create_label_info(self) -> Any | None:
        try:
            from vision_msgs.msg import LabelInfo
        except ImportError:
            return None
        return self._create(LabelInfo, "label_info", LATCHED_QOS)


def _label_info(class_names: tuple[str, ...], stamp: Any) -> Any:
    from vision_msgs.msg import LabelInfo, VisionClass

    message = LabelInfo()
    message.header.stamp = stamp
    message.class_map = [VisionClass(class_id=train_id, class_name=name) for train_id, name in enumerate(class_names)]
    return message
