from __future__ import annotations

import contextlib
import struct
import zlib

import cv2
import numpy as np
import pytest

pytest.importorskip("sensor_msgs", reason="sensor_msgs (ROS 2) is needed by the node's modules")

from sensor_msgs.msg import CompressedImage, Image

from dannet_core.errors import ImageError
from dannet_core.tone import ToneMapper
from dannet_ros.compressed import decode
from dannet_ros.conversions import to_camera, to_rgb

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


@pytest.mark.parametrize("behind", [bytes(20), b"\xff" * 4096, b"\r\n", bytes(range(255)) * 20, b"\xff\xd9"])
def test_whatever_follows_a_jpeg_is_ignored(rgb: np.ndarray, behind: bytes) -> None:
    data = encoded(rgb, ".jpg")
    np.testing.assert_array_equal(decode(np.concatenate([data, np.frombuffer(behind, np.uint8)])), decode(data))


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


def mosaic_of(rgb: np.ndarray, pattern: str) -> np.ndarray:
    mosaic = np.empty(rgb.shape[:2], np.uint8)
    for index, letter in enumerate(pattern):
        row, column = divmod(index, 2)
        mosaic[row::2, column::2] = rgb[row::2, column::2, "rgb".index(letter)]
    return mosaic


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("form", ["bayer_{}8; png compressed ", "bayer_{0}8; png compressed bayer_{0}8", "bayer_{}8"])
def test_a_mosaic_inside_becomes_the_colours_of_the_raw_one(rgb: np.ndarray, pattern: str, form: str) -> None:
    mosaic = mosaic_of(rgb, pattern)
    raw = Image(height=70, width=90, step=90, encoding=f"bayer_{pattern}8", data=mosaic.tobytes())
    message = CompressedImage(format=form.format(pattern), data=cv2.imencode(".png", mosaic)[1].tobytes())
    np.testing.assert_array_equal(to_rgb(message), to_rgb(raw))
    assert to_camera(message).encoding == f"bayer_{pattern}8"
    grey_as_colours = CompressedImage(
        format=form.format(pattern), data=encoded(np.dstack([mosaic] * 3), ".png").tobytes()
    )
    np.testing.assert_array_equal(to_rgb(grey_as_colours), to_rgb(raw))
    as_jpeg = CompressedImage(format=form.format(pattern).replace("png", "jpeg"))
    as_jpeg.data = cv2.imencode(".jpg", mosaic, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    assert np.abs(to_rgb(as_jpeg).astype(int) - to_rgb(raw)).mean() < 2


def test_a_mosaic_that_was_turned_into_colours_before_is_left_as_it_is(rgb: np.ndarray) -> None:
    for form in ("bayer_rggb8; png compressed bgr8", "bayer_rggb8; png compressed "):
        message = CompressedImage(format=form, data=encoded(rgb, ".png").tobytes())
        np.testing.assert_array_equal(to_rgb(message), rgb)
    grey = CompressedImage(
        format="bayer_rggb8; png compressed bgr8", data=cv2.imencode(".png", rgb[:, :, 0])[1].tobytes()
    )
    with pytest.raises(
        ImageError, match="format: says that bayer_rggb8 was turned into colours, but the picture is grey"
    ):
        to_rgb(grey)


@pytest.mark.parametrize(
    "form",
    ["rgb8; jpeg compressed bgr8", "bgr8; png compressed bgr8", "bgr8; jpeg compressed ", "rgba8; png compressed bgra8",
     "8UC3; jpeg compressed bgr8", "yuv422_yuy2; jpeg compressed bgr8", "nv12; jpeg compressed bgr8", "jpg", "mjpeg",
     "image/png", "mono8; png compressed ", "x" * 5000],
)  # fmt: skip
def test_colours_are_the_files_own_whatever_order_is_named(rgb: np.ndarray, form: str) -> None:
    np.testing.assert_array_equal(decode(encoded(rgb, ".png"), form), rgb)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("16UC1; png compressed ", "8 bits a sample: 16uc1"), ("16UC1", "16uc1"),
        ("mono16; jpeg compressed ", "png for samples of 16 bits"), ("mono12", "mono12"), ("16UC3; png", "16uc3"),
        ("32FC1; png compressed ", "32fc1"), ("rgb16; jpeg compressed bgr8", "png for samples"), ("8SC1; png", "8sc1"),
        ("8UC2; png compressed ", "8uc2"), ("z16; png compressed", "z16"), ("BayerRG8; png", "at most one of bayer_"),
        ("bayer_rggb16; png compressed bayer_rggb8", "at most one"),
        ("bayer_rggb8; png compressed bayer_bggr8", "at most one"),
        ("16UC1; compressedDepth png", "not a depth map"), ("16UC1; compressedDepth rvl", "not a depth map"),
        ("zstd", "JPEG or PNG"), ("h264", "JPEG or PNG"),
        ("hevc_nvenc", "JPEG or PNG"), ("nv12", "JPEG or PNG"), ("libx264", "JPEG or PNG"), ("theora", "JPEG or PNG"),
    ],
)  # fmt: skip
def test_formats_that_are_no_8_bit_picture_are_refused_by_what_they_are(rgb: np.ndarray, form: str, said: str) -> None:
    with pytest.raises(ImageError, match=f"(?i){said}") as refused:
        decode(encoded(rgb, ".png"), form)
    assert str(refused.value).startswith(f"format: got {form!r}, expected ")


