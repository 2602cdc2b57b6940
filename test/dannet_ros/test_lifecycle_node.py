"""The node end to end over real DDS, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

from builtin_interfaces.msg import Time
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from dannet_core import NightSegmenter, preset
from dannet_ros.conversions import to_image, to_rgb
from dannet_ros.outgoing import OUTPUTS

pytestmark = pytest.mark.ros


def header(sec: int = 12, nanosec: int = 345_678_901, frame_id: str = "front/camera") -> Any:
    return Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id)


def test_every_output_carries_the_inputs_header(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig()
    camera = rig.camera(Image, "image")
    rig.listen(*OUTPUTS)
    headers = [
        header(), header(0, 0, ""), header(-7, 5), header(-(2**31), 2**32 - 1, "kamera mit räumen"),
        header(2**31 - 1, 4_000_000_000, "x" * 300),
    ]  # fmt: skip
    for count, sent in enumerate(headers, start=1):
        camera.publish(to_image(night, "rgb8", sent))
        rig.until(lambda count=count: all(len(rig.came[name]) == count for name in OUTPUTS))
    for name, output in OUTPUTS.items():
        assert [m.header for m in rig.came[name]] == headers, name
        assert {(m.height, m.width, m.encoding) for m in rig.came[name]} == {(150, 210, output.encoding)}, name


def test_outputs_equal_what_the_segmenter_returns(
    make_rig: Callable[..., Any], night: np.ndarray, tiny_model: Path
) -> None:
    rig = make_rig(overlay_alpha=0.3, reweight="logits", reweight_std=0.2)
    camera = rig.camera(Image, "image")
    rig.listen(*OUTPUTS)
    camera.publish(to_image(night[:, :, ::-1], "bgr8", header()))
    rig.until(lambda: all(rig.came[name] for name in OUTPUTS))
    with NightSegmenter.load(tiny_model, preset("paper", reweight="logits", reweight_std=0.2)) as segmenter:
        wanted = segmenter.segment(night)
    got = {name: to_rgb(rig.came[name][0]) for name in OUTPUTS}
    np.testing.assert_array_equal(got["label"][:, :, 0], wanted.labels)
    np.testing.assert_array_equal(got["color"], wanted.colorize())
    np.testing.assert_array_equal(got["overlay"], wanted.overlay(night, 0.3))
    np.testing.assert_array_equal(got["relit"], wanted.relit)
    np.testing.assert_allclose(got["confidence"][:, :, 0], wanted.confidence * 255, atol=1)
    assert len(np.unique(wanted.labels)) > 1


def test_makes_only_what_is_subscribed(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig()
    made: list[str] = []
    for outgoing in rig.node._session.publishers._outgoing:
        for name, message in outgoing.messages.items():
            pixels = message.pixels
            message.pixels = lambda *size, name=name, pixels=pixels: (made.append(name), pixels(*size))[1]
    camera = rig.camera(Image, "image")
    camera.publish(to_image(night, "rgb8", header()))
    rig.until(lambda: rig.node.counts["unwatched"] == 1)
    assert not made
    assert not rig.node._session.statistics.spreads(), "nobody listens: the network does not run"
    rig.listen("confidence")
    camera.publish(to_image(night, "rgb8", header()))
    rig.until(lambda: len(rig.came["confidence"]) == 1)
    assert set(made) == {"confidence"}


def test_compressed_input(make_rig: Callable[..., Any], night: np.ndarray, tiny_model: Path) -> None:
    rig = make_rig(image_transport="compressed")
    camera = rig.camera(CompressedImage, "image/compressed")
    rig.listen("label")
    png = cv2.imencode(".png", night[:, :, ::-1])[1].tobytes()
    jpeg = cv2.imencode(".jpg", night[:, :, ::-1])[1].tobytes()
    camera.publish(CompressedImage(header=header(), format="png", data=png))
    rig.until(lambda: len(rig.came["label"]) == 1)
    with NightSegmenter.load(tiny_model) as segmenter:
        np.testing.assert_array_equal(to_rgb(rig.came["label"][0])[:, :, 0], segmenter.segment(night).labels)
    camera.publish(CompressedImage(header=header(13), format="jpeg", data=jpeg))
    rig.until(lambda: len(rig.came["label"]) == 2)
    assert rig.came["label"][1].header == header(13)


def test_camera_info_of_the_same_stamp_is_republished(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig()
    images, infos = rig.camera(Image, "image"), rig.camera(CameraInfo, "camera_info")
    came: list[Any] = []
    rig.other.create_subscription(CameraInfo, "night_seg/camera_info", came.append, 10)
    rig.listen("label")
    sent = CameraInfo(header=header(), height=150, width=210, k=[float(i) for i in range(9)])
    infos.publish(sent)
    infos.publish(CameraInfo(header=header(99)))
    rig.until(lambda: len(rig.node._session.publishers._infos) == 2)
    # A slow model: a second of newer camera_infos comes before the frame's own is asked for.
    for second in range(100, 130):
        rig.node._session.publishers.camera_info_came(CameraInfo(header=header(second)))
    images.publish(to_image(night, "rgb8", header()))
    rig.until(lambda: len(came) == 1)
    images.publish(to_image(night, "rgb8", header(50)))
    rig.until(lambda: len(rig.came["label"]) == 2)
    rig.spin(0.2)
    assert came == [sent]


def test_camera_info_that_comes_after_the_labels_is_republished_once(
    make_rig: Callable[..., Any], night: np.ndarray
) -> None:
    rig = make_rig()
    images, infos = rig.camera(Image, "image"), rig.camera(CameraInfo, "camera_info")
    came: list[Any] = []
    rig.other.create_subscription(CameraInfo, "night_seg/camera_info", came.append, 10)
    rig.listen("label")
    images.publish(to_image(night, "rgb8", header()))
    rig.until(lambda: len(rig.came["label"]) == 1 and rig.settled())
    sent = CameraInfo(header=header(), height=150, width=210)
    for message in (CameraInfo(header=header(11)), sent, sent):
        infos.publish(message)
    rig.until(lambda: bool(came) and len(rig.node._session.publishers._infos) == 2)
    rig.spin(0.2)
    assert came == [sent], "neither one of another stamp, nor the same one twice"


@pytest.mark.parametrize("reliable", [False, True])
def test_hears_publishers_of_both_reliabilities(
    make_rig: Callable[..., Any], night: np.ndarray, reliable: bool
) -> None:
    rig = make_rig()
    rig.sensor_qos = QoSProfile(depth=1) if reliable else rig.sensor_qos
    camera = rig.camera(Image, "image")
    rig.listen("label")
    camera.publish(to_image(night, "rgb8", header()))
    rig.until(lambda: len(rig.came["label"]) == 1)


def test_incompatible_publisher_is_named_in_the_diagnosis(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(input_reliability="reliable")
    rig.other.create_publisher(Image, "image", rig.sensor_qos)
    rig.until(lambda: "input_reliability" in rig.node._health().input.problem)
    problem = rig.node._health().input.problem
    assert "the QoS of /camera_and_listener is incompatible: Best effort publisher and reliable" in problem


def test_lifecycle_cycles_and_silence_while_inactive(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(start=False)
    image = to_image(night, "rgb8", header())
    heard: list[Any] = []
    on_image = rig.node._on_image
    rig.node._on_image = lambda message: (heard.append(message), on_image(message))

    def send_and_hear(camera: Any) -> None:
        count = len(heard)
        camera.publish(image)
        rig.until(lambda: len(heard) > count)

    for cycle in range(5):
        assert rig.node.trigger_configure().name == "SUCCESS"
        camera = rig.camera(Image, "image")
        if cycle == 0:
            rig.listen("label")
        rig.until(lambda: rig.node._session.publishers.wanted() == {"label"})
        send_and_hear(camera)
        assert rig.node.counts["received"] == 0, "configured is not active"
        for activation in range(2):
            assert rig.node.trigger_activate().name == "SUCCESS"
            came = len(rig.came["label"])
            camera.publish(image)
            rig.until(lambda came=came: len(rig.came["label"]) == came + 1)
            assert rig.node.trigger_deactivate().name == "SUCCESS"
            send_and_hear(camera)
            rig.spin(0.1)
            assert len(rig.came["label"]) == came + 1
            assert rig.node.counts["received"] == activation + 1
        assert rig.node.trigger_cleanup().name == "SUCCESS"
        assert rig.node.counts == {}
        rig.other.destroy_publisher(camera)
    assert not rig.node.hung


def test_newest_frame_is_kept_and_overtaken_ones_counted(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig()
    rig.listen("label")
    for sec in range(400):
        rig.node._on_image(to_image(night, "rgb8", header(sec)))
    rig.until(rig.settled)
    counts = rig.node.counts
    rig.until(lambda: rig.came["label"] and rig.came["label"][-1].header.stamp.sec == 399)
    assert counts["received"] == 400
    assert counts["processed"] + counts["replaced"] == 400
    assert counts["replaced"] > 0
    stamps = [m.header.stamp.sec for m in rig.came["label"]]
    assert stamps == sorted(set(stamps))


def test_old_frames_are_dropped_and_counted(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(max_age_ms=3.6e6)
    camera = rig.camera(Image, "image")
    rig.listen("label")
    camera.publish(to_image(night, "rgb8", header()))
    rig.until(lambda: rig.node.counts["stale"] == 1)
    fresh = Header(stamp=rig.other.get_clock().now().to_msg())
    camera.publish(to_image(night, "rgb8", fresh))
    rig.until(lambda: len(rig.came["label"]) == 1)
    assert rig.came["label"][0].header == fresh


def set_live(rig: Any, **values: Any) -> Any:
    return rig.node.set_parameters_atomically([Parameter(name, value=value) for name, value in values.items()])


def test_live_parameters_change_the_next_frame(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig()
    camera = rig.camera(Image, "image")
    rig.listen("label", "overlay")
    camera.publish(to_image(night, "rgb8", header(1)))
    rig.until(lambda: len(rig.came["overlay"]) == 1)
    assert set_live(rig, min_confidence=1.0, overlay_alpha=0.0).successful
    camera.publish(to_image(night, "rgb8", header(2)))
    rig.until(lambda: len(rig.came["overlay"]) == 2)
    before, after = (to_rgb(m)[:, :, 0] for m in rig.came["label"])
    assert (before != 255).all()
    assert (after == 255).all()
    np.testing.assert_array_equal(to_rgb(rig.came["overlay"][1]), night)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("min_confidence", float("nan"), "min_confidence"),
        ("min_confidence", 1.5, "min_confidence"),
        ("overlay_alpha", -0.1, "overlay_alpha"),
        ("reweight_std", 0.9, "smallest class weight"),
        ("model", "other.onnx", "only read in configure"),
        ("image_transport", "compressed", "only read in configure"),
        ("class_names", ["road"], "read-only"),
        ("autostart", False, "read-only"),
    ],
)
def test_refused_changes_say_why_and_change_nothing(
    make_rig: Callable[..., Any], name: str, value: Any, reason: str
) -> None:
    rig = make_rig()
    before = rig.node.get_parameter(name).value
    result = set_live(rig, **{name: value})
    assert not result.successful
    assert reason in result.reason
    assert rig.node.get_parameter(name).value == before


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"min_confidence": 2.0}, "parameter min_confidence: got 2.0"),
        ({"min_confidence": 1}, "parameter min_confidence: got 1, expected a number with a decimal point"),
        ({"image_transport": "theora"}, "expected one of raw, compressed"),
        ({"min_confidnce": 0.5}, "did you mean min_confidence?"),
        ({"model": ""}, "parameter model: not set"),
        ({"model": "/nowhere/model.onnx"}, "/nowhere/model.onnx"),
        ({"model": __file__}, ".onnx"),
        ({"input_height": 128}, "input_height, input_width"),
        ({"input_height": 128, "input_width": 128}, "exported for"),
        ({"reweight_std": 1.0}, "reweight_std"),
        ({"device": "quantum"}, "parameter device: got 'quantum', expected auto, cpu, cuda, cuda:N, gpu, gpu.N or npu"),
    ],
)
def test_bad_parameters_stop_configure_with_one_line(
    make_rig: Callable[..., Any], parameters: dict[str, Any], reason: str
) -> None:
    rig = make_rig(start=False, **parameters)
    assert rig.node.trigger_configure().name == "FAILURE"
    assert reason in rig.node.failure
    assert "\n" not in rig.node.failure
    assert rig.node._state_machine.current_state[1] == "unconfigured"


def test_configure_works_after_the_bad_parameter_is_mended(make_rig: Callable[..., Any], tiny_model: Path) -> None:
    rig = make_rig(start=False, min_confidence=2.0, model="/nowhere.onnx")
    assert rig.node.trigger_configure().name == "FAILURE"
    assert set_live(rig, min_confidence=0.5).successful
    assert rig.node.trigger_configure().name == "FAILURE"
    assert "/nowhere.onnx" in rig.node.failure
    assert set_live(rig, model=str(tiny_model)).successful
    assert rig.node.trigger_configure().name == "SUCCESS"
    assert rig.node.failure == ""
