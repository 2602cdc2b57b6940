"""ROS image messages to arrays and back. Messages come from outside: every field is checked before it is believed."""

from __future__ import annotations

import array
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError
from dannet_core.inference.camera_image import DEEP_ENCODINGS, CameraImage
from dannet_core.inference.camera_image import ENCODINGS as CAMERA_ENCODINGS
from dannet_core.pixels import Rgb
from dannet_core.tone import ToneMapper
from dannet_ros.bridged import NoBridgeError, bridged_to_rgb
from dannet_ros.compressed import NO_TONE, decode_camera

Pixels = npt.NDArray[np.uint8]

_SAME_AS: Final = MappingProxyType(
    {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8", "yuv422": "uyvy", "yuv422_yuy2": "yuyv"}
)
ENCODINGS: Final = MappingProxyType(
    {**CAMERA_ENCODINGS, **{name: CAMERA_ENCODINGS[same] for name, same in _SAME_AS.items()}}
)
"""Accepted encodings of 8 bits (sensor_msgs/image_encodings, and nv12); those of 16 are `DEEP_ENCODINGS`. 8UC1, 8UC3
and 8UC4 name no colours: taken as grey, BGR and BGRA, as cv_bridge does. 8-bit data has no byte order, so
``is_bigendian`` is not looked at."""

_BY_LETTERS: Final = MappingProxyType({name.lower(): name for name in (*ENCODINGS, *DEEP_ENCODINGS)})
_SHOWN: Final = 40


def to_camera(message: Any, tone: ToneMapper | None = None) -> CameraImage:
    """Pixels of a sensor_msgs Image, as they came, or of a CompressedImage, decoded.

    An Image's are a view of the message.

    Args:
        message: the message.
        tone: what makes bytes of samples of 16 bits, and learns from them; None = they are refused: one picture does
            not tell how many of its bits count.

    Raises:
        ImageError: a field is wrong; the message names it.
    """
    # By name: without a ROS installation there is no class to compare with, but bags can be read all the same.
    if type(message).__name__.endswith("CompressedImage"):
        return compressed_to_camera(message, tone)
    return image_to_camera(message, tone)


def to_rgb(message: Any, tone: ToneMapper | None = None) -> Rgb:
    """Pixels of a sensor_msgs Image or CompressedImage as H x W x 3 uint8 RGB.

    ``rgb8`` is returned as a view of the message, rows ``step`` bytes apart; everything else is converted.

    Raises:
        ImageError: a field is wrong; the message names it.
    """
    return to_camera(message, tone).to_rgb()


def image_to_camera(message: Any, tone: ToneMapper | None = None) -> CameraImage:
    """See `to_camera`; ``message`` is a sensor_msgs/Image."""
    name = message.encoding
    encoding = ENCODINGS.get(name)
    if encoding is None:
        return _deep_to_camera(message, tone) if name in DEEP_ENCODINGS else _unknown_to_camera(message)
    data, step = np.frombuffer(message.data, dtype=np.uint8), message.step
    # depthai's driver divides all bytes by the height: only where no other reading fits is that taken for a step.
    if (
        encoding.rows_per_row > 1
        and step == message.width * encoding.rows_per_row
        and len(data) == step * message.height
    ):
        step = message.width
    return CameraImage(data, message.height, message.width, step, _SAME_AS.get(name, name))


def _deep_to_camera(message: Any, tone: ToneMapper | None) -> CameraImage:
    if tone is None:
        raise ImageError(f"encoding: got {message.encoding}, expected 8 bits a sample, or a ToneMapper: {NO_TONE}")
    if message.is_bigendian not in (0, 1):
        raise ImageError(f"is_bigendian: got {message.is_bigendian}, expected 0 or 1")
    data = np.frombuffer(message.data, dtype=np.uint8)
    camera = CameraImage(data, message.height, message.width, message.step, message.encoding)
    return camera.toned(tone, big_endian=bool(message.is_bigendian))


def _unknown_to_camera(message: Any) -> CameraImage:
    name = message.encoding
    got, near = f"encoding: got '{_short(name)}'", _BY_LETTERS.get(name[:_SHOWN].strip().lower())
    if near:
        raise ImageError(f"{got}, expected '{near}'")
    known = f"expected one of {', '.join((*ENCODINGS, *DEEP_ENCODINGS))}"
    try:
        return CameraImage.from_rgb(bridged_to_rgb(message))
    except NoBridgeError as error:
        raise ImageError(f"{got}, {known}; {error}") from error
    except ImageError as error:
        raise ImageError(f"{got}, not known here, and {error}") from error


def image_to_rgb(message: Any, tone: ToneMapper | None = None) -> Rgb:
    """See `to_rgb`; ``message`` is a sensor_msgs/Image."""
    return image_to_camera(message, tone).to_rgb()


def compressed_to_camera(message: Any, tone: ToneMapper | None = None) -> CameraImage:
    """See `to_camera`; ``message`` is a sensor_msgs/CompressedImage of a JPEG or PNG."""
    return decode_camera(np.frombuffer(message.data, dtype=np.uint8), message.format, tone)


def compressed_to_rgb(message: Any, tone: ToneMapper | None = None) -> Rgb:
    """See `to_rgb`; ``message`` is a sensor_msgs/CompressedImage of a JPEG or PNG."""
    return compressed_to_camera(message, tone).to_rgb()


def to_image(pixels: Pixels, encoding: str, header: Any) -> Any:
    """An array as sensor_msgs/Image.

    Args:
        pixels: H x W uint8 for ``mono8``, H x W x 3 uint8 for ``rgb8``.
        encoding: ``mono8`` or ``rgb8``.
        header: the input's header; shared, not copied. None = an empty one.
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

    Only for messages that are published, hence serialised, before they are filled again.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._message: Any = None
        self._pixels: Pixels = np.empty(0, np.uint8)

    def pixels(self, height: int, width: int) -> Pixels:
        """Where to write: the message's own memory, H x W uint8 for ``mono8``, H x W x 3 for ``rgb8``."""
        if self._message is None or self._pixels.shape[:2] != (height, width):
            shape = (height, width) if self._encoding == "mono8" else (height, width, 3)
            self._message = to_image(np.zeros(shape, np.uint8), self._encoding, None)
            self._pixels = np.frombuffer(self._message.data, np.uint8).reshape(shape)
        return self._pixels

    def message(self, header: Any) -> Any:
        """What was written, under ``header``."""
        self._message.header = header
        return self._message

    def publish(self, publisher: Any, header: Any) -> None:
        """Publish what was written, under ``header``."""
        publisher.publish(self.message(header))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
