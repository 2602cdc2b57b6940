"""The few tags of a TIFF that say how its samples are meant."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError

STARTS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BITS_PER_SAMPLE: Final = 258
PHOTOMETRIC: Final = 262
MAX_SAMPLE_VALUE: Final = 281
WHITE_IS_ZERO: Final = 0

_SHORT, _LONG = 3, 4
_MAX_TAGS: Final = 4096


def read_tags(data: npt.NDArray[np.uint8]) -> dict[int, int]:
    """First value of every whole-number tag of the first picture, by the tag's number.

    Args:
        data: 1-D uint8, beginning with one of `STARTS`.

    Raises:
        ImageError: the tags are not there.
    """
    view, order = data.data, "<" if data[0] == ord("I") else ">"
    big = 43 in (data[2], data[3])
    try:
        (at,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", view, 8 if big else 4)
        (count,) = struct.unpack_from(f"{order}Q" if big else f"{order}H", view, at)
        at += 8 if big else 2
        tags = {}
        for _ in range(min(count, _MAX_TAGS)):
            tag, kind, number = struct.unpack_from(f"{order}HHQ" if big else f"{order}HHI", view, at)
            if kind in (_SHORT, _LONG) and number:
                tags[tag] = _first_value(view, order, at, kind, number, 8 if big else 4)
            at += 20 if big else 12
    except (struct.error, OverflowError) as error:
        raise ImageError(f"truncated TIFF of {len(data)} bytes") from error
    return tags


def _first_value(view: memoryview, order: str, at: int, kind: int, number: int, room: int) -> int:
    where = at + 4 + room
    if number * (2 if kind == _SHORT else 4) > room:
        (where,) = struct.unpack_from(f"{order}Q" if room == 8 else f"{order}I", view, where)
    (value,) = struct.unpack_from(f"{order}H" if kind == _SHORT else f"{order}I", view, where)
    return int(value)
