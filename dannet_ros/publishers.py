"""What the node publishes: computed only while somebody listens, always under the input's own header."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float32, Float32MultiArray, Header, MultiArrayDimension

from dannet_core import Prediction
from dannet_core.class_set import ClassSet
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.outputs import Buffers
from dannet_core.pixels import Labels, colorize, overlay
from dannet_ros.camera_infos import CameraInfos
from dannet_ros.conversions import ReusedImage, to_image
from dannet_ros.direct_image import DirectImage, works_here
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

Pixels = npt.NDArray[np.uint8]


class Picture:
    """What outputs are made of, written straight into the messages: copying megabytes takes longer than making them."""

    def __init__(self, prediction: Prediction, camera: CameraImage, alpha: float) -> None:
        """Make nothing yet.

        Args:
            prediction: labels and what follows from them.
            camera: the picture the prediction was made from.
            alpha: opacity of the label colours in the overlay, 0..1.
        """
        self.size = camera.size
        self._prediction, self._camera, self._alpha = prediction, camera, alpha
        # Colouring by columns would take four times as long.
        self._labels: Labels = np.ascontiguousarray(prediction.labels)

    def label(self, out: Pixels) -> None:
        """Train ids, H x W uint8."""
        _put(self._labels, out)

    def color(self, out: Pixels) -> None:
        """The labels in the colours of their classes, H x W x 3 uint8 RGB."""
        made = self._prediction.outputs.get("color")
        _put(colorize(self._labels, out, self._prediction.colormap) if made is None else made, out)

    def overlay(self, out: Pixels) -> None:
        """The label colours blended over the picture, H x W x 3 uint8 RGB."""
        made = self._prediction.outputs.get("overlay")
        if made is None:
            made = overlay(self._camera.to_rgb(), self._labels, self._alpha, self._prediction.colormap, out)
        _put(made, out)

    def relit(self, out: Pixels) -> None:
        """The picture as the relighting network hands it on, H x W x 3 uint8 RGB."""
        _put(self._prediction.relit, out)

    def confidence(self, out: Pixels) -> None:
        """Likelihood of the label, H x W uint8, 255 = certain."""
        _put(self._prediction.confidence_bytes, out)


def _put(made: Pixels, out: Pixels) -> None:
    """Copy, unless it was written there already."""
    if not np.shares_memory(made, out):
        np.copyto(out, made)


class _Output(NamedTuple):
    encoding: str
    write: Callable[[Picture, Pixels], None]


OUTPUTS: Final = MappingProxyType(
    {
        "label": _Output("mono8", Picture.label),
        "color": _Output("rgb8", Picture.color),
        "overlay": _Output("rgb8", Picture.overlay),
        "relit": _Output("rgb8", Picture.relit),
        "confidence": _Output("mono8", Picture.confidence),
    }
)
"""In order of publishing."""
_WRITTEN_BY_THE_MODEL: Final = MappingProxyType(
    {"label": "labels", "color": "color", "overlay": "overlay", "confidence": "confidence_bytes"}
)


class Publishers:
    """The lifecycle publishers of one configured node. `wanted` and `publish` are for the worker thread."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._made: list[Any] = []
        outgoing = DirectImage if works_here() else ReusedImage
        self._messages = {name: outgoing(output.encoding) for name, output in OUTPUTS.items()}
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

    def buffers(self, size: tuple[int, int], wanted: set[str], labels_stay: bool) -> Buffers:
        """The messages' own memory for what comes with the labels, so that nothing has to be copied into it.

        Args:
            size: (height, width) of the camera.
            wanted: outputs somebody subscribes to.
            labels_stay: the labels are looked at after the next frame has begun.
        """
        names = {name: made for name, made in _WRITTEN_BY_THE_MODEL.items() if name in wanted}
        if labels_stay:
            names.pop("label", None)
        return {made: self.pixels(name, size) for name, made in names.items()}

    def pixels(self, name: str, size: tuple[int, int]) -> Pixels:
        """The memory of an output's message, for a camera of (height, width)."""
        return self._messages[name].pixels(*size)

    def publish(self, header: Any, picture: Picture, wanted: set[str]) -> None:
        """Make and publish the wanted outputs with ``header`` as it came."""
        for name, output in OUTPUTS.items():
            if name in wanted:
                output.write(picture, self.pixels(name, picture.size))
                self._messages[name].publish(self._images[name], header)

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
