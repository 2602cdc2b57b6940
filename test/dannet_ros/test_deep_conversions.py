"""Raw messages of 16 bits a sample: byte orders, steps, what is refused; and encodings that only cv_bridge knows."""

from __future__ import annotations

import array
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sensor_msgs", reason="sensor_msgs (ROS 2) is needed to convert messages")

from sensor_msgs.msg import Image

from dannet_core.errors import ImageError
from dannet_core.inference.camera_image import DEEP_ENCODINGS
from dannet_core.inference.camera_image import ENCODINGS as CAMERA_ENCODINGS
from dannet_core.tone import ToneMapper, ToneSettings
from dannet_ros import bridged
from dannet_ros.conversions import to_camera, to_rgb
from dannet_ros.depth_topics import why_not_light

pytestmark = pytest.mark.ros
HEIGHT, WIDTH = 66, 80


def message(samples: np.ndarray, encoding: str, padding: int = 0, big_endian: int = 0) -> Any:
    """The message a driver would send: rows of ``samples`` with ``padding`` bytes of 0xAA after each."""
    rows = samples.reshape(len(samples), -1)
    if rows.dtype == np.uint16:
        rows = rows.astype(">u2" if big_endian else "<u2").view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAA)
    out = Image(height=samples.shape[0], width=samples.shape[1], encoding=encoding, step=padded.shape[1])
    out.is_bigendian = big_endian
    out.data = array.array("B", padded.tobytes())
    return out


def samples_of(encoding: str) -> np.ndarray:
    channels = CAMERA_ENCODINGS[DEEP_ENCODINGS[encoding]].bytes_per_pixel
    return np.random.default_rng(8).integers(0, 4096, (HEIGHT, WIDTH, channels)).astype(np.uint16)


@pytest.mark.parametrize("padding", [0, 1, 6])
@pytest.mark.parametrize("big_endian", [0, 1])
@pytest.mark.parametrize("encoding", DEEP_ENCODINGS)
def test_every_deep_encoding_is_its_8_bit_one_once_mapped(encoding: str, big_endian: int, padding: int) -> None:
    samples = samples_of(encoding)
    got = to_rgb(message(samples, encoding, padding, big_endian), ToneMapper(ToneSettings("linear", 12)))
    as_bytes = message((samples >> 4).astype(np.uint8), DEEP_ENCODINGS[encoding], 3)
    np.testing.assert_array_equal(got, to_rgb(as_bytes))


def test_samples_are_a_view_of_the_message() -> None:
    sent = message(samples_of("bgr16"), "bgr16")
    camera = to_camera(sent, ToneMapper())
    before = camera.to_rgb()[0, 0, 2]
    sent.data[0], sent.data[1] = 0xFF, 0x0F
    assert before != camera.to_rgb()[0, 0, 2] == 255


def test_one_mapper_learns_from_all_messages() -> None:
    tone = ToneMapper()
    for most in (800, 3000):
        to_rgb(message(np.full((HEIGHT, WIDTH), most, np.uint16), "mono16"), tone)
    assert tone.described == "12 bits (found: samples end at 3000), tone gamma"
    assert tone.frames == 2


@pytest.mark.parametrize("encoding", DEEP_ENCODINGS)
def test_one_picture_does_not_tell_its_depth(encoding: str) -> None:
    with pytest.raises(ImageError, match=f"^encoding: got {encoding}, expected 8 bits a sample, or a ToneMapper: "):
        to_rgb(message(samples_of(encoding), encoding))


@pytest.mark.parametrize(
    ("topic", "word"),
    [
        ("/camera/depth/image_rect_raw", "depth"),
        ("/camera/aligned_depth_to_color/image_raw/compressed", "depth"),
        ("/zed/zed_node/depth/depth_registered", "depth"),
        ("/stereo/disparity", "disparity"),
        ("/flir/thermal/image_raw", "thermal"),
        ("/Depth0/image", "Depth"),
        ("/ifm3d/tof/amplitude", "tof"),
    ],
)
def test_grey_samples_of_a_topic_of_distances_are_refused_by_name(topic: str, word: str) -> None:
    why = why_not_light(topic, ToneSettings())
    assert why.startswith(f"mono16 on {topic}: got '{word}' in the topic's name, expected ")
    assert "\n" not in why
    assert not why_not_light(topic, ToneSettings(bit_depth=12))
    with pytest.raises(ImageError, match=word):
        to_rgb(message(samples_of("mono16"), "mono16"), ToneMapper(not_light=why))
    assert to_rgb(message(samples_of("rgb16"), "rgb16"), ToneMapper(not_light=why)).any()
    assert to_rgb(message(samples_of("bayer_rggb16"), "bayer_rggb16"), ToneMapper(not_light=why)).any()


