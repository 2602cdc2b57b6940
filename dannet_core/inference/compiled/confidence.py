"""Likelihood of the best class at camera size, for blocks of cells, over the classes that matter there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from dannet_core.inference.compiled.confidence_bytes import as_bytes, byte_bands, widest_block
from dannet_core.inference.compiled.grid import GRID
from dannet_core.inference.compiled.jit import (
    BYTE_ROWS,
    FLOAT_ROWS,
    FLOATS,
    INDICES,
    LANES,
    VOLUME,
    compiled,
    float_of,
    larger,
    lerp_lanes,
)  # fmt: skip
from dannet_core.inference.compiled.powers import FLOOR, classes_that_matter, exp2_bits, heights_of_band

LOG2_E = np.float32(1.4426950408889634)
_LINES = types.UniTuple(FLOAT_ROWS, 2)
_SCRATCH = types.Tuple((FLOAT_ROWS, FLOAT_ROWS, FLOATS, INDICES, FLOATS, INDICES, FLOAT_ROWS))
_ACCURACY = types.Tuple((types.float32, types.boolean))
_BLOCK = types.UniTuple(types.int64, 3)


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
                levels[row, k, column] = max(scores[row, column, k] - highest, FLOOR) * LOG2_E


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
            first = exp2_bits(above_1[column] + step_1[column] * down)
            second = exp2_bits(above_2[column] + step_2[column] * down)
            total[column] += float_of(first) + float_of(second)
            best[column] = larger(larger(first, second), best[column])
    if count % 2:
        above_1, step_1 = above[count - 1], step[count - 1]
        for column in range(len(total)):
            first = exp2_bits(above_1[column] + step_1[column] * down)
            total[column] += float_of(first)
            best[column] = larger(first, best[column])


@compiled(types.void(FLOATS, INDICES, FLOATS))
def _divide(total: Any, best: Any, row: Any) -> None:
    for column in range(len(row)):
        row[column] = float_of(best[column]) / total[column]


@compiled(types.int64(VOLUME, _BLOCK, GRID, types.float32, _SCRATCH))
def _gather(levels: Any, block: Any, grid: Any, reach: np.float32, scratch: Any) -> int:
    """Stretch the classes that matter in the block; gives how many, 0 where one class alone does."""
    above, step, _, _, room, which, heights = scratch
    band, first, last = block
    count = classes_that_matter(heights, (first, last), reach, room, which)
    for i in range(count):
        _stretch(levels, (band, first, last, which[i]), grid, above[i], step[i])
    return int(count)


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


@compiled(types.void(VOLUME, GRID, types.UniTuple(types.int64, 3), _ACCURACY, FLOAT_ROWS, BYTE_ROWS))
def confidence_bands(levels: Any, grid: Any, which: Any, accuracy: Any, confidence: Any, bytes_: Any) -> None:
    """Write the confidence of some bands, as numbers, as bytes, or both.

    Args:
        levels: h x K x w float32, by `to_levels`, h and w at least 2.
        grid: see `Grid`.
        which: first band, the one behind the last, and cells of a block.
        accuracy: powers of two below the best that the classes left out of a block's sum have together, and whether
            powers may follow from those of the row above, where only bytes are wanted.
        confidence: rows of these bands x W float32, 0..1, to be written; 0 x 0 where only bytes are wanted.
        bytes_: likewise uint8, 255 = certain; 0 x 0 where they are not wanted.
    """
    first, last, cells = which
    reach, rough = accuracy
    if rough:
        byte_bands(levels, grid, which, reach, bytes_)
        return
    num_classes, num_cells = levels.shape[1], len(grid.first_column) - 1
    widest = widest_block(grid, cells)
    # Room for the last step of a row, and whole cache lines: a vector across two of them takes twice as long.
    shape = (num_classes, (widest + LANES + 15) // 16 * 16)
    scratch = (np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(widest, np.float32),
               np.empty(widest, np.int32), np.empty(num_classes, np.float32), np.empty(num_classes, np.int32),
               np.empty((num_classes, num_cells), np.float32))  # fmt: skip
    bars = np.empty(num_cells, np.float32)
    origin = grid.first_row[first]
    for band in range(first, last):
        top, bottom = grid.first_row[band] - origin, grid.first_row[band + 1] - origin
        heights_of_band(levels, band, bars, scratch[6])
        for cell in range(0, num_cells, cells):
            block = (band, cell, min(cell + cells, num_cells))
            _exact_block(levels, block, grid, reach, scratch, confidence[top:bottom])
        if len(bytes_):
            for row in range(top, bottom):
                as_bytes(confidence[row], bytes_[row])
