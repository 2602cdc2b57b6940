"""The node's topics: one table for the node, its documentation and the viewers' configurations."""

from __future__ import annotations

from typing import Final, NamedTuple


class TopicSpec(NamedTuple):
    """One topic.

    Attributes:
        name: relative; ``~`` is the node's own name.
        kind: message type, as in `ros2 topic type`.
        direction: ``in`` or ``out``.
        qos: in words.
        description: what it carries; units included.
        optional: the package whose absence means that the topic is not there; empty = always there.
    """

    name: str
    kind: str
    direction: str
    qos: str
    description: str
    optional: str = ""


_STREAM: Final = "reliable, volatile, depth 2"
_LATCHED: Final = "reliable, transient local, depth 1"
_IMAGE: Final = "sensor_msgs/msg/Image"

TOPICS: Final = (
    TopicSpec(
        "image",
        _IMAGE,
        "in",
        "as the publisher offers (input_reliability), depth input_depth",
        "Camera picture: rgb8, bgr8, rgba8, bgra8, mono8, 8UC1/3/4, 8-bit Bayer, YUV 4:2:2, NV12, NV21, NV24; of 16 "
        "bits mono16, rgb16, bgr16, rgba16, bgra16, Bayer (bit_depth, tone); others through cv_bridge where it is "
        "installed. With image_transport compressed: image/compressed, sensor_msgs/msg/CompressedImage, 8-bit JPEG, "
        "8-bit or 16-bit PNG.",
    ),
    TopicSpec(
        "camera_info",
        "sensor_msgs/msg/CameraInfo",
        "in",
        "best effort, volatile, depth 5",
        "Republished with the labels of the same stamp.",
    ),
    TopicSpec(
        "~/label",
        _IMAGE,
        "out",
        _STREAM,
        "mono8: train ids 0..18 at camera resolution; 255 = below min_confidence. Never resample or JPEG it.",
    ),
    TopicSpec("~/color", _IMAGE, "out", _STREAM, "rgb8: the labels in Cityscapes colours."),
    TopicSpec("~/overlay", _IMAGE, "out", _STREAM, "rgb8: the colours over the picture, with overlay_alpha."),
    TopicSpec(
        "~/relit",
        _IMAGE,
        "out",
        _STREAM,
        "rgb8: the picture as the relighting network hands it on; only where the model has one.",
    ),
    TopicSpec(
        "~/confidence",
        _IMAGE,
        "out",
        _STREAM,
        "mono8: likelihood of the label, 255 = certain; not of models that give labels without scores.",
    ),
    TopicSpec("~/camera_info", "sensor_msgs/msg/CameraInfo", "out", _STREAM, "The input's, for the same stamp."),
    TopicSpec("~/legend", _IMAGE, "out", _LATCHED, "rgb8: colour and name of every class."),
    TopicSpec(
        "~/label_info",
        "vision_msgs/msg/LabelInfo",
        "out",
        _LATCHED,
        "Class names by train id, where vision_msgs is installed; the parameter class_names holds them too.",
        optional="vision_msgs",
    ),
    TopicSpec(
        "~/latency_ms",
        "std_msgs/msg/Float32",
        "out",
        _STREAM,
        "Reception to published, milliseconds, one value a processed frame.",
    ),
    TopicSpec(
        "~/stage_latency_ms",
        "std_msgs/msg/Float32MultiArray",
        "out",
        _STREAM,
        "The same by stage; layout.dim[0].label names the stages in order.",
    ),
    TopicSpec(
        "/diagnostics",
        "diagnostic_msgs/msg/DiagnosticArray",
        "out",
        "reliable, volatile, depth 10",
        "State, counters, latency percentiles, what is wrong and what to do; every diagnostics_period_s, and at once "
        "when the worker begins to hang.",
    ),
)
"""Everything but what every ROS 2 node has."""


def topic(name: str) -> TopicSpec:
    """The row of that name."""
    return next(spec for spec in TOPICS if spec.name == name)
