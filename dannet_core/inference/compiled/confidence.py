"""Likelihood of the best class at camera size, for blocks of cells, over the classes that matter there."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from dannet_core.inference.compiled.grid import GRID
from dannet_core.inference.compiled.jit import (
    BYTE_ROWS,
    BYTES,
    FLOAT_ROWS,
    FLOATS,
    INDICES,
    LANES,
    MAGIC,
    ROWS_AT_ONCE,
    VOLUME,
    bits_of,
    compiled,
    float_of,
    inlined,
    larger,
    lerp_lanes,
    rounded_byte,
    sum_growing,
)  # fmt: skip
from dannet_core.inference.postprocess import EXP_FLOOR

LOG2_E = np.float32(1.4426950408889634)
_FLOOR = np.float32(EXP_FLOOR)
_LOWEST = np.float32(-3.4028235e38)
_NOWHERE = np.float32(3.4028235e38)
_C1, _C2, _C3 = np.float32(0.6931472), np.float32(0.24022651), np.float32(0.05550327)
_C4, _C5, _C6 = np.float32(0.009618057), np.float32(0.0013400428), np.float32(0.00015461445)
MOST_ROWS: Final = 64
"""After so many multiplications powers are computed anew: each rounds once."""
_LINES = types.UniTuple(FLOAT_ROWS, 2)
_SCRATCH = types.Tuple((FLOAT_ROWS, FLOAT_ROWS, FLOATS, INDICES, FLOATS, FLOAT_ROWS, FLOATS))
_ACCURACY = types.Tuple((types.float32, types.boolean))
_BLOCK = types.UniTuple(types.int64, 3)


@inlined
def _exp2_bits(value: Any) -> Any:
    """Bits of 2**value for -126 < value < 127, to 2e-7: a polynomial for the fraction, the rest is the exponent."""
    shifted = value + MAGIC
    x = value - (shifted - MAGIC)
    power = np.float32(1) + x * (_C1 + x * (_C2 + x * (_C3 + x * (_C4 + x * (_C5 + x * _C6)))))
    return np.int32(bits_of(power) + (bits_of(shifted) << np.int32(23)))


@compiled(types.void(VOLUME, VOLUME))
def to_levels(scores: Any, levels: Any) -> None:
    """Scores to powers of two, each sample's best at 0.

    Softmax does not see an offset shared by the classes, and interpolation carries one along; with it no power
    overflows, and the floor keeps the sum above zero where two far classes meet.

    Args:
        scores: h x w x K float32.
        levels: h x K x w float32, to be written.
    """
    height, width, num_classes = scores.shape
    for row in range(height):
        for column in range(width):
            highest = scores[row, column, 0]
            for k in range(1, num_classes):
                highest = max(highest, scores[row, column, k])
            for k in range(num_classes):
                levels[row, k, column] = max(scores[row, column, k] - highest, _FLOOR) * LOG2_E


@compiled(types.void(VOLUME, _BLOCK, FLOATS, FLOATS))
def _heights(levels: Any, block: Any, bars: Any, heights: Any) -> None:
    """How far every class comes, at most, above what the best one reaches everywhere in the same cell of the block.

    Cell by cell: one with an edge in it, where no class is the best everywhere, says nothing about its neighbours.

    Args:
        levels: h x K x w.
        block: band, first cell, the one behind the last.
        bars: as many as a block has cells, to be written over.
        heights: K powers of two, to be written; 0 or more for a class that is the best somewhere.
    """
    band, first, last = block
    bars[: last - first] = _LOWEST
    for k in range(levels.shape[1]):
        for cell in range(first, last):
            above = min(levels[band, k, cell], levels[band, k, cell + 1])
            below = min(levels[band + 1, k, cell], levels[band + 1, k, cell + 1])
            bars[cell - first] = max(bars[cell - first], min(above, below))
    for k in range(levels.shape[1]):
        most = _LOWEST
        for cell in range(first, last):
            above = max(levels[band, k, cell], levels[band, k, cell + 1])
            below = max(levels[band + 1, k, cell], levels[band + 1, k, cell + 1])
            most = max(most, max(above, below) - bars[cell - first])
        heights[k] = most


@compiled(types.void(FLOATS, types.float32))
def _leave_out(heights: Any, reach: np.float32) -> None:
    """Mark classes with `_NOWHERE`, the lowest first, while the powers of all that are marked sum up to 2**-reach."""
    left = float_of(_exp2_bits(-reach))
    while True:
        lowest = 0
        for k in range(1, len(heights)):
            if heights[k] < heights[lowest]:
                lowest = k
        left -= float_of(_exp2_bits(max(heights[lowest], _FLOOR)))
        if left < 0:
            return
        heights[lowest] = _NOWHERE


@compiled(types.void(VOLUME, types.UniTuple(types.int64, 4), GRID, FLOATS, FLOATS))
def _stretch(levels: Any, which: Any, grid: Any, above: Any, step: Any) -> None:
    """One class along the columns of a block: its values on the row of samples above, and the way to those below."""
    band, first, last, k = which
    origin = grid.first_column[first]
    for cell in range(first, last):
        a, b = levels[band, k, cell], levels[band, k, cell + 1]
        c, d = levels[band + 1, k, cell], levels[band + 1, k, cell + 1]
        lines = (a, b - a, c - a, (d - c) - (b - a))
        for column in range(grid.first_column[cell], grid.first_column[cell + 1], LANES):
            lerp_lanes((above, step), column - origin, grid.column_fraction, column, lines)


@compiled(types.void(_LINES, types.int64, types.float32, FLOATS, INDICES), fused=True)
def _sum_powers(lines: Any, count: int, down: np.float32, total: Any, best: Any) -> None:
    """Sum and largest of the classes' powers along one row; two classes at a time, which halves the loads."""
    above, step = lines
    for column in range(len(total)):
        total[column] = np.float32(0)
        best[column] = 0
    for i in range(0, count - 1, 2):
        above_1, step_1, above_2, step_2 = above[i], step[i], above[i + 1], step[i + 1]
        for column in range(len(total)):
            first = _exp2_bits(above_1[column] + step_1[column] * down)
            second = _exp2_bits(above_2[column] + step_2[column] * down)
            total[column] += float_of(first) + float_of(second)
            best[column] = larger(larger(first, second), best[column])
    if count % 2:
        above_1, step_1 = above[count - 1], step[count - 1]
        for column in range(len(total)):
            first = _exp2_bits(above_1[column] + step_1[column] * down)
            total[column] += float_of(first)
            best[column] = larger(first, best[column])


