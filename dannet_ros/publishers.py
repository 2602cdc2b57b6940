"""What the node publishes: computed only while somebody listens, always under the input's own header."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from dannet_core import Prediction
from dannet_core.pixels import Labels, Rgb, colorize
from dannet_ros.conversions import ReusedImage

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
        rgb: H x W x 3 uint8 RGB the prediction was made from.
        alpha: opacity of the label colours in the overlay, 0..1.
    """

    prediction: Prediction
    rgb: Rgb
    alpha: float

    @cached_property
    def labels(self) -> Labels:
        """H x W uint8 train ids, row after row in memory: colouring by columns takes four times as long."""
        return np.ascontiguousarray(self.prediction.labels)

    @cached_property
    def color(self) -> Pixels:
        """The labels in Cityscapes colours, H x W x 3 uint8 RGB; made once for the two outputs that show it."""
        return colorize(self.labels)

    @property
    def overlay(self) -> Pixels:
        """The label colours blended over the picture, H x W x 3 uint8 RGB."""
        return np.asarray(cv2.addWeighted(self.rgb, 1.0 - self.alpha, self.color, self.alpha, 0.0), dtype=np.uint8)

    @property
    def confidence(self) -> Pixels:
        """Likelihood of the label, H x W uint8, 255 = certain."""
        return np.asarray(cv2.convertScaleAbs(self.prediction.confidence, alpha=255.0), dtype=np.uint8)


class _Output(NamedTuple):
    encoding: str
    make: Callable[[Picture], Pixels]


# In order of publishing: the label image is what a planner waits for.
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
        self._images = {name: node.create_lifecycle_publisher(Image, f"~/{name}", OUTPUT_QOS) for name in OUTPUTS}
        self._messages = {name: ReusedImage(output.encoding) for name, output in OUTPUTS.items()}
        self._camera_info = node.create_lifecycle_publisher(CameraInfo, "~/camera_info", OUTPUT_QOS)
        self._label_info = _label_info_publisher(node)
        self._infos: OrderedDict[tuple[int, int], Any] = OrderedDict()

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

    def publish_label_info(self, class_names: tuple[str, ...]) -> None:
        """Latch the class names, where vision_msgs is installed."""
        if self._label_info is not None:
            self._label_info.publish(_label_info(class_names, self._node.get_clock().now().to_msg()))

    def destroy(self) -> None:
        """Give the publishers back; only when the worker thread has stopped."""
        extra = [self._label_info] if self._label_info is not None else []
        for publisher in (*self._images.values(), self._camera_info, *extra):
            self._node.destroy_lifecycle_publisher(publisher)


def _stamp(header: Any) -> tuple[int, int]:
    return header.stamp.sec, header.stamp.nanosec


def _label_info_publisher(node: Any) -> Any | None:
    try:
        from vision_msgs.msg import LabelInfo
    except ImportError:
        return None
    return node.create_lifecycle_publisher(LabelInfo, "~/label_info", LATCHED_QOS)


def _label_info(class_names: tuple[str, ...], stamp: Any) -> Any:
    from vision_msgs.msg import LabelInfo, VisionClass

    message = LabelInfo()
    message.header.stamp = stamp
    message.class_map = [VisionClass(class_id=train_id, class_name=name) for train_id, name in enumerate(class_names)]
    return message
