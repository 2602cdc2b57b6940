"""sensor_msgs/Image as ROS's generated C code lays it out in memory, for those who go past rclpy's copies.

Only what the generated code itself shows to be so is believed, see `layout_is_known`.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dannet_ros.conversions import to_image


class CSequence(ctypes.Structure):
    """rosidl_runtime_c's String and uint8 Sequence."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("capacity", ctypes.c_size_t))


class CImage(ctypes.Structure):
    """sensor_msgs/Image as rosidl's generator for C lays it out."""

    _fields_ = (
        ("sec", ctypes.c_int32),
        ("nanosec", ctypes.c_uint32),
        ("frame_id", CSequence),
        ("height", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
        ("encoding", CSequence),
        ("is_bigendian", ctypes.c_uint8),
        ("step", ctypes.c_uint32),
        ("data", CSequence),
    )


def type_support() -> Any:
    """What rclpy asks for the generated code: the metaclass of Image, with its functions loaded."""
    kind = Image.__class__
    kind.__import_type_support__()
    return kind


def function_address(capsule: object) -> int:
    """Where the generated function in ``capsule`` lies."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.argtypes, get.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p
    found: int = get(capsule, None)
    return found


def capsule_of(address: int) -> object:
    """The reverse of `function_address`; whoever makes one keeps the function alive."""
    make = ctypes.pythonapi.PyCapsule_New
    make.argtypes, make.restype = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p), ctypes.py_object
    return make(address, None, None)


def layout_is_known() -> bool:
    """Let the generated code fill a C message, and look at what it wrote. No address is followed before sizes fit."""
    kind = type_support()
    make = ctypes.CFUNCTYPE(ctypes.c_void_p)(function_address(kind._CREATE_ROS_MESSAGE))  # noqa: SLF001  as rclpy does
    destroy = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(function_address(kind._DESTROY_ROS_MESSAGE))  # noqa: SLF001
    fill = ctypes.PYFUNCTYPE(ctypes.c_bool, ctypes.py_object, ctypes.c_void_p)(
        function_address(kind._CONVERT_FROM_PY)  # noqa: SLF001
    )
    sample = to_image(_SAMPLE, "rgb8", Header(frame_id="a camera's frame"))
    sample.header.stamp.sec, sample.header.stamp.nanosec, sample.is_bigendian = -1_234_567, 987_654_321, 1
    made = make()
    if not made:
        return False
    try:
        return bool(fill(sample, made)) and _is(CImage.from_address(made), sample)
    finally:
        destroy(made)


_SAMPLE: Final = np.arange(23 * 29 * 3, dtype=np.uint32).astype(np.uint8).reshape(23, 29, 3)


def _is(filled: CImage, sample: Any) -> bool:
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
