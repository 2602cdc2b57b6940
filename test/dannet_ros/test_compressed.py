from __future__ import annotations

import contextlib
import struct
import zlib

import cv2
import numpy as np
import pytest

pytest.importorskip("sensor_msgs", reason="sensor_msgs (ROS 2) is needed by the node's modules")

from sensor_msgs.msg import CompressedImage

from dannet_core.errors import ImageError
from dannet_ros.compressed import decode
from dannet_ros.conversions import to_rgb

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    y, x = np.mgrid[0:70, 0:90]
    return np.stack([2 * x, 3 * y, 255 - x - y], axis=2).astype(np.uint8)


def encoded(rgb: np.ndarray, suffix: str) -> np.ndarray:
    return cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 98])[1].ravel()


def png_claiming(width: int, height: int) -> np.ndarray:
    """A few bytes whose header promises width x height pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return np.frombuffer(data + chunk(b"IEND", b""), np.uint8)


def test_png_is_exact_and_jpeg_is_close(rgb: np.ndarray) -> None:
    np.testing.assert_array_equal(decode(encoded(rgb, ".png")), rgb)
    assert np.abs(decode(encoded(rgb, ".jpg")).astype(int) - rgb).mean() < 3


@pytest.mark.parametrize("form", ["jpeg", "png", "rgb8; jpeg compressed bgr8", ""])
def test_the_bytes_decide_whatever_format_says(rgb: np.ndarray, form: str) -> None:
    message = CompressedImage(format=form, data=encoded(rgb, ".png").tobytes())
    np.testing.assert_array_equal(to_rgb(message), rgb)


def test_grey_files_become_rgb(rgb: np.ndarray) -> None:
    grey = rgb[:, :, 1]
    np.testing.assert_array_equal(decode(cv2.imencode(".png", grey)[1].ravel()), np.dstack([grey] * 3))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(rgb: np.ndarray, suffix: str, kept: float) -> None:
    data = encoded(rgb, suffix)
    with pytest.raises(ImageError, match=r"truncated|expected JPEG or PNG"):
        decode(data[: int(len(data) * kept)])


def test_zero_padding_after_a_jpeg_is_accepted(rgb: np.ndarray) -> None:
    data = encoded(rgb, ".jpg")
    np.testing.assert_array_equal(decode(np.concatenate([data, np.zeros(20, np.uint8)])), decode(data))


@pytest.mark.parametrize(
    ("width", "height"), [(16384, 16384), (100_000, 100), (2**31 - 1, 2**31 - 1), (63, 64), (0, 0)]
)
def test_size_is_refused_before_decoding(width: int, height: int) -> None:
    with pytest.raises(ImageError, match=f"{width}x{height}"):
        decode(png_claiming(width, height))


def test_damaged_contents_are_refused() -> None:
    with pytest.raises(ImageError, match="damaged PNG"):
        decode(_broken_png())


def _broken_png() -> np.ndarray:
    data = (
        cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8))[1].ravel().copy()
    )
    data[37:41] = ord("?")  # the type of the first data chunk
    return data


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"GIF89a", b"\x00" * 100, b"\xff\xd8" + b"\xff" * 5000 + b"\xff\xd9"]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="data:"):
        decode(np.frombuffer(data, np.uint8))


def test_random_damage_never_raises_anything_else(rgb: np.ndarray) -> None:
    generator = np.random.default_rng(5)
    for suffix in (".jpg", ".png"):
        whole = encoded(rgb, suffix)
        for _ in range(150):
            data = whole.copy()
            data[generator.integers(0, len(data), 8)] = generator.integers(0, 256, 8)
            with contextlib.suppress(ImageError):
                assert decode(data).shape[2] == 3