@pytest.mark.parametrize("form", ["png", "", "{}; png compressed ", "{0}; png compressed {0}"])
def test_png_of_16_bits_is_mapped_like_raw_samples(rgb: np.ndarray, form: str) -> None:
    for samples, name in ((rgb.astype(np.uint16) * 16 + 15, "rgb16"), (rgb[:, :, 0].astype(np.uint16) * 64, "mono16")):
        stored = np.ascontiguousarray(samples[:, :, ::-1]) if samples.ndim == 3 else samples
        message = CompressedImage(format=form.format(name), data=cv2.imencode(".png", stored)[1].tobytes())
        raw = Image(height=70, width=90, step=samples[0].nbytes, encoding=name, data=samples.tobytes())
        np.testing.assert_array_equal(to_rgb(message, ToneMapper()), to_rgb(raw, ToneMapper()))
        assert to_camera(message, ToneMapper()).encoding == name
        with pytest.raises(ImageError, match=r"^data: got 16 bits a sample, expected 8, or a ToneMapper: "):
            to_rgb(message)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("form", ["bayer_{}16; png compressed ", "bayer_{0}16; png compressed bayer_{0}16"])
def test_a_mosaic_of_16_bits_inside_becomes_the_colours_of_the_raw_one(
    rgb: np.ndarray, pattern: str, form: str
) -> None:
    mosaic = mosaic_of(rgb, pattern).astype(np.uint16) * 16 + 9
    raw = Image(height=70, width=90, step=180, encoding=f"bayer_{pattern}16", data=mosaic.tobytes())
    for stored in (mosaic, np.dstack([mosaic] * 3)):
        message = CompressedImage(format=form.format(pattern), data=cv2.imencode(".png", stored)[1].tobytes())
        np.testing.assert_array_equal(to_rgb(message, ToneMapper()), to_rgb(raw, ToneMapper()))
    with pytest.raises(ImageError, match="was turned into colours, but the picture is grey"):
        to_rgb(CompressedImage(format=f"bayer_{pattern}16; png compressed bgr16",
                               data=cv2.imencode(".png", mosaic)[1].tobytes()))  # fmt: skip


@pytest.mark.parametrize(
    ("form", "deep", "said"),
    [
        ("rgb8; png compressed bgr8", True, "says 8 bits a sample, but the picture has 16"),
        ("mono8; png compressed ", True, "says 8 bits"),
        ("bayer_rggb8; png compressed ", True, "says 8 bits"),
        ("mono16; png compressed ", False, "says 16 bits a sample, but the picture has 8"),
        ("MONO16; PNG compressed", False, "says 16 bits"),
        ("bayer_grbg16; png compressed ", False, "says 16 bits"),
    ],
)
def test_a_depth_that_the_format_contradicts_is_refused(rgb: np.ndarray, form: str, deep: bool, said: str) -> None:
    grey = rgb[:, :, 0].astype(np.uint16 if deep else np.uint8)
    with pytest.raises(ImageError, match=f"^format: {said}"):
        decode(cv2.imencode(".png", grey)[1].ravel(), form)


def test_transparent_and_damaged_pngs_of_16_bits_are_refused(rgb: np.ndarray) -> None:
    deep = rgb.astype(np.uint16) * 257
    clear = np.dstack([deep, np.full(deep.shape[:2], 7, np.uint16)])
    with pytest.raises(ImageError, match="data: transparent in 100%"):
        decode(cv2.imencode(".png", clear)[1].ravel())
    with pytest.raises(ImageError, match="data: truncated PNG"):
        decode(cv2.imencode(".png", deep)[1].ravel()[:-50])