@compiled(types.void(_LINES, types.int64, types.UniTuple(types.float32, 2), types.int64), fused=True)
def _begin_powers(lines: Any, count: int, downs: Any, width: int) -> None:
    """Replace lines by their powers at the first of some rows, and by what each is multiplied by to the next row."""
    down, pace = downs
    for i in range(count):
        above, step = lines[0][i], lines[1][i]
        for column in range(width):
            power = _exp2_bits(above[column] + step[column] * down)
            factor = _exp2_bits(step[column] * pace)
            above[column] = float_of(power)
            step[column] = float_of(factor)


@compiled(types.int64(FLOATS, types.int64, types.int64))
def _even_rows(fraction: Any, row: int, last: int) -> int:
    """The row behind the last one that is reached from ``row`` in even steps, at most `MOST_ROWS` of them."""
    last = min(last, row + MOST_ROWS)
    end = row + 1
    while end < last and abs(fraction[end] - fraction[row] - (end - row) * (fraction[row + 1] - fraction[row])) < 1e-5:
        end += 1
    return end


@compiled(types.int64(VOLUME, _BLOCK, GRID, types.float32, _SCRATCH))
def _gather(levels: Any, block: Any, grid: Any, reach: np.float32, scratch: Any) -> int:
    """Stretch the classes that matter in the block; gives how many, 0 where one class alone does."""
    above, step, heights = scratch[0], scratch[1], scratch[4]
    band, first, last = block
    _heights(levels, block, scratch[6], heights)
    _leave_out(heights, reach)
    count = 0
    for k in range(levels.shape[1]):
        if heights[k] != _NOWHERE:
            _stretch(levels, (band, first, last, k), grid, above[count], step[count])
            count += 1
    return 0 if count == 1 else count


@compiled(types.void(FLOATS, INDICES, FLOATS))
def _divide(total: Any, best: Any, row: Any) -> None:
    for column in range(len(row)):
        row[column] = float_of(best[column]) / total[column]


@compiled(types.void(FLOATS, BYTES))
def _as_bytes(row: Any, out: Any) -> None:
    for column in range(len(row)):
        out[column] = rounded_byte(row[column] * np.float32(255))


@compiled(types.void(VOLUME, _BLOCK, GRID, types.float32, _SCRATCH, FLOAT_ROWS))
def _exact_block(levels: Any, block: Any, grid: Any, reach: np.float32, scratch: Any, confidence: Any) -> None:
    """One block, every power by itself."""
    above, step, total, best = scratch[0], scratch[1], scratch[2], scratch[3]
    band, first, last = block
    left, right = grid.first_column[first], grid.first_column[last]
    count = _gather(levels, block, grid, reach, scratch)
    for row in range(grid.first_row[band], grid.first_row[band + 1]):
        line = confidence[row - grid.first_row[band], left:right]
        if count == 0:
            line[:] = np.float32(1)
        else:
            sums, largest = total[: right - left], best[: right - left]
            _sum_powers((above, step), count, grid.row_fraction[row], sums, largest)
            _divide(sums, largest, line)


