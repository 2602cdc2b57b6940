"""Image messages used where rcl wrote them.

rclpy makes a Python message of what rcl took: all pixels are copied twice, with Python's global lock held, 1.1 ms for a
1080p picture. What it calls for that is a function that ROS generated for the message type. Here it calls another one,
which takes the C message's pixels over as they lie.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from std_msgs.msg import Header

from dannet_ros.c_image import CImage, CSequence, capsule_of, function_address, layout_is_known, type_support

SWITCH: Final = "DANNET_RECEIVE"
"""Environment variable: ``rclpy`` keeps to rclpy's messages, e.g. to compare with."""


class TakenImage:
    """The fields of a sensor_msgs/Image; for whoever reads them by name.

    Attributes:
        header: std_msgs/Header.
        height: rows.
        width: columns.
        encoding: as sensor_msgs/image_encodings names it.
        is_bigendian: 0 or 1, what came.
        step: bytes a row.
        data: uint8, one-dimensional; the memory is given back with the last view of it.
    """

    __slots__ = ("data", "encoding", "header", "height", "is_bigendian", "step", "width")

    def __init__(self, taken: CImage) -> None:
        """Take the pixels over: the C message has none afterwards."""
        self.header = Header(frame_id=_text(taken.frame_id))
        self.header.stamp.sec, self.header.stamp.nanosec = taken.sec, taken.nanosec
        self.height, self.width, self.step = taken.height, taken.width, taken.step
        self.encoding, self.is_bigendian = _text(taken.encoding), taken.is_bigendian
        self.data = _Pixels(taken.data).array


class _Pixels:
    """Owns a sequence that was the C message's."""

    def __init__(self, sequence: CSequence) -> None:
        self._owned = CSequence(sequence.data, sequence.size, sequence.capacity)
        self._free = _free()
        sequence.data, sequence.size, sequence.capacity = None, 0, 0

    @property
    def array(self) -> npt.NDArray[np.uint8]:
        """A view that keeps its owner."""
        return np.asarray(self) if self._owned.size else np.empty(0, np.uint8)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {
            "shape": (self._owned.size,),
            "typestr": "|u1",
            "data": (self._owned.data, False),
            "version": 3,
        }

    def __del__(self) -> None:
        self._free(ctypes.byref(self._owned))


def take_directly(subscription: Any) -> bool:
    """Have ``subscription``, of rclpy to a sensor_msgs/Image, give its callback a `TakenImage` of what comes.

    Returns:
        False where this ROS is not laid out as is known here: all stays as it is then.
    """
    if not works_here():
        return False
    subscription.msg_type = _taking()
    return True


@cache
def works_here() -> bool:
    """Whether this ROS has the layout known here."""
    if os.environ.get(SWITCH) == "rclpy":
        return False
    try:
        return layout_is_known() and _free() is not None
    except (AttributeError, OSError, TypeError, ValueError):
        return False


@cache
def _taking() -> type:
    """`TakenImage` as rclpy looks at message types: by the functions that their metaclass names."""
    kind = type_support()
    rclpys = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p)(
        function_address(kind._CONVERT_TO_PY)  # noqa: SLF001  as rclpy does
    )

    def take(address: int) -> Any:
        try:
            return TakenImage(CImage.from_address(address))
        except Exception:  # noqa: BLE001  an exception must not go through C: let rclpy say what is wrong
            return rclpys(address)

    called = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p)(take)
    functions = {"_CONVERT_TO_PY": capsule_of(ctypes.cast(called, ctypes.c_void_p).value or 0), "called": called}
    metaclass = type("TakenImageType", (kind,), functions)
    made: type = metaclass("TakenImageMessage", (), {})
    return made


@cache
def _free() -> Any:
    free = ctypes.CDLL("librosidl_runtime_c.so").rosidl_runtime_c__uint8__Sequence__fini
    free.argtypes, free.restype = (ctypes.c_void_p,), None
    return free


def _text(part: CSequence) -> str:
    return ctypes.string_at(part.data, part.size).decode("utf-8", "replace") if part.size else ""
