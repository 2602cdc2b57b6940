"""Likelihood of the best class as bytes: powers grow by constant factors, along rows and along columns.

Between four samples the level of a class is a + b x + c y + d x y, so from column to column its power of two is
multiplied by the same factor, and that factor by another from row to row. Four powers of two give all pixels of a cell.
"""

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
    ROWS_AT_ONCE,
    VOLUME,
    compiled,
    float_of,
    rounded_byte,
    spread_lanes,
    sum_growing,
)  # fmt: skip
from dannet_core.inference.compiled.powers import classes_that_matter, exp2_bits, heights_of_band

MOST_ROWS: Final = 64
"""After so many multiplications powers are computed anew: each rounds once."""
_EVEN = np.float32(1e-5)
_UNEVEN = np.float32(-1)
_WIDEST_STEP = np.float32(0.5)
"""Of a cell from column to column; with wider ones the factor of a factor may be more than a float holds."""
_COLUMNS = types.UniTuple(FLOATS, 2)
_LINES = types.UniTuple(FLOAT_ROWS, 2)
_DOWNS = types.UniTuple(types.float32, 2)
_PLACE = types.Tuple((GRID, FLOATS, _DOWNS))
_CHOICE = types.Tuple(
    (types.Array(types.int32, 2, "C"), INDICES, types.Array(types.boolean, 1, "C"), FLOATS, FLOAT_ROWS, FLOATS)
)


@compiled(types.int64(GRID, types.int64))
def widest_block(grid: Any, cells: int) -> int:
    """Most columns of a block of so many cells."""
    widest, num_cells = 0, len(grid.first_column) - 1
    for cell in range(0, num_cells, cells):
        widest = max(widest, grid.first_column[min(cell + cells, num_cells)] - grid.first_column[cell])
    return widest


@compiled(types.void(FLOATS, BYTES))
def as_bytes(row: Any, out: Any) -> None:
    """Shares 0..1 to the nearest of 0..255."""
    for column in range(len(row)):
        out[column] = rounded_byte(row[column] * np.float32(255))


@compiled(types.void(GRID, _COLUMNS))
def _find_columns(grid: Any, columns: Any) -> None:
    """Where the first column of every cell lies between its samples, and how far it is to the next.

    `_UNEVEN` where that varies, as at the picture's edges, where pixels beyond the outermost samples get their value.
    """
    starts, paces = columns
    for cell in range(len(starts)):
        first, last = grid.first_column[cell], grid.first_column[cell + 1]
        starts[cell] = grid.column_fraction[first]
        whole_way = grid.column_fraction[last - 1] - grid.column_fraction[first]
        paces[cell] = whole_way / np.float32(last - 1 - first) if last > first + 1 else 0
        for column in range(first, last):
            way = grid.column_fraction[column] - grid.column_fraction[first]
            if abs(way - (column - first) * paces[cell]) > _EVEN or paces[cell] > _WIDEST_STEP:
                paces[cell] = _UNEVEN
                break


@compiled(types.int64(FLOATS, types.int64, types.int64))
def _even_rows(fraction: Any, row: int, last: int) -> int:
    """The row behind the last one that is reached from ``row`` in even steps, at most `MOST_ROWS` of them."""
    last = min(last, row + MOST_ROWS)
    end = row + 1
    while (
        end < last and abs(fraction[end] - fraction[row] - (end - row) * (fraction[row + 1] - fraction[row])) <= _EVEN
    ):
        end += 1
    return end


@compiled(types.void(VOLUME, types.UniTuple(types.int64, 2), _COLUMNS, _DOWNS, VOLUME), fused=True)
def _find_corners(levels: Any, of_class: Any, columns: Any, downs: Any, corners: Any) -> None:
    """One class's power at the first pixel of a band's cells, its factor to the right, down, and the latter's own."""
    band, k = of_class
    starts, paces = columns
    a, b, c, d = levels[band, k], levels[band, k, 1:], levels[band + 1, k], levels[band + 1, k, 1:]
    power, right, down, both = corners[k, 0], corners[k, 1], corners[k, 2], corners[k, 3]
    start, pace = downs
    for cell in range(len(starts)):
        across = b[cell] - a[cell]
        along = c[cell] - a[cell]
        cross = (d[cell] - c[cell]) - across
        slope = along + cross * starts[cell]
        power[cell] = float_of(exp2_bits(a[cell] + across * starts[cell] + slope * start))
        right[cell] = float_of(exp2_bits((across + cross * start) * paces[cell]))
        down[cell] = float_of(exp2_bits(slope * pace))
        both[cell] = float_of(exp2_bits(cross * paces[cell] * pace))


@compiled(types.void(VOLUME, types.UniTuple(types.int64, 5), GRID, _DOWNS, _LINES), fused=True)
def _one_by_one(levels: Any, where: Any, grid: Any, downs: Any, lines: Any) -> None:
    """What `_spread` does, for a cell with uneven columns."""
    band, cell, k, i, origin = where
    a, b = levels[band, k, cell], levels[band, k, cell + 1]
    c, d = levels[band + 1, k, cell], levels[band + 1, k, cell + 1]
    start, pace = downs
    for column in range(grid.first_column[cell], grid.first_column[cell + 1]):
        at = grid.column_fraction[column]
        above = a + (b - a) * at
        slope = (c + (d - c) * at) - above
        lines[0][i, column - origin] = float_of(exp2_bits(above + slope * start))
        lines[1][i, column - origin] = float_of(exp2_bits(slope * pace))


