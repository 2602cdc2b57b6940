"""Labels at camera size: the rule of `dannet_core.inference.postprocess.upsample_labels`, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from dannet_core.inference.compiled.grid import GRID
from dannet_core.inference.compiled.jit import BYTE_ROWS, BYTES, FLOATS, INDICES, VOLUME, compiled

_LOWEST = np.float32(-3.4028235e38)
_CORNERS = types.UniTuple(FLOATS, 4)


@compiled(types.int64(_CORNERS, INDICES))
def contenders(corners: Any, classes: Any) -> int:
    """Write the classes that can win inside a cell into ``classes``, ascending; gives how many they are.

    Inside the cell a class stays between its lowest and highest corner: one whose highest lies below another's lowest
    never wins.
    """
    a, b, c, d = corners
    bar = _LOWEST
    for k in range(len(a)):
        bar = max(bar, min(a[k], b[k], c[k], d[k]))
    count = 0
    for k in range(len(a)):
        if max(a[k], b[k], c[k], d[k]) >= bar:
            classes[count] = k
            count += 1
    return count


@compiled(types.void(BYTES, BYTES))
def _copy(row: Any, out: Any) -> None:
    for column in range(len(out)):  # an assignment of slices would copy byte by byte
        out[column] = row[column]


@compiled(types.void(BYTE_ROWS, BYTE_ROWS, types.int64, GRID))
def _fill_band(best: Any, labels: Any, band: int, grid: Any) -> None:
    """Every pixel the label of its cell's upper left corner: right where the four corners agree."""
    top, bottom = grid.first_row[band], grid.first_row[band + 1]
    for cell in range(len(grid.first_column) - 1):
        for column in range(grid.first_column[cell], grid.first_column[cell + 1]):
            labels[top, column] = best[band, cell]
    for row in range(top + 1, bottom):
        _copy(labels[top], labels[row])


@compiled(types.void(VOLUME, BYTE_ROWS, types.UniTuple(types.int64, 2), GRID, types.Tuple((INDICES, FLOATS, FLOATS))))
def _label_cell(scores: Any, labels: Any, at: Any, grid: Any, scratch: Any) -> None:
    """The pixels of one cell whose corners disagree."""
    band, cell = at
    a, b, c, d = scores[band, cell], scores[band, cell + 1], scores[band + 1, cell], scores[band + 1, cell + 1]
    classes, left, step = scratch
    count = contenders((a, b, c, d), classes)
    for row in range(grid.first_row[band], grid.first_row[band + 1]):
        down = grid.row_fraction[row]
        for i in range(count):
            k = classes[i]
            left[i] = a[k] + (c[k] - a[k]) * down
            step[i] = (b[k] + (d[k] - b[k]) * down) - left[i]
        for column in range(grid.first_column[cell], grid.first_column[cell + 1]):
            right = grid.column_fraction[column]
            highest, which = left[0] + step[0] * right, 0
            for i in range(1, count):
                value = left[i] + step[i] * right
                if value > highest:
                    highest, which = value, i
            labels[row, column] = classes[which]


@compiled(types.void(VOLUME, BYTE_ROWS, GRID, types.int64, types.int64, BYTE_ROWS))
def label_bands(scores: Any, best: Any, grid: Any, first: int, last: int, labels: Any) -> None:
    """Write the labels of bands ``first`` to ``last - 1``.

    Args:
        scores: h x w x K float32, h and w at least 2.
        best: h x w uint8, the best class of each sample.
        grid: see `Grid`.
        first: band.
        last: the one behind the last.
        labels: H x W uint8, to be written.
    """
    num_classes = scores.shape[2]
    scratch = (
        np.empty(num_classes, np.int32), np.empty(num_classes, np.float32), np.empty(num_classes, np.float32)
    )  # fmt: skip
    for band in range(first, last):
        if grid.first_row[band] == grid.first_row[band + 1]:
            continue
        _fill_band(best, labels, band, grid)
        for cell in range(len(grid.first_column) - 1):
            corner = best[band, cell]
            if (
                corner != best[band, cell + 1] or corner != best[band + 1, cell] or corner != best[band + 1, cell + 1]
            ) and grid.first_column[cell] < grid.first_column[cell + 1]:
                _label_cell(scores, labels, (band, cell), grid, scratch)
