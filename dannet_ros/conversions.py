"""ROS image messages to arrays and back. Messages come from outside: every field is checked before it is believed."""

from __future__ import annotations

import array
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError
from dannet_core.pixels import MAX_SIDE, MIN_SIDE, Rgb
from dannet_ros.compressed import decode

Pixels = npt.NDArray[np.uint8]


class _Encoding(NamedTuple):
    """How an encoding lies in memory and which OpenCV conversion makes RGB of it; None = it is RGB already."""

    bytes_per_pixel: int
    to_rgb: int | None
    even_width: bool = False


# OpenCV's old two-letter Bayer names start at the second row; its four-letter names mean what ROS means.
ENCODINGS: Final = MappingProxyType(
    {
        "rgb8": _Encoding(3, None),
        "bgr8": _Encoding(3, cv2.COLOR_BGR2RGB),
        "rgba8": _Encoding(4, cv2.COLOR_RGBA2RGB),
        "bgra8": _Encoding(4, cv2.COLOR_BGRA2RGB),
        "mono8": _Encoding(1, cv2.COLOR_GRAY2RGB),
        "8UC1": _Encoding(1, cv2.COLOR_GRAY2RGB),
        "8UC3": _Encoding(3, cv2.COLOR_BGR2RGB),
        "8UC4": _Encoding(4, cv2.COLOR_BGRA2RGB),
        "bayer_rggb8": _Encoding(1, cv2.COLOR_BayerRGGB2RGB),
        "bayer_bggr8": _Encoding(1, cv2.COLOR_BayerBGGR2RGB),
        "bayer_gbrg8": _Encoding(1, cv2.COLOR_BayerGBRG2RGB),
        "bayer_grbg8": _Encoding(1, cv2.COLOR_BayerGRBG2RGB),
        "yuv422": _Encoding(2, cv2.COLOR_YUV2RGB_UYVY, even_width=True),
        "uyvy": _Encoding(2, cv2.COLOR_YUV2RGB_UYVY, even_width=True),
        "yuv422_yuy2": _Encoding(2, cv2.COLOR_YUV2RGB_YUY2, even_width=True),
        "yuyv": _Encoding(2, cv2.COLOR_YUV2RGB_YUY2, even_width=True),
    }
)
"""Accepted encodings (sensor_msgs/image_encodings). 8UC1, 8UC3 and 8UC4 name no colours: taken as grey, BGR and BGRA,
as cv_bridge does. 8-bit data has no byte order, so ``is_bigendian`` is not looked at."""


def to_rgb(message: Any) -> Rgb:
    """Pixels of a sensor_msgs Image or CompressedImage as H x W x 3 uint8 RGB.

    ``rgb8`` is returned as a view of the message, rows ``step`` bytes apart; everything else is converted.

    Raises:
        ImageError: a field is wrong; the message names it.
    """
    # By name: without a ROS installation there is no class to compare with, but bags can be read all the same.
    return compressed_to_rgb(message) if type(message).__name__.endswith("CompressedImage") else image_to_rgb(message)


def image_to_rgb(message: Any) -> Rgb:
    """See `to_rgb`; ``message`` is a sensor_msgs/Image."""
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise ImageError(f"encoding: got '{_short(message.encoding)}', expected one of {', '.join(ENCODINGS)}")
    pixels = _view(message, encoding)
    if encoding.to_rgb is None:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, encoding.to_rgb), dtype=np.uint8)


def compressed_to_rgb(message: Any) -> Rgb:
    """See `to_rgb`; ``message`` is a sensor_msgs/CompressedImage of a JPEG or PNG, whatever ``format`` says."""
    if "compressedDepth" in message.format:
        raise ImageError(f"format: got '{_short(message.format)}', expected a colour or grey picture, not a depth map")
    return decode(np.frombuffer(message.data, dtype=np.uint8))


def to_image(pixels: Pixels, encoding: str, header: Any) -> Any:
    """An array as sensor_msgs/Image.

    Args:
        pixels: H x W uint8 for ``mono8``, H x W x 3 uint8 for ``rgb8``.
        encoding: ``mono8`` or ``rgb8``.
        header: the input's header; shared, not copied.
    """
    from sensor_msgs.msg import Image

    height, width = pixels.shape[:2]
    message = Image(header=header, height=height, width=width, encoding=encoding)
    message.step = width * (1 if pixels.ndim == 2 else pixels.shape[2])
    # An array.array is taken over as it is; bytes, memoryview and ndarray are checked byte by byte where checks are on.
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    message.data = data
    return message


class ReusedImage:
    """An Image message that is filled again for every frame: fresh megabytes cost more in page faults than in copying.

    Only for messages that are published, hence serialised, before the next `fill`.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._message: Any = None
        self._pixels: Pixels = np.empty(0, np.uint8)

    def fill(self, pixels: Pixels, header: Any) -> Any:
        """The message holding ``pixels`` (see `to_image`) under ``header``."""
        if self._message is None or self._pixels.shape != pixels.shape:
            self._message = to_image(pixels, self._encoding, header)
            self._pixels = np.frombuffer(self._message.data, np.uint8).reshape(pixels.shape)
        else:
            np.copyto(self._pixels, pixels)
            self._message.header = header
        return self._message


def _view(message: Any, encoding: _Encoding) -> Pixels:
    height, width, step, data = message.height, message.width, message.step, message.data
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        raise ImageError(f"width, height: got {width}x{height}, expected {MIN_SIDE} to {MAX_SIDE} pixels")
    if encoding.even_width and width % 2:
        raise ImageError(f"width: got {width}, expected an even width for {message.encoding}")
    row = width * encoding.bytes_per_pixel
    if step < row:
        raise ImageError(f"step: got {step}, expected at least {row} bytes for {width} {message.encoding} pixels")
    needed = step * (height - 1) + row
    if len(data) < needed:
        raise ImageError(f"data: got {len(data)} bytes, expected {needed} for {height} rows {step} bytes apart")
    shape, strides = (height, width, encoding.bytes_per_pixel), (step, encoding.bytes_per_pixel, 1)
    view: Pixels = np.ndarray(shape, np.uint8, data, strides=strides)
    return view[:, :, 0] if encoding.bytes_per_pixel == 1 else view


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "..."
