"""Camera bytes to network input in one pass: shrunk by area as OpenCV does it, then normalised."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from dannet_core.inference.compiled.jit import (
    FLOAT_ROWS,
    FLOATS,
    GIVEN_BYTES,
    INDICES,
    VOLUME,
    bits_of,
    compiled,
    multiply_add,
    MAGIC,
)  # fmt: skip

CHANNELS: Final = {"rgb8": (3, 0, 1, 2), "bgr8": (3, 2, 1, 0), "rgba8": (4, 0, 1, 2), "bgra8": (4, 2, 1, 0),
                   "mono8": (1, 0, 0, 0)}  # fmt: skip
"""Bytes of a pixel, and which of them are red, green and blue, of the encodings that are read as they come."""
_SLIVER: Final = 1e-3
"""OpenCV leaves out a share of a pixel that is smaller."""


class Shares(NamedTuple):
    """Which samples an averaged one is made of, along one axis.

    Attributes:
        first: (n + 1,) where the shares of sample i begin.
        start: (n,) the first source sample of sample i; the others follow.
        share: what each weighs.
    """

    first: npt.NDArray[np.int32]
    start: npt.NDArray[np.int32]
    share: npt.NDArray[np.float32]


SHARES = types.NamedTuple([INDICES, INDICES, FLOATS], Shares)
_LAYOUT = types.UniTuple(types.int64, 5)


@lru_cache(maxsize=8)
def make_shares(samples: int, wanted: int) -> Shares:
    """The shares for ``samples`` averaged to ``wanted`` fewer ones; whole ratios weigh 1 each, to be divided later."""
    scale = samples / wanted
    first, start, share = [0], [], []
    for i in range(wanted):
        left, right = i * scale, min((i + 1) * scale, float(samples))
        width = min(scale, samples - left)
        whole_left, whole_right = math.ceil(left), min(math.floor(right), samples - 1)
        whole_left = min(whole_left, whole_right)
        weights = [1.0 / width] * (whole_right - whole_left)
        begin = whole_left
        if whole_left - left > _SLIVER:
            weights.insert(0, (whole_left - left) / width)
            begin -= 1
        if right - whole_right > _SLIVER:
            weights.append(min(right - whole_right, 1.0, width) / width)
        start.append(begin)
        share += weights
        first.append(len(share))
    weights_of_all = np.array(share, np.float32)
    if samples % wanted == 0:
        weights_of_all[:] = 1
    return Shares(np.array(first, np.int32), np.array(start, np.int32), weights_of_all)


@compiled(types.void(GIVEN_BYTES, types.int64, types.int64, FLOATS, FLOATS))
def _mix_rows(data: Any, start: int, step: int, shares: Any, mixed: Any) -> None:
    """Rows of bytes, ``step`` apart, averaged to one."""
    length, count = len(mixed), len(shares)
    row_1, row_2 = data[start : start + length], data[start + (step if count > 1 else 0) :][:length]
    share_1, share_2 = shares[0], shares[1] if count > 1 else np.float32(0)
    for i in range(length):
        mixed[i] = multiply_add(np.float32(row_1[i]), share_1, np.float32(row_2[i]) * share_2)
    for n in range(2, count):
        row, share = data[start + n * step : start + n * step + length], shares[n]
        for i in range(length):
            mixed[i] = multiply_add(np.float32(row[i]), share, mixed[i])


@compiled(types.void(FLOATS, SHARES, types.UniTuple(types.int64, 2), types.float32, FLOATS, FLOATS))
def _mix_columns(mixed: Any, columns: Any, where: Any, scale: np.float32, table: Any, out: Any) -> None:
    """One channel of a mixed row, averaged to its columns, rounded to a byte, and looked up."""
    channels, channel = where
    for x in range(len(out)):
        at, first, last = columns.start[x] * channels + channel, columns.first[x], columns.first[x + 1]
        total = mixed[at] * columns.share[first]
        for n in range(first + 1, last):
            at += channels
            total += mixed[at] * columns.share[n]
        out[x] = table[(bits_of(total * scale + MAGIC)) & 255]


@compiled(types.void(GIVEN_BYTES, _LAYOUT, types.Tuple((SHARES, SHARES, types.float32)), FLOAT_ROWS, VOLUME,
                     types.UniTuple(types.int64, 2)))  # fmt: skip
def shrink_rows(data: Any, layout: Any, how: Any, table: Any, image: Any, which: Any) -> None:
    """Write some rows of a network's input.

    Args:
        data: bytes of a picture.
        layout: bytes from a row to the next, bytes of a pixel, and which of them are red, green and blue.
        how: shares of rows and of columns, and what their sum is multiplied by.
        table: 3 x 256 float32, the normalised value of each byte of red, green and blue.
        image: 3 x h x w float32, to be written.
        which: the first row, and the one behind the last.
    """
    step, channels = layout[0], layout[1]
    rows, columns, scale = how
    last_column = len(columns.start) - 1
    width = columns.start[last_column] + columns.first[last_column + 1] - columns.first[last_column]
    mixed = np.empty(width * channels, np.float32)
    for y in range(which[0], which[1]):
        _mix_rows(data, rows.start[y] * step, step, rows.share[rows.first[y] : rows.first[y + 1]], mixed)
        for c in range(3):
            _mix_columns(mixed, columns, (channels, layout[2 + c]), scale, table[c], image[c, y])
