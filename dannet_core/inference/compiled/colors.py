"""What is made of finished labels, row by row: unknown where unsure, colours, and the overlay."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from dannet_core.classes import IGNORE_ID
from dannet_core.inference.compiled.jit import (
    BYTE_ROWS,
    BYTES,
    FLOAT_ROWS,
    GIVEN_BYTE_ROWS,
    GIVEN_BYTES,
    compiled,
    multiply_add,
    put_word,
    rounded_byte,
)  # fmt: skip

_SHARES = types.UniTuple(types.float32, 2)
_UNKNOWN = np.uint8(IGNORE_ID)


@compiled(types.void(FLOAT_ROWS, types.float32, BYTE_ROWS))
def forget_unsure(confidence: Any, least: np.float32, labels: Any) -> None:
    """Labels whose confidence lies below ``least`` become 255; both rows x W."""
    for row in range(labels.shape[0]):
        for column in range(labels.shape[1]):
            if confidence[row, column] < least:
                labels[row, column] = _UNKNOWN


@compiled(types.void(BYTE_ROWS, GIVEN_BYTE_ROWS, BYTE_ROWS))
def color_rows(labels: Any, colormap: Any, colors: Any) -> None:
    """Write the colours of labels.

    Args:
        labels: rows x W uint8.
        colormap: 256 x 3 uint8 RGB.
        colors: rows x 3W uint8, to be written.
    """
    words = np.empty(256, np.uint32)
    for label in range(256):
        words[label] = colormap[label, 0] | np.uint32(colormap[label, 1]) << 8 | np.uint32(colormap[label, 2]) << 16
    last = labels.shape[1] - 1
    for row in range(labels.shape[0]):
        out = colors[row]
        for column in range(last):  # one store a pixel: its fourth byte is the next pixel's first
            put_word(out, 3 * column, words[labels[row, column]])
        for channel in range(3):
            out[3 * last + channel] = colormap[labels[row, last], channel]


@compiled(types.void(GIVEN_BYTES, BYTES, _SHARES, BYTES))
def _blend_row(picture: Any, colors: Any, shares: Any, out: Any) -> None:
    of_picture, of_colors = shares
    for i in range(len(out)):  # rounded as OpenCV does it
        out[i] = rounded_byte(multiply_add(np.float32(picture[i]), of_picture, np.float32(colors[i]) * of_colors))


@compiled(types.void(types.Tuple((GIVEN_BYTES, types.int64)), types.int64, BYTE_ROWS, _SHARES, BYTE_ROWS))
def blend_rows(picture: Any, first: int, colors: Any, shares: Any, overlay: Any) -> None:
    """Blend colours over a picture.

    Args:
        picture: bytes of an rgb8 picture, and from one of its rows to the next.
        first: its row that the first one here lies over.
        colors: rows x 3W uint8.
        shares: of the picture and of the colours, 0..1.
        overlay: rows x 3W uint8, to be written.
    """
    data, step = picture
    for row in range(overlay.shape[0]):
        start = (first + row) * step
        _blend_row(data[start : start + overlay.shape[1]], colors[row], shares, overlay[row])
