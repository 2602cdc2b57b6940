"""Both ends of a network: camera bytes shrunk and normalised in one pass, and a normalised picture back to bytes."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types, uintp

from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.compiled.jit import (
    BYTE_ROWS,
    FLOAT_ROWS,
    FLOATS,
    GIVEN_BYTES,
    GIVEN_VOLUME,
    MAGIC,
    VOLUME,
    bits_of,
    compiled,
    multiply_add,
    rounded_byte,
)  # fmt: skip
from dannet_core.inference.postprocess import LARGEST_SCORE

CHANNELS: Final = {"rgb8": (3, 0, 1, 2), "bgr8": (3, 2, 1, 0), "rgba8": (4, 0, 1, 2), "bgra8": (4, 2, 1, 0),
                   "mono8": (1, 0, 0, 0)}  # fmt: skip
"""Bytes of a pixel, and which of them are red, green and blue, of the encodings that are read as they come."""
_LARGEST = np.float32(LARGEST_SCORE)
_SLIVER: Final = 1e-3
"""OpenCV leaves out a share of a pixel that is smaller."""


class Shares(NamedTuple):
    """Which samples an averaged one is made of, along one axis.

    Attributes:
        start: (n,) the first source sample of each; the others follow.
        share: T x n float32, what each of them weighs; T is even, samples that some do not need weigh nothing.
    """

    start: npt.NDArray[np.uintp]
    share: npt.NDArray[np.float32]


_STARTS = types.Array(types.uintp, 1, "C")
SHARES = types.NamedTuple([_STARTS, FLOAT_ROWS], Shares)
_LAYOUT = types.UniTuple(types.uintp, 5)


@lru_cache(maxsize=8)
def make_shares(samples: int, wanted: int) -> Shares:
    """The shares of ``samples`` averaged to ``wanted`` fewer ones; whole ratios weigh 1 each, to be divided later."""
    scale = samples / wanted
    found = [_shares_of(i * scale, scale, samples) for i in range(wanted)]
    taps = max(len(weights) for _, weights in found)
    taps += taps % 2
    start, share = np.empty(wanted, np.uintp), np.zeros((taps, wanted), np.float32)
    for i, (begin, weights) in enumerate(found):
        start[i] = min(begin, max(0, samples - taps))
        before = begin - int(start[i])
        share[before : before + len(weights), i] = 1 if samples % wanted == 0 else weights
    return Shares(start, share)


def shrinks_faster(camera: CameraImage, size: tuple[int, int], resize: str) -> bool:
    """Whether `shrink_rows` makes a network's input of (height, width) from this picture, and before OpenCV does."""
    if resize != "area" or camera.encoding not in CHANNELS:
        return False
    smaller = 1 < size[0] <= camera.height and 1 < size[1] <= camera.width and size != camera.size
    return smaller and (2 * size[0], 2 * size[1]) != camera.size  # for which OpenCV has a way of its own


def make_layout(camera: CameraImage) -> tuple[np.uintp, ...]:
    """The ``layout`` of `shrink_rows`."""
    return tuple(np.uintp(number) for number in (camera.step, *CHANNELS[camera.encoding]))


