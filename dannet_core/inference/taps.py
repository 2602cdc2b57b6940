"""Resizing as sums: which input pixels make an output pixel along one axis, and with which weights."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dannet_core.errors import SettingsError
from dannet_core.inference.preprocess import RESIZE_METHODS

Floats = npt.NDArray[np.float64]
_NOTHING: Final = 1e-3
"""Overlaps below this share of a pixel are left out, as OpenCV does."""


class Taps(NamedTuple):
    """The filter of one axis.

    Attributes:
        first: (n,) int32: first input pixel of each output pixel.
        weights: (n, t) float32: weights of the ``t`` input pixels from there on, each row's sum 1; the pixels that a
            weight of zero stands for may lie beyond the edge.
    """

    first: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @property
    def num_taps(self) -> int:
        """Input pixels of an output pixel, at most."""
        return int(self.weights.shape[1])


def resize_taps(source: tuple[int, int], target: tuple[int, int], method: str) -> tuple[Taps, Taps]:
    """Filters of rows and columns that do what `preprocess` does.

    Args:
        source: (height, width) of the camera picture.
        target: (height, width) of the network's input.
        method: one of `RESIZE_METHODS`.

    Raises:
        SettingsError: an unknown method.
    """
    if method not in RESIZE_METHODS:
        raise SettingsError(f"resize: got '{method}', expected one of {', '.join(RESIZE_METHODS)}")
    both = list(zip(source, target, strict=True))
    if method == "antialiased":
        rows, columns = (_triangle(*axis) for axis in both)
    elif target[0] * target[1] >= source[0] * source[1]:
        rows, columns = (_linear(*axis) for axis in both)
    elif all(n >= m for n, m in both):
        rows, columns = (_area(*axis) for axis in both)
    else:
        # OpenCV's "area" averages only where both axes shrink; else it interpolates so that no pixel is blended twice.
        rows, columns = (_stepped_linear(*axis) for axis in both)
    return rows, columns


def _triangle(source: int, target: int) -> Taps:
    """Pillow's bilinear filter: a triangle as wide as an output pixel, two input pixels at least."""
    scale = source / target
    support = max(scale, 1.0)
    centre = (np.arange(target) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), source)
    pixel = first[:, None] + np.arange(int((last - first).max()))
    weights = np.maximum(0.0, 1.0 - np.abs((pixel - centre[:, None] + 0.5) / support))
    return _taps(first, np.where(pixel < last[:, None], weights, 0.0))


def _area(source: int, target: int) -> Taps:
    """OpenCV's area filter: every input pixel counts with the share of it that the output pixel covers."""
    scale = source / target
    start = np.arange(target) * scale
    end = np.minimum(start + scale, source)
    first = np.minimum(np.floor(start + _NOTHING).astype(np.int64), source - 1)
    pixel = first[:, None] + np.arange(int(np.ceil(scale)) + 1)
    weights = np.minimum(pixel + 1, end[:, None]) - np.maximum(pixel, start[:, None])
    return _taps(first, np.where(weights > _NOTHING, weights, 0.0))


def _linear(source: int, target: int) -> Taps:
    position = (np.arange(target) + 0.5) * (source / target) - 0.5
    return _between_neighbours(np.asarray(position, np.float64), source)


def _stepped_linear(source: int, target: int) -> Taps:
    scale = source / target
    first = np.floor(np.arange(target) * scale)
    fraction = (np.arange(target) + 1) - (first + 1) / scale
    fraction = np.where(fraction <= 0, 0.0, fraction - np.floor(fraction))
    return _between_neighbours(np.asarray(first + fraction, np.float64), source)


def _between_neighbours(position: Floats, source: int) -> Taps:
    position = np.clip(position, 0, source - 1)
    first = np.minimum(np.floor(position).astype(np.int64), max(source - 2, 0))
    fraction = position - first
    return _taps(first, np.stack([1 - fraction, fraction], axis=1))


def _taps(first: npt.NDArray[np.int64], weights: Floats) -> Taps:
    used = int(np.flatnonzero(weights.any(axis=0))[-1]) + 1
    weights = weights[:, :used] / weights.sum(axis=1, keepdims=True)
    return Taps(first.astype(np.int32), np.ascontiguousarray(weights, dtype=np.float32))
