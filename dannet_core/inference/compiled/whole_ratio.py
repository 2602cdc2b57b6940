"""Camera bytes shrunk by whole numbers of rows and columns: their sums are whole numbers, which are looked up."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import types, uint16, uintp

from dannet_core.inference.compiled.jit import FLOAT_ROWS, GIVEN_BYTES, VOLUME, compiled
from dannet_core.pixels import NORMALIZED

MOST_SUMMED: Final = 65535 // 255
"""Bytes whose sum fits into 16 bits."""
_WORDS = types.Array(types.uint16, 1, "C")


def whole_ratio(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[np.uintp, np.uintp] | None:
    """Rows and columns that make up one, from one (height, width) to another; None where that is no whole number."""
    (height, width), (few_rows, few_columns) = size, wanted
    rows, columns = height // few_rows, width // few_columns
    if (rows * few_rows, columns * few_columns) != size or rows * columns > MOST_SUMMED:
        return None
    return np.uintp(rows), np.uintp(columns)


@lru_cache(maxsize=8)
def averages(summed: int) -> npt.NDArray[np.float32]:
    """3 x (255 ``summed`` + 1): the normalised value of red, green and blue for each sum of that many bytes.

    An average is rounded to a byte first, half to even, as `shrink_rows` does.
    """
    sums = np.arange(255 * summed + 1, dtype=np.float32)
    return np.ascontiguousarray(NORMALIZED[:, np.rint(sums * np.float32(1 / summed)).astype(np.intp)])


@compiled(types.void(GIVEN_BYTES, types.uintp, types.uintp, types.uintp, _WORDS))
def _add_rows(data: Any, start: Any, step: Any, count: Any, out: Any) -> None:
    length = uintp(len(out))
    first = data[start : start + length]
    for i in range(length):
        out[i] = first[i]
    for n in range(uintp(1), count):
        row = data[start + n * step : start + n * step + length]
        for i in range(length):
            out[i] += uint16(row[i])


@compiled(types.void(_WORDS, types.uintp, types.uintp, _WORDS))
def _add_columns(rows: Any, channels: Any, count: Any, out: Any) -> None:
    """Each sample and those of the pixels right of it; ``rows`` is longer than ``out`` by these."""
    length = uintp(len(out))
    first = rows[:length]
    for i in range(length):
        out[i] = first[i]
    for n in range(uintp(1), count):
        right = rows[n * channels : n * channels + length]
        for i in range(length):
            out[i] += right[i]


@compiled(types.void(GIVEN_BYTES, types.UniTuple(types.uintp, 5), types.UniTuple(types.uintp, 2), FLOAT_ROWS, VOLUME,
                     types.UniTuple(types.int64, 2)))  # fmt: skip
def shrink_wholly(data: Any, layout: Any, ratio: Any, table: Any, image: Any, which: Any) -> None:
    """Write some rows of a network's input, the bits of `shrink_rows`, in half the time.

    Args:
        data: bytes of a picture.
        layout: bytes from a row to the next, bytes of a pixel, and which of them are red, green and blue.
        ratio: rows and columns of the picture that make up one, see `whole_ratio`.
        table: see `averages`.
        image: 3 x h x w float32, to be written.
        which: the first row, and the one behind the last.
    """
    step, channels, red, green, blue = layout
    stride = ratio[1] * channels
    length = uintp(image.shape[2]) * stride
    rows, sums = np.zeros(length + stride, np.uint16), np.empty(length, np.uint16)
    for y in range(uintp(which[0]), uintp(which[1])):
        _add_rows(data, y * ratio[0] * step, step, ratio[0], rows[:length])
        _add_columns(rows, channels, ratio[1], sums)
        reds, greens, blues = image[0, y], image[1, y], image[2, y]
        at = uintp(0)
        for x in range(uintp(len(reds))):
            reds[x] = table[0, sums[at + red]]
            greens[x] = table[1, sums[at + green]]
            blues[x] = table[2, sums[at + blue]]
            at += stride