@compiled(types.void(BYTE_ROWS, types.UniTuple(types.int64, 4)))
def _fill(out: Any, where: Any) -> None:
    """Certain, where one class alone matters."""
    first, last, left, right = where
    for row in range(first, last):
        out[row, left:right] = np.uint8(255)


@compiled(types.void(_LINES, types.int64, FLOAT_ROWS, BYTE_ROWS, types.UniTuple(types.int64, 4)))
def _go_on(lines: Any, count: int, shares: Any, out: Any, where: Any) -> None:
    """Up to `ROWS_AT_ONCE` rows of bytes from the powers of the first; then they are those of the row behind."""
    first, last, left, right = where
    for column in range(0, right - left, LANES):
        sum_growing(lines[0], lines[1], count, column, shares)
    for row in range(first, last):
        _as_bytes(shares[row - first, : right - left], out[row, left:right])


@compiled(types.void(VOLUME, _BLOCK, GRID, types.float32, _SCRATCH, BYTE_ROWS))
def _rough_block(levels: Any, block: Any, grid: Any, reach: np.float32, scratch: Any, out: Any) -> None:
    """One block, each row's powers from those of the row above: along a column a power grows by a constant factor."""
    band, first, last = block
    left, right = grid.first_column[first], grid.first_column[last]
    row, top, bottom = grid.first_row[band], grid.first_row[band], grid.first_row[band + 1]
    while row < bottom:
        count = _gather(levels, block, grid, reach, scratch)
        if count == 0:
            _fill(out, (row - top, bottom - top, left, right))
            return
        end = _even_rows(grid.row_fraction, row, bottom)
        pace = (grid.row_fraction[end - 1] - grid.row_fraction[row]) / np.float32(max(1, end - 1 - row))
        _begin_powers((scratch[0], scratch[1]), count, (grid.row_fraction[row], pace), right - left)
        for one in range(row, end, ROWS_AT_ONCE):
            where = (one - top, min(one + ROWS_AT_ONCE, end) - top, left, right)
            _go_on((scratch[0], scratch[1]), count, scratch[5], out, where)
        row = end


@compiled(types.void(VOLUME, GRID, types.UniTuple(types.int64, 3), _ACCURACY, FLOAT_ROWS, BYTE_ROWS))
def confidence_bands(levels: Any, grid: Any, which: Any, accuracy: Any, confidence: Any, as_bytes: Any) -> None:
    """Write the confidence of some bands, as numbers, as bytes, or both.

    Args:
        levels: h x K x w float32, by `to_levels`, h and w at least 2.
        grid: see `Grid`.
        which: first band, the one behind the last, and cells of a block.
        accuracy: powers of two below the best that the classes left out of a block's sum have together, and whether
            powers may follow from those of the row above.
        confidence: rows of these bands x W float32, 0..1, to be written; 0 x 0 where only bytes are wanted.
        as_bytes: likewise uint8, 255 = certain; 0 x 0 where they are not wanted.
    """
    first, last, cells = which
    reach, rough = accuracy
    num_classes, num_cells = levels.shape[1], len(grid.first_column) - 1
    widest, tallest = 0, 0
    for cell in range(0, num_cells, cells):
        widest = max(widest, grid.first_column[min(cell + cells, num_cells)] - grid.first_column[cell])
    for band in range(first, last):
        tallest = max(tallest, grid.first_row[band + 1] - grid.first_row[band])
    # Room for the last step of a row, and whole cache lines: a vector across two of them takes twice as long.
    shape = (num_classes, (widest + LANES + 15) // 16 * 16)
    scratch = (np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(widest, np.float32),
               np.empty(widest, np.int32), np.empty(num_classes, np.float32),
               np.empty((ROWS_AT_ONCE, shape[1]), np.float32), np.empty(cells, np.float32))  # fmt: skip
    own_rows = np.empty((0 if rough else tallest, grid.first_column[num_cells]), np.float32)
    origin = grid.first_row[first]
    for band in range(first, last):
        top, bottom = grid.first_row[band] - origin, grid.first_row[band + 1] - origin
        rows = confidence[top:bottom] if len(confidence) else own_rows
        for cell in range(0, num_cells, cells):
            block = (band, cell, min(cell + cells, num_cells))
            if rough:
                _rough_block(levels, block, grid, reach, scratch, as_bytes[top:bottom])
            else:
                _exact_block(levels, block, grid, reach, scratch, rows)
        if len(as_bytes) and not rough:
            for row in range(top, bottom):
                _as_bytes(rows[row - top], as_bytes[row])
