"""Where camera pixels fall between the samples of the stride grid, as the compiled functions take it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from dannet_core.inference.compiled.jit import FLOATS, INDICES, LANES
from dannet_core.inference.postprocess import AxisPositions, Floats, axis_positions

Indices = npt.NDArray[np.int32]


class Grid(NamedTuple):
    """Cells of the stride grid and the pixels in them; a band is the camera rows between two rows of samples.

    Attributes:
        first_row: (h,) camera row where band i begins; the last one is the number of rows.
        row_fraction: (H,) float32, 0..1 of the way from the sample row above to the one below.
        first_column: (w,) likewise for columns.
        column_fraction: (W + 8,) likewise, and as many zeros as are read at once.
    """

    first_row: Indices
    row_fraction: Floats
    first_column: Indices
    column_fraction: Floats

    @property
    def num_bands(self) -> int:
        """Bands, h - 1."""
        return len(self.first_row) - 1


GRID = types.NamedTuple([INDICES, FLOATS, INDICES, FLOATS], Grid)


@lru_cache(maxsize=4)
def make_grid(samples: tuple[int, int], size: tuple[int, int], align_corners: bool) -> Grid:
    """The grid for h x w samples, each at least two, and H x W camera pixels."""
    rows, columns = (axis_positions(n, pixels, align_corners) for n, pixels in zip(samples, size, strict=True))
    return Grid(
        _first(rows, samples[0]), rows.fraction, _first(columns, samples[1]), np.pad(columns.fraction, (0, LANES))
    )


def _first(positions: AxisPositions, samples: int) -> Indices:
    return np.searchsorted(positions.low, np.arange(samples)).astype(np.int32)
