from __future__ import annotations

import array
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("sensor_msgs", reason="sensor_msgs (ROS 2) is needed to convert messages")

from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dannet_core.errors import ImageError
from dannet_ros.conversions import ENCODINGS, ReusedImage, image_to_rgb, to_image, to_rgb

pytestmark = pytest.mark.ros
HEIGHT, WIDTH = 66, 80


def message(pixels: np.ndarray, encoding: str, padding: int = 0) -> Any:
    """The message a driver would send: rows of ``pixels`` with ``padding`` bytes of 0xAA after each."""
    rows = pixels.reshape(pixels.shape[0], -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAA)
    out = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=padded.shape[1])
    out.data = array.array("B", padded.tobytes())
    return out


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    """Smooth, so that Bayer and YUV lose little, and different in every channel and direction."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([40 + 2 * x, 230 - 2 * y, 30 + x + y], axis=2).astype(np.uint8)


@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("8UC3", [2, 1, 0]), ("rgba8", [0, 1, 2, 0]), ("bgra8", [2, 1, 0, 0]),
     ("8UC4", [2, 1, 0, 0])],
)  # fmt: skip
def test_channel_orders_and_step_are_honoured(rgb: np.ndarray, encoding: str, order: list[int], padding: int) -> None:
    np.testing.assert_array_equal(to_rgb(message(rgb[:, :, order], encoding, padding)), rgb)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_becomes_equal_channels(rgb: np.ndarray, encoding: str, padding: int) -> None:
    grey = rgb[:, :, 0]
    np.testing.assert_array_equal(to_rgb(message(grey, encoding, padding)), np.dstack([grey] * 3))


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_mean_the_first_two_rows(rgb: np.ndarray, pattern: str, padding: int) -> None:
    mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
    for index, letter in enumerate(pattern):
        row, column = divmod(index, 2)
        mosaic[row::2, column::2] = rgb[row::2, column::2, "rgb".index(letter)]
    got = to_rgb(message(mosaic, f"bayer_{pattern}8", padding)).astype(int)
    inside = np.s_[4:-4, 4:-4]
    assert np.abs(got[inside] - rgb[inside]).max() <= 3


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize(("encoding", "luma_first"), [("yuv422", 0), ("uyvy", 0), ("yuv422_yuy2", 1), ("yuyv", 1)])
def test_yuv422_byte_orders(rgb: np.ndarray, encoding: str, luma_first: int, padding: int) -> None:
    red, green, blue = (rgb[:, :, c].astype(float) for c in range(3))
    luma = 16 + (65.738 * red + 129.057 * green + 25.064 * blue) / 256
    u = 128 + (-37.945 * red - 74.494 * green + 112.439 * blue) / 256
    v = 128 + (112.439 * red - 94.154 * green - 18.285 * blue) / 256
    packed = np.empty((HEIGHT, WIDTH, 2))
    packed[:, :, 1 - luma_first] = luma
    packed[:, ::2, luma_first] = (u[:, ::2] + u[:, 1::2]) / 2
    packed[:, 1::2, luma_first] = (v[:, ::2] + v[:, 1::2]) / 2
    got = to_rgb(message(np.rint(packed).astype(np.uint8), encoding, padding)).astype(int)
    assert np.abs(got - rgb).max() <= 6


def test_rgb8_is_a_view_of_the_message(rgb: np.ndarray) -> None:
    sent = message(rgb, "rgb8", padding=6)
    view = image_to_rgb(sent)
    sent.data[0] = 99
    assert view[0, 0, 0] == 99


def test_last_row_may_lack_its_padding(rgb: np.ndarray) -> None:
    sent = message(rgb, "rgb8", padding=6)
    del sent.data[-6:]
    np.testing.assert_array_equal(to_rgb(sent), rgb)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"encoding": "mono12"}, "encoding"),
        ({"encoding": "32FC1"}, "encoding"),
        ({"encoding": ""}, "encoding"),
        ({"encoding": "x" * 100_000}, "encoding"),
        ({"step": 0}, "step"),
        ({"step": WIDTH * 3 - 1}, "step"),
        ({"step": 2**32 - 1}, "data"),
        ({"height": 0}, "height"),
        ({"width": 0}, "width"),
        ({"width": 63}, "width"),
        ({"height": 2**32 - 1}, "height"),
        ({"width": 2**32 - 1, "height": 2**32 - 1}, "width"),
        ({"height": HEIGHT + 1}, "data"),
        ({"data": array.array("B")}, "data"),
    ],
)
def test_wrong_fields_are_refused_in_one_line_that_names_them(
    rgb: np.ndarray, changes: dict[str, Any], named: str
) -> None:
    sent = message(rgb, "rgb8")
    for field, value in changes.items():
        setattr(sent, field, value)
    with pytest.raises(ImageError, match=named) as refused:
        to_rgb(sent)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("encoding", [name for name, e in ENCODINGS.items() if e.even_width])
def test_odd_width_is_refused_where_pixels_come_in_pairs(encoding: str) -> None:
    with pytest.raises(ImageError, match="got 65x64, expected even ones"):
        to_rgb(message(np.zeros((64, 65, 2), np.uint8), encoding))


def test_every_encoding_survives_odd_sizes() -> None:
    for name, encoding in ENCODINGS.items():
        width, height = 66 if encoding.even_width else 65, 66 if encoding.even_height else 67
        sent = message(np.zeros((height, width, encoding.bytes_per_pixel), np.uint8), name, padding=1)
        sent.data.extend(bytes(int(height * (encoding.rows_per_row - 1)) * sent.step))
        assert to_rgb(sent).shape == (height, width, 3), name


@pytest.mark.parametrize(("encoding", "rows_per_row"), [("nv12", 1.5), ("nv21", 1.5), ("nv24", 3.0)])
def test_a_step_that_is_all_bytes_by_the_height_is_read_as_the_width(encoding: str, rows_per_row: float) -> None:
    rows = np.random.default_rng(3).integers(0, 256, (int(HEIGHT * rows_per_row), WIDTH), dtype=np.uint8)
    right = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=WIDTH, data=rows.tobytes())
    as_depthai = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=rows.size // HEIGHT, data=rows.tobytes())
    np.testing.assert_array_equal(to_rgb(as_depthai), to_rgb(right))


@pytest.mark.parametrize(
    ("written", "meant"), [("NV12", "nv12"), ("RGB8", "rgb8"), ("8uc3", "8UC3"), (" mono8", "mono8")]
)
def test_a_name_in_other_letters_is_refused_with_the_right_one(written: str, meant: str) -> None:
    with pytest.raises(ImageError, match=f"encoding: got '{written}', expected '{meant}'"):
        to_rgb(Image(height=64, width=64, encoding=written, step=192, data=bytes(64 * 192)))


def test_made_messages_hold_the_pixels_and_share_the_header(rgb: np.ndarray) -> None:
    header = Header(frame_id="camera")
    sent = to_image(rgb[:, ::2], "rgb8", header)
    assert sent.header is header
    assert (sent.height, sent.width, sent.step, sent.encoding) == (HEIGHT, WIDTH // 2, WIDTH // 2 * 3, "rgb8")
    np.testing.assert_array_equal(
        to_rgb(Image(height=66, width=80, step=240, encoding="rgb8", data=rgb.tobytes())), rgb
    )
    np.testing.assert_array_equal(image_to_rgb(to_image(rgb, "rgb8", header)), rgb)


def test_reused_message_follows_pixels_header_and_size(rgb: np.ndarray) -> None:
    reused = ReusedImage("mono8")
    for grey in (rgb[:, :, 0], rgb[:, :, 1], rgb[:64, :70, 2]):
        header = Header(frame_id=str(grey.shape))
        np.copyto(reused.pixels(*grey.shape), grey)
        sent = reused.message(header)
        assert sent.header is header
        assert (sent.height, sent.width, sent.step) == (*grey.shape, grey.shape[1])
        np.testing.assert_array_equal(np.frombuffer(sent.data, np.uint8).reshape(grey.shape), grey)


def test_compressed_depth_is_refused() -> None:
    sent = CompressedImage(
        format="32FC1; compressedDepth png", data=cv2.imencode(".png", np.zeros((64, 64)))[1].tobytes()
    )
    with pytest.raises(ImageError, match="depth"):
        to_rgb(sent)
