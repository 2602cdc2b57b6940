"""Stride logits to re-weighted scores, the best class of every sample, and whether all of it is numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from dannet_core.inference.compiled.jit import BYTE_ROWS, FLOATS, GIVEN_VOLUME, VOLUME, compiled
from dannet_core.inference.postprocess import LARGEST_SCORE

_LIMIT = np.float32(LARGEST_SCORE)


@compiled(types.int64(GIVEN_VOLUME, FLOATS, FLOATS, VOLUME, BYTE_ROWS))
def to_scores(logits: Any, factor: Any, offset: Any, scores: Any, best: Any) -> int:
    """Fill in ``scores`` and ``best``; gives how many scores are NaN, infinite or beyond `LARGEST_SCORE`.

    Args:
        logits: K x h x w float32.
        factor: (K,) float32, see `ClassScaling`.
        offset: (K,) float32, likewise.
        scores: h x w x K float32, to be written.
        best: h x w uint8, to be written: the first class with the highest score.
    """
    num_classes, height, width = logits.shape
    bad = 0
    for row in range(height):
        for k in range(num_classes):
            for column in range(width):
                score = logits[k, row, column] * factor[k] + offset[k]
                if not abs(score) <= _LIMIT:  # NaN fails every comparison
                    bad += 1
                scores[row, column, k] = score
                if k == 0 or score > scores[row, column, best[row, column]]:
                    best[row, column] = k
    return bad