def make_how(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[Shares, Shares, np.float32]:
    """The ``how`` of `shrink_rows`, from one (height, width) to another."""
    whole = [samples // few for samples, few in zip(size, wanted, strict=True) if samples % few == 0]
    rows, columns = (make_shares(samples, few) for samples, few in zip(size, wanted, strict=True))
    return rows, columns, np.float32(1 / math.prod(whole))


def _shares_of(left: float, scale: float, samples: int) -> tuple[int, list[float]]:
    """First source sample and weights of ``left`` to ``left + scale``, as OpenCV's tables have them."""
    right, width = left + scale, min(scale, samples - left)
    last = min(math.floor(right), samples - 1)
    begin = min(math.ceil(left), last)
    weights = [1 / width] * (last - begin)
    if begin - left > _SLIVER:
        weights.insert(0, (begin - left) / width)
        begin -= 1
    if right - last > _SLIVER:
        weights.append(min(right - last, 1.0, width) / width)
    return begin, weights


@compiled(types.void(GIVEN_BYTES, types.UniTuple(types.int64, 2), FLOATS, FLOATS))
def _mix_rows(data: Any, where: Any, shares: Any, mixed: Any) -> None:
    """Rows of bytes averaged to one."""
    start, step = where
    length = len(mixed)
    row_1, row_2 = data[start : start + length], data[start + step : start + step + length]
    for i in range(length):
        mixed[i] = multiply_add(np.float32(row_1[i]), shares[0], np.float32(row_2[i]) * shares[1])
    for n in range(2, len(shares)):
        if shares[n] != np.float32(0):
            row = data[start + n * step : start + n * step + length]
            for i in range(length):
                mixed[i] = multiply_add(np.float32(row[i]), shares[n], mixed[i])


@compiled(types.void(FLOATS, SHARES, _LAYOUT, types.uintp, FLOAT_ROWS))
def _mix_columns(mixed: Any, columns: Any, layout: Any, tap: Any, sums: Any) -> None:
    """Two samples of every column, of three channels, added to the sums; the first two replace them."""
    channels, red, green, blue = layout[1], layout[2], layout[3], layout[4]
    share_1, share_2 = columns.share[tap], columns.share[tap + uintp(1)]
    reds, greens, blues = sums[0], sums[1], sums[2]
    keep = np.float32(1) if tap > uintp(0) else np.float32(0)
    for x in range(uintp(len(reds))):
        at = (columns.start[x] + tap) * channels
        first, second = share_1[x], share_2[x]
        reds[x] = reds[x] * keep + mixed[at + red] * first + mixed[at + channels + red] * second
        greens[x] = greens[x] * keep + mixed[at + green] * first + mixed[at + channels + green] * second
        blues[x] = blues[x] * keep + mixed[at + blue] * first + mixed[at + channels + blue] * second


@compiled(types.void(FLOATS, types.float32, FLOATS, FLOATS))
def _look_up(sums: Any, scale: np.float32, table: Any, out: Any) -> None:
    for x in range(uintp(len(out))):
        out[x] = table[uintp(bits_of(sums[x] * scale + MAGIC) & 255)]


@compiled(types.void(GIVEN_BYTES, _LAYOUT, types.Tuple((SHARES, SHARES, types.float32)), FLOAT_ROWS, VOLUME,
                     types.UniTuple(types.int64, 2)))  # fmt: skip
def shrink_rows(data: Any, layout: Any, how: Any, table: Any, image: Any, which: Any) -> None:
    """Write some rows of a network's input.

    Args:
        data: bytes of a picture.
        layout: bytes from a row to the next, bytes of a pixel, and which of them are red, green and blue.
        how: shares of rows and of columns, and what a sum is multiplied by before it is rounded.
        table: 3 x 256 float32, the normalised value of each byte of red, green and blue.
        image: 3 x h x w float32, to be written.
        which: the first row, and the one behind the last.
    """
    rows, columns, scale = how
    mixed = np.empty((columns.start[-1] + uintp(len(columns.share))) * layout[1], np.float32)
    sums, weights = np.zeros((3, image.shape[2]), np.float32), np.empty(len(rows.share), np.float32)
    for y in range(which[0], which[1]):
        weights[:] = rows.share[:, y]
        _mix_rows(data, (rows.start[y] * layout[0], layout[0]), weights, mixed)
        for tap in range(uintp(0), uintp(len(columns.share)), uintp(2)):
            _mix_columns(mixed, columns, layout, tap, sums)
        for c in range(3):
            _look_up(sums[c], scale, table[c], image[c, y])


@compiled(types.int64(GIVEN_VOLUME, FLOATS, FLOATS, BYTE_ROWS, types.UniTuple(types.int64, 2)))
def denormalize_rows(image: Any, scale: Any, offset: Any, out: Any, which: Any) -> int:
    """Write some rows of a normalised picture as bytes; gives how many values were no numbers.

    Args:
        image: 3 x h x w float32.
        scale: of each channel, as `dannet_core.pixels.denormalize` has it, whose bits come out.
        offset: likewise.
        out: h x 3w uint8, to be written.
        which: the first row, and the one behind the last.
    """
    bad = 0
    for y in range(which[0], which[1]):
        for c in range(3):
            row, times, plus = image[c, y], scale[c], offset[c]
            for x in range(len(row)):
                value = row[x] * times + plus
                bad += not abs(row[x]) <= _LARGEST
                out[y, 3 * x + c] = rounded_byte(min(max(value, np.float32(0)), np.float32(255)))
    return bad
