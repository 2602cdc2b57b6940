"""Raw encodings that this package does not know, by way of ROS's cv_bridge where that is installed."""

from __future__ import annotations

import importlib
import sys
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError, first_line
from dannet_core.pixels import MAX_SIDE, MIN_SIDE, Rgb, check_rgb

_MODULE: Final = "cv_bridge"
_SHOWN: Final = 160
"""Letters of an error of cv_bridge: some repeat the encoding, whatever its length."""


class NoBridgeError(ImageError):
    """cv_bridge is not installed, or does not start."""


def bridged_to_rgb(message: Any) -> Rgb:
    """Pixels of a sensor_msgs/Image as H x W x 3 uint8 RGB, converted by cv_bridge.

    Raises:
        NoBridgeError: it is not installed, or does not start; the message says which.
        ImageError: it does not convert this encoding, or the message's fields contradict each other.
    """
    bridge = _bridge()
    if isinstance(bridge, str):
        raise NoBridgeError(bridge)
    height, width = message.height, message.width
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in (height, width)):
        raise ImageError(f"width, height: got {width}x{height}, expected {MIN_SIDE} to {MAX_SIDE} pixels")
    try:
        kind, channels = bridge.encoding_to_dtype_with_channels(message.encoding)
        rows = _rows(message, np.dtype(kind), int(channels))
        converted = bridge.imgmsg_to_cv2(_whole(message, rows), "rgb8")
    except ImageError:
        raise
    except Exception as error:  # KeyError, TypeError, CvBridgeError, RuntimeError: each release has its own
        raise ImageError(f"cv_bridge: {type(error).__name__}: {first_line(error)[:_SHOWN]}") from error
    rgb = check_rgb(converted)
    if rgb.shape[:2] != (height, width):
        raise ImageError(f"cv_bridge: gave {rgb.shape[1]}x{rgb.shape[0]} pixels, expected {width}x{height}")
    return rgb


def _rows(message: Any, kind: np.dtype[Any], channels: int) -> npt.NDArray[Any]:
    """The samples without padding and in this machine's byte order: some releases look at neither."""
    data = np.frombuffer(message.data, np.uint8)
    row, height, step = message.width * channels * kind.itemsize, message.height, message.step
    read = f"as cv_bridge reads {message.encoding[:40]}: {channels} x {kind} a pixel"
    if step < row:
        raise ImageError(f"step: got {step}, expected at least {row} bytes for {message.width} pixels, {read}")
    if data.size < step * (height - 1) + row:
        raise ImageError(f"data: got {data.size} bytes, expected {step * (height - 1) + row} for {height} rows, {read}")
    rows = np.lib.stride_tricks.as_strided(data, (height, row), (step, 1), writeable=False)
    swapped: npt.NDArray[Any] = np.ascontiguousarray(rows).view(kind.newbyteorder(">" if message.is_bigendian else "<"))
    return swapped.astype(kind)


def _whole(message: Any, rows: npt.NDArray[Any]) -> Any:
    return SimpleNamespace(
        height=message.height,
        width=message.width,
        encoding=message.encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=rows[0].nbytes,
        data=bytearray(rows.tobytes()),
    )


@lru_cache(maxsize=1)
def _bridge() -> Any:
    """A CvBridge, or why there is none."""
    try:
        return importlib.import_module(_MODULE).CvBridge()
    except ModuleNotFoundError as error:
        if error.name == _MODULE:
            return "cv_bridge, which may know it, is not installed"
        return f"cv_bridge does not start: {first_line(error)}"
    except Exception as error:  # noqa: BLE001  one built for another NumPy raises what it likes
        return f"cv_bridge does not start: {type(error).__name__}: {first_line(error)}"
