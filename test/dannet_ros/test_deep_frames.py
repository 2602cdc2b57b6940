"""The node with a camera of 16 bits a sample, on real DDS: labels, what it says about the samples, what it refuses."""

from __future__ import annotations

import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

from builtin_interfaces.msg import Time
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dannet_core import NightSegmenter
from dannet_core.tone import FIRST_FRAMES, ToneMapper, curve
from dannet_ros.conversions import to_rgb
from dannet_ros.diagnostics import values

pytestmark = pytest.mark.ros


def linear(rgb: np.ndarray, bits: int = 12) -> np.ndarray:
    """The samples of a sensor that saw this picture: in proportion to light."""
    share = rgb / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.rint(light * ((1 << bits) - 1)).astype(np.uint16)


def sent_as(samples: np.ndarray, encoding: str, second: int, big_endian: bool = False, padding: int = 0) -> Any:
    """A message of ``samples``, H x W x 3 red first."""
    height, width = samples.shape[:2]
    if encoding.startswith("bayer"):
        mosaic = np.empty((height, width), np.uint16)
        for at, letter in enumerate(encoding[6:10]):
            mosaic[at // 2 :: 2, at % 2 :: 2] = samples[at // 2 :: 2, at % 2 :: 2, "rgb".index(letter)]
        samples = mosaic
    else:
        opaque = np.dstack([samples, np.full((height, width), 4095, np.uint16)])
        channels = {
            "rgb16": [0, 1, 2],
            "bgr16": [2, 1, 0],
            "rgba16": [0, 1, 2, 3],
            "bgra16": [2, 1, 0, 3],
            "mono16": [1],
        }
        samples = opaque[:, :, channels[encoding]]
    rows = np.ascontiguousarray(samples).reshape(height, -1).astype(">u2" if big_endian else "<u2").view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAA)
    image = Image(header=Header(stamp=Time(sec=second)), height=height, width=width, encoding=encoding)
    image.step, image.is_bigendian = rows.shape[1], int(big_endian)
    image.data = array.array("B", rows.tobytes())
    return image


def labels_of(model: Path, rgb: np.ndarray) -> np.ndarray:
    with NightSegmenter.load(model, threads=1) as segmenter:
        return segmenter.segment(rgb).labels


ENCODINGS = (
    "rgb16",
    "bgr16",
    "rgba16",
    "bgra16",
    "mono16",
    "bayer_rggb16",
    "bayer_bggr16",
    "bayer_gbrg16",
    "bayer_grbg16",
)


@pytest.mark.parametrize(("big_endian", "padding"), [(False, 0), (True, 5)])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_labels_are_those_of_the_same_picture_in_8_bits(
    make_rig: Callable[..., Any], tiny_model: Path, night: np.ndarray, encoding: str, big_endian: bool, padding: int
) -> None:
    rig = make_rig()
    rig.listen("label", "overlay")
    camera = rig.camera(Image, "image")
    message = sent_as(linear(night), encoding, 1, big_endian, padding)
    camera.publish(message)
    rig.until(lambda: rig.came["label"] and rig.came["overlay"])
    if encoding == "mono16":
        night = np.dstack([night[:, :, 1]] * 3)
    elif encoding.startswith("bayer"):
        night = to_rgb(message, ToneMapper())
    expected = labels_of(tiny_model, night)
    np.testing.assert_array_equal(to_rgb(rig.came["label"][0])[:, :, 0], expected)
    assert rig.came["label"][0].header.stamp.sec == 1
    rig.until(rig.settled)
    assert values(rig.node._health())["samples of 16 bits"].startswith("12 bits (found: samples end at ")
    assert rig.node._health().intensity == pytest.approx(night.mean(), abs=3)


@pytest.mark.parametrize("encoding", ["rgb16", "mono16", "bayer_grbg16"])
def test_compressed_png_of_16_bits(
    make_rig: Callable[..., Any], tiny_model: Path, night: np.ndarray, encoding: str
) -> None:
    rig = make_rig(image_transport="compressed")
    rig.listen("label")
    camera = rig.camera(CompressedImage, "image/compressed")
    raw = sent_as(linear(night), encoding, 1)
    stored = np.frombuffer(raw.data, np.uint16).reshape(raw.height, raw.width, -1)
    data = cv2.imencode(".png", np.ascontiguousarray(stored[:, :, ::-1]))[1].tobytes()
    camera.publish(CompressedImage(header=raw.header, format=f"{encoding}; png compressed ", data=data))
    rig.until(lambda: rig.came["label"])
    np.testing.assert_array_equal(
        to_rgb(rig.came["label"][0])[:, :, 0], labels_of(tiny_model, to_rgb(raw, ToneMapper()))
    )


