"""What the node publishes: computed only while somebody listens, always under the input's own header."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float32, Float32MultiArray, Header, MultiArrayDimension

from dannet_core import Prediction
from dannet_core.inference.camera_image import CameraImage
from dannet_core.pixels import Labels, colorize
from dannet_ros.conversions import ReusedImage, to_image
from dannet_ros.frame_statistics import STAGES
from dannet_ros.legend import legend
from dannet_ros.qos_overrides import overriding_options

OUTPUT_DEPTH: Final = 2
OUTPUT_QOS: Final = QoSProfile(depth=OUTPUT_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
"""Reliable, because a reliable publisher serves both kinds of subscriber and RViz asks for reliable by default; two
deep, because a label image is worth nothing once the next two exist."""
LATCHED_QOS: Final = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
CAMERA_INFOS_KEPT: Final = 512
"""Enough for a frame that takes 17 s at 30 Hz: its camera_info must outlive the newer ones that came meanwhile."""

Pixels = npt.NDArray[np.uint8]


@dataclass
class Picture:
    """What outputs are made of.

    Attributes:
        prediction: labels and what follows from them.
        camera: the picture the prediction was made from.
        alpha: opacity of the label colours in the overlay, 0..1.
    """

    prediction: Prediction
    camera: CameraImage
    alpha: float

    @cached_property
    def labels(self) -> Labels:
        """H x W uint8 train ids, row after row in memory: colouring by columns takes four times as long."""
        return np.ascontiguousarray(self.prediction.labels)

    @cached_property
    def color(self) -> Pixels:
        """The labels in Cityscapes colours, H x W x 3 uint8 RGB; made once for the two outputs that show it."""
        made = self.prediction.outputs.get("color")
        return colorize(self.labels) if made is None else made

    @property
    def overlay(self) -> Pixels:
        """The label colours blended over the picture, H x W x 3 uint8 RGB."""
        made = self.prediction.outputs.get("overlay")
        if made is not None:
            return made
        blended = cv2.addWeighted(self.camera.to_rgb(), 1.0 - self.alpha, self.color, self.alpha, 0.0)
        return np.asarray(blended, dtype=np.uint8)

    @property
    def confidence(self) -> Pixels:
        """Likelihood of the label, H x W uint8, 255 = certain."""
        return self.prediction.confidence_bytes


class _Output(NamedTuple):
    encoding: str
    make: Callable[[Picture], Pixels]


OUTPUTS: Final = MappingProxyType(
    {
        "label": _Output("mono8", lambda picture: picture.labels),
        "color": _Output("rgb8", lambda picture: picture.color),
        "overlay": _Output("rgb8", lambda picture: picture.overlay),
        "relit": _Output("rgb8", lambda picture: picture.prediction.relit),
        "confidence": _Output("mono8", lambda picture: picture.confidence),
    }
)


class Publishers:
    """The lifecycle publishers of one configured node. `wanted` and `publish` are for the worker thread."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._made: list[Any] = []
        self._messages = {name: ReusedImage(output.encoding) for name, output in OUTPUTS.items()}
        self._infos: OrderedDict[tuple[int, int], Any] = OrderedDict()
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

    def wanted(self) -> set[str]:
        """Names of the image outputs somebody subscribes to."""
        return {name for name, publisher in self._images.items() if publisher.get_subscription_count() > 0}

    def publish(self, header: Any, picture: Picture, wanted: set[str]) -> None:
        """Make and publish the wanted outputs with ``header`` as it came."""
        for name, output in OUTPUTS.items():
            if name in wanted:
                self._images[name].publish(self._messages[name].fill(output.make(picture), header))

    def remember_camera_info(self, message: Any) -> None:
        """Keep a camera_info until the labels of the same stamp are published."""
        self._infos[_stamp(message.header)] = message
        while len(self._infos) > CAMERA_INFOS_KEPT:
            self._infos.popitem(last=False)

    def publish_camera_info(self, header: Any) -> bool:
        """Republish the camera_info of this very stamp; False when there is none: another one's would be a lie."""
        message = self._infos.pop(_stamp(header), None)
        if message is None:
            return False
        self._camera_info.publish(message)
        return True

    def publish_latency(self, latencies_ms: dict[str, float]) -> None:
        """Publish one frame's milliseconds by stage, where somebody listens."""
        if self._latency.get_subscription_count() > 0:
            self._latency.publish(Float32(data=latencies_ms["total"]))
        if self._stages.get_subscription_count() > 0:
            message = Float32MultiArray(data=[latencies_ms.get(stage, 0.0) for stage in STAGES])
            message.layout.dim = [MultiArrayDimension(label=",".join(STAGES), size=len(STAGES), stride=len(STAGES))]
            self._stages.publish(message)

    def publish_classes(self, class_names: tuple[str, ...]) -> None:
        """Latch the legend and, where vision_msgs is installed, the class names."""
        stamp = self._node.get_clock().now().to_msg()
        self._legend.publish(to_image(legend(class_names), "rgb8", Header(stamp=stamp)))
        if self._label_info is not None:
            self._label_info.publish(_label_info(class_names, stamp))

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


def _stamp(header: Any) -> tuple[int, int]:
    return header.stamp.sec, header.stamp.nanosec


def _label_info(class_names: tuple[str, ...], stamp: Any) -> Any:
    from vision_msgs.msg import LabelInfo, VisionClass

    message = LabelInfo()
    message.header.stamp = stamp
    message.class_map = [VisionClass(class_id=train_id, class_name=name) for train_id, name in enumerate(class_names)]
    return message
