"""Image messages handed to rcl as they lie in memory.

rclpy copies a message's pixels once more before DDS does, with Python's global lock held: 0.8 ms of the 1.6 ms that
publishing a 1080p rgb8 picture takes while nobody listens. Where the layout of the C message is the one known here,
which is asked of the code that ROS generated, pixels go to DDS from where they were written, without that lock.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from dannet_ros.c_image import CImage, CSequence, layout_is_known
from dannet_ros.conversions import Pixels, to_image

SWITCH: Final = "DANNET_PUBLISH"
"""Environment variable: ``rclpy`` keeps to rclpy, e.g. to compare with."""


class DirectImage:
    """Like `dannet_ros.conversions.ReusedImage`, with the pixels in memory of its own and a C message over them.

    Only where `works_here`.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._message = CImage()
        self._texts: dict[str, ctypes.Array[ctypes.c_char]] = {}
        self._pixels: Pixels = np.empty(0, np.uint8)
        self._write("encoding", encoding)

    def pixels(self, height: int, width: int) -> Pixels:
        """Where to write: H x W uint8 for ``mono8``, H x W x 3 for ``rgb8``."""
        if self._pixels.shape[:2] != (height, width):
            made = np.zeros((height, width) if self._encoding == "mono8" else (height, width, 3), np.uint8)
            self._pixels, message = made, self._message
            message.height, message.width, message.step = height, width, made.strides[0]
            message.data = CSequence(made.ctypes.data, made.size, made.size)
        return self._pixels

    def publish(self, publisher: Any, header: Any) -> None:
        """Publish what was written, under ``header``; nothing where the lifecycle publisher is not active."""
        if not publisher.is_activated:
            return
        self._message.sec, self._message.nanosec = header.stamp.sec, header.stamp.nanosec
        self._write("frame_id", header.frame_id)
        rcl = _rcl()
        assert rcl is not None, "only where it works"
        with publisher.handle:
            failed = rcl.publish(publisher.handle.pointer, ctypes.addressof(self._message), None)
        if failed:
            rcl.reset_error()
            publisher.publish(to_image(self._pixels, self._encoding, header))  # raises what rclpy makes of it

    def _write(self, field: str, text: str) -> None:
        kept = self._texts[field] = ctypes.create_string_buffer(text.encode())
        setattr(self._message, field, CSequence(ctypes.addressof(kept), len(kept) - 1, len(kept)))


@cache
def works_here() -> bool:
    """Whether this ROS has the layout known here, and rcl can be called."""
    if os.environ.get(SWITCH) == "rclpy":
        return False
    try:
        return _rcl() is not None and layout_is_known()
    except (AttributeError, OSError, TypeError, ValueError):
        return False


class _Rcl(NamedTuple):
    publish: Callable[[int, int, None], int]
    reset_error: Callable[[], None]


@cache
def _rcl() -> _Rcl | None:
    importlib.import_module("rclpy.impl.implementation_singleton")  # brings the libraries with it
    try:
        publish, reset_error = ctypes.CDLL("librcl.so").rcl_publish, ctypes.CDLL("librcutils.so").rcutils_reset_error
    except (AttributeError, OSError):
        return None
    publish.argtypes, publish.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p), ctypes.c_int
    reset_error.argtypes, reset_error.restype = (), None
    return _Rcl(publish, reset_error)