@pytest.mark.parametrize(("bit_depth", "labels"), [(0, 1), (12, 2)])
def test_mono16_of_a_topic_of_distances_needs_a_depth_that_is_given(
    make_rig: Callable[..., Any], night: np.ndarray, monkeypatch: pytest.MonkeyPatch, bit_depth: int, labels: int
) -> None:
    monkeypatch.setattr("dannet_ros.session.image_topic", lambda _node, _transport: "/cam/depth/image")
    rig = make_rig(bit_depth=bit_depth)
    rig.listen("label")
    for second, encoding in ((1, "mono16"), (2, "rgb16")):
        rig.node._on_image(sent_as(linear(night), encoding, second))
        rig.until(rig.settled)
    rig.until(lambda: len(rig.came["label"]) == labels)
    assert rig.came["label"][-1].header.stamp.sec == 2
    assert ("mono16 on /cam/depth/image: got 'depth' in" in rig.node._health().last_problem) is (labels == 1)


def test_the_depth_is_announced_once_and_the_tone_is_live(
    make_rig: Callable[..., Any], tiny_model: Path, night: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    rig = make_rig()
    rig.listen("label")
    samples = linear(night)
    for second in range(1, FIRST_FRAMES + 6):
        rig.node._on_image(sent_as(samples, "rgb16", second))
        rig.until(rig.settled)
    said = [line for line in capfd.readouterr().err.splitlines() if "samples: " in line]
    assert len(said) == 1
    assert "samples: 12 bits (found: samples end at" in said[0]
    rig.node.set_parameters([Parameter("tone", value="log")])
    rig.node._on_image(sent_as(samples, "rgb16", 100))
    rig.until(lambda: rig.came["label"] and rig.came["label"][-1].header.stamp.sec == 100)
    expected = labels_of(tiny_model, curve("log", 12)[samples])
    np.testing.assert_array_equal(to_rgb(rig.came["label"][-1])[:, :, 0], expected)
    assert not rig.node.set_parameters([Parameter("tone", value="filmic")])[0].successful
    result = rig.node.set_parameters([Parameter("bit_depth", value=12)])[0]
    assert not result.successful
    assert "only read in configure" in result.reason


def test_frames_that_contradict_the_depth_are_counted_and_the_next_is_labelled(
    make_rig: Callable[..., Any], night: np.ndarray
) -> None:
    rig = make_rig(bit_depth=12)
    rig.listen("label")
    good, deep = linear(night), linear(night, 14)
    for second, samples in ((1, good), (2, deep), (3, good)):
        rig.node._on_image(sent_as(samples, "bgr16", second))
        rig.until(rig.settled)
    rig.until(lambda: len(rig.came["label"]) == 2)
    assert [message.header.stamp.sec for message in rig.came["label"]] == [1, 3]
    assert rig.node.counts["malformed"] == 1
    assert "expected at most 4095 for bit_depth 12" in rig.node._health().last_problem


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bit_depth": 8}, "parameter bit_depth: got 8, expected 9 to 16 bits"),
        ({"bit_depth": 1}, "parameter bit_depth: got 1, expected 9 to 16 bits"),
        ({"bit_depth": 17}, "parameter bit_depth: got 17, expected an integer, 0 to 16"),
        ({"bit_depth": -1}, "parameter bit_depth: got -1, expected an integer, 0 to 16"),
        ({"bit_depth": "auto"}, "parameter bit_depth: got 'auto', expected an integer"),
        ({"tone": "Gamma"}, "parameter tone: got 'Gamma', expected one of gamma, linear, log, percentile"),
    ],
)
def test_wrong_parameters_stop_configure_and_are_named(
    make_rig: Callable[..., Any], given: dict[str, Any], said: str
) -> None:
    rig = make_rig(start=False, **given)
    assert rig.node.trigger_configure().name == "FAILURE"
    assert rig.node.failure.startswith(said)
    assert "\n" not in rig.node.failure
