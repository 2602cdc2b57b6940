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
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dannet_ros.conversions import Pixels, to_image

SWITCH: Final = "DANNET_PUBLISH"
"""Environment variable: ``rclpy`` keeps to rclpy, e.g. to compare with."""


class _Sequence(ctypes.Structure):
    """rosidl_runtime_c's String and uint8 Sequence."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("capacity", ctypes.c_size_t))


class _Image(ctypes.Structure):
    """sensor_msgs/Image as rosidl's generator for C lays it out."""

    _fields_ = (
        ("sec", ctypes.c_int32),
        ("nanosec", ctypes.c_uint32),
        ("frame_id", _Sequence),
        ("height", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
        ("encoding", _Sequence),
        ("is_bigendian", ctypes.c_uint8),
        ("step", ctypes.c_uint32),
        ("data", _Sequence),
    )


class DirectImage:
    """Like `dannet_ros.conversions.ReusedImage`, with the pixels in memory of its own and a C message over them.

    Only where `works_here`.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._message = _Image()
        self._texts: dict[str, ctypes.Array[ctypes.c_char]] = {}
        self._pixels: Pixels = np.empty(0, np.uint8)
        self._write("encoding", encoding)

    def pixels(self, height: int, width: int) -> Pixels:
        """Where to write: H x W uint8 for ``mono8``, H x W x 3 for ``rgb8``."""
        if self._pixels.shape[:2] != (height, width):
            made = np.zeros((height, width) if self._encoding == "mono8" else (height, width, 3), np.uint8)
            self._pixels, message = made, self._message
            message.height, message.width, message.step = height, width, made.strides[0]
            message.data = _Sequence(made.ctypes.data, made.size, made.size)
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
        setattr(self._message, field, _Sequence(ctypes.addressof(kept), len(kept) - 1, len(kept)))


@cache
def works_here() -> bool:
    """Whether this ROS has the layout known here, and rcl can be called."""
    if os.environ.get(SWITCH) == "rclpy":
        return False
    try:
        return _rcl() is not None and _layout_is_known()
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


def _layout_is_known() -> bool:
    """Let the generated code fill a C message, and look at what it wrote. No address is followed before sizes fit."""
    kind = Image.__class__
    kind.__import_type_support__()
    make = ctypes.CFUNCTYPE(ctypes.c_void_p)(_pointer(kind._CREATE_ROS_MESSAGE))  # noqa: SLF001  as rclpy does
    destroy = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_pointer(kind._DESTROY_ROS_MESSAGE))  # noqa: SLF001
    fill = ctypes.PYFUNCTYPE(ctypes.c_bool, ctypes.py_object, ctypes.c_void_p)(
        _pointer(kind._CONVERT_FROM_PY)  # noqa: SLF001
    )
    sample = to_image(_SAMPLE, "rgb8", Header(frame_id="a camera's frame"))
    sample.header.stamp.sec, sample.header.stamp.nanosec, sample.is_bigendian = -1_234_567, 987_654_321, 1
    made = make()
    if not made:
        return False
    try:
        return bool(fill(sample, made)) and _is(_Image.from_address(made), sample)
    finally:
        destroy(made)


_SAMPLE: Final = np.arange(23 * 29 * 3, dtype=np.uint32).astype(np.uint8).reshape(23, 29, 3)


def _is(filled: _Image, sample: Any) -> bool:
    stamp = sample.header.stamp
    numbers = (stamp.sec, stamp.nanosec, sample.height, sample.width, sample.step, sample.is_bigendian)
    if numbers != (filled.sec, filled.nanosec, filled.height, filled.width, filled.step, filled.is_bigendian):
        return False
    parts = (
        (filled.frame_id, sample.header.frame_id.encode()),
        (filled.encoding, sample.encoding.encode()),
        (filled.data, bytes(sample.data)),
    )
    sizes_fit = all(part.size == len(data) and part.capacity >= part.size and part.data for part, data in parts)
    return sizes_fit and all(ctypes.string_at(part.data, part.size) == data for part, data in parts)


def _pointer(capsule: object) -> int:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.argtypes, get.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p
    found: int = get(capsule, None)
    return found
