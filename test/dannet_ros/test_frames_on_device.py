"""The node where a device does the whole frame: the CUDA kernels' arithmetic, compiled for this machine's CPU."""

from __future__ import annotations

import array
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

from builtin_interfaces.msg import Time
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dannet_core import NightSegmenter
from dannet_core.inference.backends.frame_slot import SlotStride
from dannet_core.inference.frame import EXTRA_OUTPUTS
from dannet_core.tone import ToneMapper
from dannet_ros.conversions import to_image, to_rgb

pytestmark = pytest.mark.ros
OUTPUTS = ("label", "color", "overlay", "relit", "confidence")


@pytest.fixture
def make_device_rig(
    make_rig: Callable[..., Any], make_backend: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """A rig whose worker opens a segmenter on the host device."""
    monkeypatch.setattr(
        "dannet_ros.session.open_model",
        lambda _parameters, settings, _opening: NightSegmenter(make_backend()[0], settings),
    )
    return make_rig


@pytest.fixture
def picture(night: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(night[:, :208])


def encoded(picture: np.ndarray, encoding: str) -> Any:
    """A picture as a camera of that encoding sends it, rows padded."""
    if encoding == "bgr8":
        rows = picture[:, :, ::-1]
    elif encoding.endswith("16"):
        samples = picture.astype(np.uint16) * 16 + 3
        rows = (samples if encoding == "rgb16" else samples[:, :, 1]).astype(">u2").view(np.uint8)
    elif encoding == "nv12":
        planar = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
        colour = planar[150:].reshape(2, 75, 104)
        rows = np.vstack([planar[:150], np.stack([colour[0], colour[1]], axis=2).reshape(75, 208)])
    else:
        rows = picture if encoding == "rgb8" else picture[:, :, 1]
    rows = np.ascontiguousarray(rows).reshape(len(rows), -1)
    padded = np.pad(rows, ((0, 0), (0, 16)), constant_values=170)
    message = Image(height=150, width=208, encoding=encoding, step=padded.shape[1], header=Header(frame_id=encoding))
    message.is_bigendian = int(encoding.endswith("16"))
    message.data = array.array("B", padded.tobytes())
    return message


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "nv12", "8UC1", "bayer_rggb8", "rgb16", "mono16", "bayer_grbg16"])
def test_outputs_of_the_device_are_those_of_the_cpu(
    make_device_rig: Callable[..., Any], tiny_onnx: Path, picture: np.ndarray, encoding: str
) -> None:
    rig = make_device_rig(overlay_alpha=0.3)
    rig.listen(*OUTPUTS)
    message = encoded(picture, encoding)
    rig.node._on_image(message)
    rig.until(lambda: all(len(rig.came[name]) == 1 for name in OUTPUTS))
    assert {rig.came[name][0].header.frame_id for name in OUTPUTS} == {encoding}
    with NightSegmenter.load(tiny_onnx) as segmenter:
        rgb = to_rgb(message, ToneMapper())
        wanted = segmenter.segment(rgb, outputs=EXTRA_OUTPUTS, alpha=0.3)
    got = {name: to_rgb(rig.came[name][0]) for name in OUTPUTS}
    assert (got["label"][:, :, 0] == wanted.labels).mean() >= 0.9999
    for name, expected in [
        ("color", wanted.colorize()),
        ("overlay", wanted.outputs["overlay"]),
        ("relit", wanted.relit),
        ("confidence", np.dstack([wanted.confidence_bytes] * 3)),
    ]:
        off = np.abs(got[name].astype(int) - expected).max(axis=2)
        assert (off <= 1).mean() >= 0.9999, name
    assert rig.node._health().intensity == pytest.approx(rgb.mean(), abs=8)


def test_each_frame_on_the_device_has_its_own_table(
    make_device_rig: Callable[..., Any], tiny_onnx: Path, picture: np.ndarray
) -> None:
    """Depths that grow, a tone that is set, and frames of 8 bits between them, in buffers that are used again."""
    rig, tone = make_device_rig(), ToneMapper()
    rig.listen("label")
    plain = to_image(picture, "rgb8", Header())
    shifts = (2, 4, 4, None, 6, 6, 6, None, 6)
    for second, shift in enumerate(shifts, 1):
        message = plain if shift is None else sixteen_bits(picture, shift)
        message.header = Header(stamp=Time(sec=second))
        if second == 7:
            rig.node.set_parameters([Parameter("tone", value="linear")])
            tone.tone = "linear"
        rig.came["label"].clear()
        rig.node._on_image(message)
        rig.until(lambda: rig.came["label"])
        with NightSegmenter.load(tiny_onnx) as segmenter:
            wanted = segmenter.segment(to_rgb(message, tone)).labels
        assert (to_rgb(rig.came["label"][0])[:, :, 0] == wanted).mean() >= 0.9999, second


