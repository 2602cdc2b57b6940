"""Fields of serialised (CDR) messages, read and written in place: to build the messages would take milliseconds."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from dannet_core.errors import ImageError
from dannet_core.pixels import Labels
from dannet_ros.replay.scanned import Bytes

_ENCAPSULATION: Final = 4
"""Bytes before the message, from whose end alignment counts; the second one's lowest bit says little endian."""


class _Fields:
    def __init__(self, data: Bytes) -> None:
        self._data, self.order, self.at = data, byte_order(data), _ENCAPSULATION

    def number(self) -> int:
        """The next uint32."""
        self.at += -(self.at - _ENCAPSULATION) % 4
        (value,) = struct.unpack_from(self.order + "I", self._data, self.at)
        self.at += 4
        return int(value)

    def skip_text(self) -> None:
        length = self.number()
        self.at += length


def byte_order(data: Bytes | bytearray) -> str:
    """`struct`'s sign of a message's byte order."""
    return "<" if data[1] & 1 else ">"


def stamp_of(data: Bytes) -> int:
    """Stamp in nanoseconds of a message whose first field is its header.

    Raises:
        ImageError: the message ends before it.
    """
    try:
        seconds, nanoseconds = struct.unpack_from(byte_order(data) + "iI", data, _ENCAPSULATION)
    except (struct.error, IndexError) as error:
        raise ImageError(f"damaged message of {len(data)} bytes: no header") from error
    return int(seconds) * 10**9 + int(nanoseconds)


def with_stamp(data: Bytes, stamp_ns: int) -> bytes:
    """The message with another stamp."""
    changed = bytearray(data)
    struct.pack_into(byte_order(data) + "iI", changed, _ENCAPSULATION, stamp_ns // 10**9, stamp_ns % 10**9)
    return bytes(changed)


def labels_of(data: Bytes) -> Labels:
    """Pixels of a mono8 sensor_msgs/Image, H x W uint8, without a copy.

    Raises:
        ImageError: the bytes are not of such a message.
    """
    try:
        fields = _Fields(data)
        fields.number(), fields.number()  # stamp
        fields.skip_text()  # frame_id
        height, width = fields.number(), fields.number()
        fields.skip_text()  # encoding
        fields.at += 1  # is_bigendian
        step, size = fields.number(), fields.number()
        return np.frombuffer(data, np.uint8, size, fields.at).reshape(height, step)[:, :width]
    except (struct.error, ValueError, IndexError) as error:
        raise ImageError(f"damaged sensor_msgs/msg/Image of {len(data)} bytes: {error}") from error