@pytest.mark.parametrize(
    "topic", ["/camera/image_raw", "/infra1/image_rect_raw", "/in_depths/image", "/ranger/front/image", "/deep_camera"]
)
def test_other_topics_are_taken_for_light(topic: str) -> None:
    assert not why_not_light(topic, ToneSettings())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"step": WIDTH * 2 - 1}, "step: got 159, expected at least 160 bytes"),
        ({"step": WIDTH}, "step: got 80, expected at least 160 bytes"),
        ({"data": array.array("B", bytes(WIDTH * HEIGHT * 2 - 1))}, "data: got 10559 bytes, expected 10560"),
        ({"data": array.array("B", bytes(WIDTH * HEIGHT * 2 + 1))}, "data: got 10561 bytes, expected an even number"),
        ({"is_bigendian": 2}, "is_bigendian: got 2, expected 0 or 1"),
        ({"is_bigendian": 1}, "is_bigendian: samples of 12 bits with their two bytes swapped"),
        ({"encoding": "Mono16"}, "encoding: got 'Mono16', expected 'mono16'"),
        ({"encoding": "RGB16 "}, "encoding: got 'RGB16 ', expected 'rgb16'"),
        ({"height": 0}, "width, height: got 80x0"),
    ],
)
def test_wrong_fields_are_named_in_one_line(changes: dict[str, Any], said: str) -> None:
    sent = message(samples_of("mono16"), "mono16")
    for field, value in changes.items():
        setattr(sent, field, value)
    with pytest.raises(ImageError, match=said) as refused:
        to_rgb(sent, ToneMapper())
    assert "\n" not in str(refused.value)


@pytest.fixture
def fresh_bridge() -> Iterator[None]:
    bridged._bridge.cache_clear()
    yield
    bridged._bridge.cache_clear()


@pytest.fixture
def real_bridge(fresh_bridge: None) -> Any:
    """The cv_bridge that is installed: ROS's own, or the one of PyPI."""
    return pytest.importorskip("cv_bridge", reason="cv_bridge of ROS or PyPI (pip install cv-bridge) is not installed")


@pytest.mark.parametrize(("encoding", "padding"), [("mono8", 0), ("mono8", 5), ("bayer_rggb8", 0), ("bayer_gbrg8", 3)])
def test_what_cv_bridge_converts_is_what_this_package_makes_of_it(
    real_bridge: Any, encoding: str, padding: int
) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
    sent = message(grey, encoding, padding)
    np.testing.assert_array_equal(bridged.bridged_to_rgb(sent), to_rgb(sent))


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1", "nonsense", "yuv444"])
def test_what_cv_bridge_refuses_is_refused_in_its_words(real_bridge: Any, encoding: str) -> None:
    sent = message(np.zeros((HEIGHT, WIDTH * 4), np.uint8), encoding)
    sent.width = WIDTH
    with pytest.raises(ImageError, match=rf"encoding: got '{encoding}', not known here, and cv_bridge: \w+: .") as said:
        to_rgb(sent)
    assert "\n" not in str(said.value)


def test_without_cv_bridge_the_message_says_what_is_known(fresh_bridge: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    with pytest.raises(ImageError, match=r"got '32FC1', expected one of rgb8, .*mono16.*; cv_bridge, .* not inst") as e:
        to_rgb(message(np.zeros((HEIGHT, WIDTH), np.uint16), "32FC1"))
    assert len(str(e.value)) < 400


class Bridge:
    """As cv_bridge's, with an encoding that nothing else has: the complement of grey, in two bytes."""

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        if encoding != "negative16":
            raise KeyError(encoding)
        return "uint16", 1

    def imgmsg_to_cv2(self, image: Any, desired_encoding: str) -> np.ndarray:
        assert desired_encoding == "rgb8"
        whole = np.ndarray((image.height, image.width), np.uint16, buffer=image.data)
        return np.dstack([(65535 - whole) >> 8] * 3).astype(np.uint8)


@pytest.mark.parametrize("padding", [0, 1, 6])
@pytest.mark.parametrize("big_endian", [0, 1])
def test_cv_bridge_gets_rows_without_padding_in_this_byte_order(
    fresh_bridge: None, monkeypatch: pytest.MonkeyPatch, big_endian: int, padding: int
) -> None:
    """Some of its releases look neither at ``step`` nor at NumPy's way to swap bytes."""
    monkeypatch.setitem(sys.modules, "cv_bridge", types.SimpleNamespace(CvBridge=Bridge))
    samples = np.random.default_rng(3).integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
    got = to_rgb(message(samples, "negative16", padding, big_endian))
    np.testing.assert_array_equal(got, np.dstack([(65535 - samples) >> 8] * 3))
    sent = message(samples, "negative16")
    sent.step -= 1
    with pytest.raises(ImageError, match=r"step: got 159, expected at least 160 .* as cv_bridge reads negative16"):
        to_rgb(sent)
    sent.step += 1
    del sent.data[-1]
    with pytest.raises(ImageError, match="data: got 10559 bytes, expected 10560"):
        to_rgb(sent)


@pytest.mark.parametrize("result", [np.zeros((3, 3), np.uint8), np.zeros((70, 80, 3), np.uint8), None])
def test_a_picture_of_another_shape_is_refused(
    fresh_bridge: None, monkeypatch: pytest.MonkeyPatch, result: Any
) -> None:
    broken = type("Broken", (Bridge,), {"imgmsg_to_cv2": lambda *_: result})
    monkeypatch.setitem(sys.modules, "cv_bridge", types.SimpleNamespace(CvBridge=broken))
    with pytest.raises(ImageError, match=r"not known here, and (image: got|cv_bridge: gave 80x70 pixels)"):
        to_rgb(message(np.zeros((HEIGHT, WIDTH), np.uint16), "negative16"))


def test_a_cv_bridge_that_does_not_start_says_why(fresh_bridge: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> None:
        raise AttributeError("_ARRAY_API not found\nmore")

    monkeypatch.setitem(sys.modules, "cv_bridge", types.SimpleNamespace(CvBridge=start))
    with pytest.raises(ImageError, match=r"cv_bridge does not start: AttributeError: _ARRAY_API not found$"):
        to_rgb(message(np.zeros((HEIGHT, WIDTH), np.uint16), "64FC1"))