def sixteen_bits(picture: np.ndarray, shift: int) -> Any:
    samples = picture.astype("<u2") << shift
    message = Image(height=150, width=208, encoding="rgb16", step=208 * 6)
    message.data = array.array("B", samples.tobytes())
    return message


def test_waiting_frame_is_begun_before_the_one_before_it_is_published(
    make_device_rig: Callable[..., Any], tiny_onnx: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four frames while the first is in the network: the second and third are overtaken, nothing is queued behind."""
    rig = make_device_rig()
    rig.listen("label")
    session, did, release = rig.node._session, [], threading.Event()
    publish, submit, collect = session.publishers.publish, NightSegmenter.submit, NightSegmenter.collect

    def noted_publish(header: Any, *rest: Any) -> None:
        did.append(f"publish {header.stamp.sec}")
        publish(header, *rest)

    def noted_submit(self: NightSegmenter, *camera: Any, **options: Any) -> None:
        did.append("submit")
        submit(self, *camera, **options)

    def noted_collect(self: NightSegmenter) -> Any:
        made = collect(self)
        did.append("collect")
        assert release.wait(300)
        return made

    session.publishers.publish = noted_publish
    monkeypatch.setattr(NightSegmenter, "submit", noted_submit)
    monkeypatch.setattr(NightSegmenter, "collect", noted_collect)
    pictures = {second: np.roll(picture, 16 * second, axis=1) for second in (1, 2, 3, 4)}

    def send(second: int) -> None:
        rig.node._on_image(to_image(pictures[second], "rgb8", Header(stamp=Time(sec=second))))

    send(1)
    rig.until(lambda: did == ["submit", "collect"])
    for second in (2, 3, 4):
        send(second)
    release.set()
    rig.until(lambda: len(rig.came["label"]) == 2)
    assert did == ["submit", "collect", "submit", "publish 1", "collect", "publish 4"]
    rig.until(rig.settled)
    assert {k: v for k, v in rig.node.counts.items() if v} == {"received": 4, "processed": 2, "replaced": 2}
    monkeypatch.undo()
    with NightSegmenter.load(tiny_onnx) as segmenter:
        for message in rig.came["label"]:
            wanted = segmenter.segment(pictures[message.header.stamp.sec]).labels
            assert (to_rgb(message)[:, :, 0] == wanted).mean() >= 0.9999


@pytest.mark.parametrize("bad", [1, 2])
def test_bad_frame_harms_neither_the_one_before_nor_the_one_after(
    make_device_rig: Callable[..., Any], picture: np.ndarray, bad: int
) -> None:
    rig = make_device_rig()
    rig.listen("label")
    for second in (1, 2, 3):
        message = to_image(picture, "rgb8", Header(stamp=Time(sec=second)))
        if second == bad:
            message.step = 5
        rig.node._on_image(message)
        rig.until(rig.settled)
    rig.until(lambda: len(rig.came["label"]) == 2)
    assert [m.header.stamp.sec for m in rig.came["label"]] == [second for second in (1, 2, 3) if second != bad]
    assert rig.node.counts["malformed"] == 1


def test_the_network_output_stays_on_the_device(
    make_device_rig: Callable[..., Any], picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prediction kept too long would be fetched, megabytes of it, before its buffers are used again."""
    rig, fetched = make_device_rig(), []
    get = SlotStride._get
    monkeypatch.setattr(SlotStride, "_get", lambda self, name: (fetched.append(name), get(self, name))[1])
    rig.listen("label", "overlay", "confidence")
    for second in range(1, 8):
        rig.node._on_image(to_image(picture, "rgb8", Header(stamp=Time(sec=second))))
        rig.until(rig.settled)
    assert rig.node.counts["processed"] == 7
    assert fetched == []


def test_memory_that_does_not_suffice_fails_one_frame_and_says_so(
    make_rig: Callable[..., Any],
    make_backend: Callable[..., Any],
    picture: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A camera that switches to a size for which the GPU has no room, and back."""
    monkeypatch.setattr(
        "dannet_ros.session.open_model",
        lambda _parameters, settings, _opening: NightSegmenter(make_backend(capacity=4 << 20)[0], settings),
    )
    rig = make_rig()
    rig.listen("label")
    large = np.zeros((1024, 1280, 3), np.uint8)
    for second, shown in ((1, picture), (2, large), (3, picture)):
        rig.node._on_image(to_image(shown, "rgb8", Header(stamp=Time(sec=second))))
        rig.until(rig.settled)
    rig.until(lambda: len(rig.came["label"]) == 2)
    assert [m.header.stamp.sec for m in rig.came["label"]] == [1, 3]
    assert {k: v for k, v in rig.node.counts.items() if v} == {"received": 3, "processed": 2, "failed": 1}
    assert "out of memory" in rig.node._health().last_problem
