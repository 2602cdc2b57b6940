"""Powers of two, and which classes' powers matter to a sum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from dannet_core.inference.compiled.jit import (
    FLOAT_ROWS,
    FLOATS,
    INDICES,
    MAGIC,
    VOLUME,
    bits_of,
    compiled,
    float_of,
    higher,
    inlined,
    lower,
)  # fmt: skip
from dannet_core.inference.postprocess import EXP_FLOOR

FLOOR = np.float32(EXP_FLOOR)
_LOWEST = np.float32(-3.4028235e38)
_NOWHERE = np.float32(3.4028235e38)
_C1, _C2, _C3 = np.float32(0.6931472), np.float32(0.24022651), np.float32(0.05550327)
_C4, _C5, _C6 = np.float32(0.009618057), np.float32(0.0013400428), np.float32(0.00015461445)


@inlined
def exp2_bits(value: Any) -> Any:
    """Bits of 2**value for -126 < value < 127, to 2e-7: a polynomial for the fraction, the rest is the exponent."""
    shifted = value + MAGIC
    x = value - (shifted - MAGIC)
    power = np.float32(1) + x * (_C1 + x * (_C2 + x * (_C3 + x * (_C4 + x * (_C5 + x * _C6)))))
    return np.int32(bits_of(power) + (bits_of(shifted) << np.int32(23)))


@compiled(types.void(VOLUME, types.int64, FLOATS, FLOAT_ROWS))
def heights_of_band(levels: Any, band: int, bars: Any, heights: Any) -> None:
    """How far every class comes, at most, above what the best one reaches everywhere in the same cell of a band.

    Cell by cell: one with an edge in it, where no class is the best everywhere, says nothing about its neighbours. All
    along a band at once: in vectors it costs a tenth of what the few cells of a block do one by one.

    Args:
        levels: h x K x w.
        band: which.
        bars: as many as a band has cells, to be written over.
        heights: K x cells, powers of two, to be written; 0 or more for a class that is the best somewhere.
    """
    bars[:] = _LOWEST
    for k in range(levels.shape[1]):
        a, b, c, d = levels[band, k], levels[band, k, 1:], levels[band + 1, k], levels[band + 1, k, 1:]
        for cell in range(len(bars)):
            bars[cell] = higher(bars[cell], lower(lower(a[cell], b[cell]), lower(c[cell], d[cell])))
    for k in range(levels.shape[1]):
        a, b, c, d = levels[band, k], levels[band, k, 1:], levels[band + 1, k], levels[band + 1, k, 1:]
        height = heights[k]
        for cell in range(len(bars)):
            height[cell] = higher(higher(a[cell], b[cell]), higher(c[cell], d[cell])) - bars[cell]


@compiled(types.void(FLOAT_ROWS, types.int64, types.int64, FLOATS))
def _highest(heights: Any, first: int, last: int, highest: Any) -> None:
    """Of every class, the highest of what `heights_of_band` found for the cells of a block."""
    for k in range(len(highest)):
        one, other = heights[k, first], heights[k, last - 1]
        for cell in range(first, last - 1, 2):
            one, other = higher(one, heights[k, cell]), higher(other, heights[k, cell + 1])
        highest[k] = higher(one, other)


@compiled(types.void(FLOATS, types.float32))
def _leave_out(heights: Any, reach: np.float32) -> None:
    """Mark classes with `_NOWHERE`, the lowest first, while the powers of all that are marked sum up to 2**-reach."""
    left = float_of(exp2_bits(-reach))
    while True:
        lowest = 0
        for k in range(1, len(heights)):
            if heights[k] < heights[lowest]:
                lowest = k
        left -= float_of(exp2_bits(max(heights[lowest], FLOOR)))
        if left < 0:
            return
        heights[lowest] = _NOWHERE


@compiled(types.int64(FLOAT_ROWS, types.UniTuple(types.int64, 2), types.float32, FLOATS, INDICES))
def classes_that_matter(heights: Any, cells: Any, reach: np.float32, room: Any, which: Any) -> int:
    """Find the classes whose powers are to be summed up in a block of cells.

    Args:
        heights: of the band, by `heights_of_band`.
        cells: first of the block, the one behind the last.
        reach: powers of two below the best that the classes left out have together.
        room: as many as there are classes, to be written over.
        which: likewise, to be written: the classes that matter, in order.

    Returns:
        How many, 0 where one class alone does.
    """
    _highest(heights, cells[0], cells[1], room)
    _leave_out(room, reach)
    count = 0
    for k in range(len(room)):
        if room[k] != _NOWHERE:
            which[count] = k
            count += 1
    return 0 if count == 1 else count