@compiled(types.void(VOLUME, types.UniTuple(types.int64, 3), _PLACE, INDICES, VOLUME, _LINES))
def _spread(levels: Any, block: Any, place: Any, classes: Any, corners: Any, lines: Any) -> None:
    """Corners to all columns of a block, from the left: what is written behind a cell is written over by the next.

    Args:
        levels: h x K x w.
        block: band, first cell, the one behind the last.
        place: the grid, ``paces`` of `_find_columns`, where the row lies between its samples, the way to the next.
        classes: which ones, as many as rows of ``lines`` are to be written.
        corners: K x 4 x cells, see `_find_corners`.
        lines: the powers on the row, to be written, and what each is multiplied by to the next row.
    """
    band, first, last = block
    grid, paces, downs = place
    # From 0, so that no index may count from the end.
    begins, its_paces = grid.first_column[first : last + 1], paces[first:last]
    origin = begins[0]
    for i in range(len(classes)):
        k = classes[i]
        powers, rights = corners[k, 0, first:last], corners[k, 1, first:last]
        below, boths = corners[k, 2, first:last], corners[k, 3, first:last]
        for cell in range(len(its_paces)):
            if its_paces[cell] < 0:
                _one_by_one(levels, (band, first + cell, k, i, origin), grid, downs, lines)
                continue
            power, right, down, both = powers[cell], rights[cell], below[cell], boths[cell]
            for column in range(begins[cell] - origin, begins[cell + 1] - origin, LANES):
                spread_lanes(lines, i, column, (power, right, down, both))
                power *= right**LANES
                down *= both**LANES


@compiled(types.void(BYTE_ROWS, types.UniTuple(types.int64, 4)))
def _fill(out: Any, where: Any) -> None:
    """Certain, where one class alone matters."""
    first, last, left, right = where
    for row in range(first, last):
        out[row, left:right] = np.uint8(255)


@compiled(types.void(_LINES, types.int64, BYTE_ROWS, BYTE_ROWS, types.UniTuple(types.int64, 4)))
def _sum_up(lines: Any, count: int, room: Any, out: Any, where: Any) -> None:
    """Rows ``first`` to ``last - 1`` of bytes from the powers on the first, which are written over."""
    first, last, left, right = where
    for top in range(first, last, ROWS_AT_ONCE):
        for column in range(0, right - left, LANES):
            sum_growing(lines[0], lines[1], count, column, room)
        for row in range(top, min(top + ROWS_AT_ONCE, last)):
            given, taken = room[row - top], out[row, left:right]
            for column in range(len(taken)):
                taken[column] = given[column]


@compiled(types.void(VOLUME, types.int64, types.int64, types.float32, _CHOICE))
def _choose(levels: Any, band: int, cells: int, reach: np.float32, choice: Any) -> None:
    """Which classes matter in the blocks of a band, and which anywhere in it."""
    which, counts, anywhere, bars, heights, room = choice
    heights_of_band(levels, band, bars, heights)
    anywhere[:] = False
    for block in range(len(counts)):
        first, last = block * cells, min((block + 1) * cells, len(bars))
        counts[block] = classes_that_matter(heights, (first, last), reach, room, which[block])
        for i in range(counts[block]):
            anywhere[which[block, i]] = True


@compiled(types.void(VOLUME, GRID, types.UniTuple(types.int64, 3), types.float32, BYTE_ROWS))
def byte_bands(levels: Any, grid: Any, bands: Any, reach: np.float32, out: Any) -> None:
    """Write the confidence of some bands as bytes.

    Args:
        levels: h x K x w float32, by `to_levels`, h and w at least 2.
        grid: see `Grid`.
        bands: first, the one behind the last, and cells of a block.
        reach: powers of two below the best that the classes left out of a block's sum have together.
        out: rows of these bands x W uint8, 255 = certain, to be written.
    """
    first, last, cells = bands
    num_classes, num_cells = levels.shape[1], len(grid.first_column) - 1
    num_blocks = (num_cells + cells - 1) // cells
    # Room for the last step of a row, and whole cache lines: a vector across two of them takes twice as long.
    shape = (num_classes, (widest_block(grid, cells) + LANES + 15) // 16 * 16)
    lines = (np.empty(shape, np.float32), np.empty(shape, np.float32))
    room = np.empty((ROWS_AT_ONCE, shape[1]), np.uint8)
    columns = (np.empty(num_cells, np.float32), np.empty(num_cells, np.float32))
    corners = np.empty((num_classes, 4, num_cells), np.float32)
    which, counts = np.empty((num_blocks, num_classes), np.int32), np.empty(num_blocks, np.int32)
    choice = (which, counts, np.empty(num_classes, np.bool_), np.empty(num_cells, np.float32),
              np.empty((num_classes, num_cells), np.float32), np.empty(num_classes, np.float32))  # fmt: skip
    _find_columns(grid, columns)
    origin = grid.first_row[first]
    for band in range(first, last):
        row, bottom = grid.first_row[band], grid.first_row[band + 1]
        _choose(levels, band, cells, reach, choice)
        while row < bottom:
            end = _even_rows(grid.row_fraction, row, bottom)
            pace = (grid.row_fraction[end - 1] - grid.row_fraction[row]) / np.float32(max(1, end - 1 - row))
            downs = (grid.row_fraction[row], pace)
            for k in range(num_classes):
                if choice[2][k]:
                    _find_corners(levels, (band, k), columns, downs, corners)
            for block in range(num_blocks):
                begin, behind = block * cells, min((block + 1) * cells, num_cells)
                left, right = grid.first_column[begin], grid.first_column[behind]
                if counts[block] == 0:
                    _fill(out, (row - origin, end - origin, left, right))
                    continue
                classes = which[block, : counts[block]]
                _spread(levels, (band, begin, behind), (grid, columns[1], downs), classes, corners, lines)
                _sum_up(lines, counts[block], room, out, (row - origin, end - origin, left, right))
            row = end
