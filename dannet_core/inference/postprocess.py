"""Network output to labels at camera resolution: re-weight, upsample, argmax, without a K x H x W array.

Both tricks here are exact. A positive weight on a likelihood is an offset on its logit, and offsets and factors per
class commute with bilinear interpolation, so re-weighting happens on the small stride logits. And where the four
corners of a stride cell agree on the best class, every convex combination of them does too, so only the cells on class
borders are interpolated at all.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dannet_core.classes import reweighting_vector
from dannet_core.errors import NotFiniteError, SettingsError
from dannet_core.pixels import Labels, Rgb, denormalize

REWEIGHT_METHODS: Final = ("probabilities", "logits", "none")
"""What w multiplies: the likelihoods (the paper), the logits (the released code), or nothing."""
LARGEST_SCORE: Final = 1e30
"""Scores beyond it, either way, count as infinite: below it every difference and sum of scores fits float32."""
EXP_FLOOR: Final = -80.0
"""Scores this far below the best are raised to it: exp(-80) is the smallest power of e that float32 holds in full."""

Floats = npt.NDArray[np.float32]


class ClassScaling(NamedTuple):
    """Per-class factor and offset on the logits, (K,) float32 each, equivalent to the re-weighting."""

    factor: Floats
    offset: Floats


def class_scaling(method: str, class_shares: tuple[float, ...], std: float) -> ClassScaling:
    """Express probability re-weighting (DANNet, section 3.3) as a factor and an offset on logits.

    ``probabilities``: argmax w_k p_k = argmax (logit_k + log w_k), since the softmax denominator is shared.
    ``logits``: argmax w_k logit_k.

    Raises:
        SettingsError: an unknown method, or a std that makes a weight zero or negative.
    """
    ones, zeros = np.ones(len(class_shares), np.float32), np.zeros(len(class_shares), np.float32)
    if method == "none":
        return ClassScaling(ones, zeros)
    weights = reweighting_vector(class_shares, std)
    if method == "probabilities":
        return ClassScaling(ones, np.log(weights))
    if method == "logits":
        return ClassScaling(weights, zeros)
    raise SettingsError(f"reweight: got '{method}', expected one of {', '.join(REWEIGHT_METHODS)}")


def scale_logits(logits: Floats, scaling: ClassScaling) -> Floats:
    """Apply the re-weighting: K x h x w logits to h x w x K scores, class last.

    Raises:
        NotFiniteError: a logit is NaN, infinite, or so large that its score is; an argmax would call that class 0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scores = np.ascontiguousarray(logits.transpose(1, 2, 0) * scaling.factor + scaling.offset)
    require_finite(scores, "stride_logits")
    return scores


def require_finite(values: npt.NDArray[np.floating], name: str) -> None:
    """Raise NotFiniteError unless every value lies within `LARGEST_SCORE`; ``name`` says what they are."""
    # NaN passes through both reductions and fails both comparisons. They cost a tenth of an elementwise test.
    # As Python's floats: the bound itself would be infinite in half precision.
    if float(values.min()) >= -LARGEST_SCORE and float(values.max()) <= LARGEST_SCORE:
        return
    bad = values.size - np.count_nonzero(np.abs(values, dtype=np.float32) <= LARGEST_SCORE)
    raise not_finite(name, bad, values.size)


def relit_picture(image: Floats) -> Rgb:
    """What a relighting network gives, 3 x h x w float32 and ImageNet-normalised, as h x w x 3 uint8 RGB.

    Raises:
        NotFiniteError: a value is NaN or infinite.
    """
    require_finite(image, "relit")
    return denormalize(image)


def not_finite(name: str, bad: int, size: int) -> NotFiniteError:
    """What to raise where ``bad`` of ``size`` values are no numbers; ``name`` says what they are."""
    return NotFiniteError(f"{name}: {bad} of {size} values are NaN or infinite, expected numbers")


class AxisPositions(NamedTuple):
    """Where each output pixel falls between the samples of one axis.

    Attributes:
        low: (pixels,) index of the sample before it; the one after it is the next.
        fraction: (pixels,) float32, 0..1 of the way to that next one.
    """

    low: npt.NDArray[np.intp]
    fraction: Floats


def axis_positions(samples: int, pixels: int, align_corners: bool) -> AxisPositions:
    """Positions of output pixels among at least two samples, as `torch.nn.functional.interpolate` has them."""
    position = np.arange(pixels, dtype=np.float64)
    if align_corners:
        position *= (samples - 1) / max(pixels - 1, 1)
    else:
        position = np.clip((position + 0.5) * (samples / pixels) - 0.5, 0, samples - 1)
    low = np.minimum(position.astype(np.intp), samples - 2)
    return AxisPositions(low, (position - low).astype(np.float32))


def upsample_labels(scores: Floats, size: tuple[int, int], align_corners: bool = True) -> Labels:
    """Argmax of the bilinearly upsampled scores, computed only where classes meet and only for those that can win.

    Args:
        scores: h x w x K float32.
        size: (H, W) of the labels.
        align_corners: as in `torch.nn.functional.interpolate`.

    Returns:
        H x W uint8 class indices.
    """
    scores = at_least_two(scores)
    rows, columns = (axis_positions(n, p, align_corners) for n, p in zip(scores.shape[:2], size, strict=True))
    best = scores.argmax(axis=2).astype(np.uint8)
    # Columns first: the result then lies row by row, which everything that reads it next depends on.
    labels: Labels = best.take(columns.low, axis=1).take(rows.low, axis=0)
    cells = _mixed_cells(scores, best)
    bands = np.searchsorted(cells.row, np.arange(scores.shape[0]))
    first_rows = np.searchsorted(rows.low, np.arange(scores.shape[0]))
    for band in np.unique(cells.row):
        inside = slice(bands[band], bands[band + 1])
        block = slice(first_rows[band], first_rows[band + 1])
        _label_band(labels[block], cells.part(inside), rows.fraction[block], columns)
    return labels


class _MixedCells(NamedTuple):
    """Stride cells whose corners disagree, in row-major order.

    Attributes:
        row, column: (n,) index of the cell's upper left corner.
        corners: (n, 4, K) scores at upper left, upper right, lower left, lower right.
        classes: (n, K) classes, those that can win inside the cell first, each group in ascending order.
        contenders: (n,) how many of them can win.
    """

    row: npt.NDArray[np.intp]
    column: npt.NDArray[np.intp]
    corners: Floats
    classes: npt.NDArray[np.intp]
    contenders: npt.NDArray[np.intp]

    def part(self, which: slice) -> _MixedCells:
        """Some of the cells."""
        row, column, corners, classes, contenders = self
        return _MixedCells(row[which], column[which], corners[which], classes[which], contenders[which])


def _mixed_cells(scores: Floats, best: Labels) -> _MixedCells:
    corner = best[:-1, :-1]
    row, column = np.nonzero((corner != best[:-1, 1:]) | (corner != best[1:, :-1]) | (corner != best[1:, 1:]))
    flat = scores.reshape(-1, scores.shape[2])
    upper_left = row * scores.shape[1] + column
    corners = flat[upper_left[:, None] + np.array([0, 1, scores.shape[1], scores.shape[1] + 1])]
    # Inside the cell a class stays between its lowest and highest corner: one whose highest lies below another's lowest
    # never wins.
    loses = corners.max(axis=1) < corners.min(axis=1).max(axis=1, keepdims=True)
    classes = np.argsort(loses, axis=1, kind="stable")
    return _MixedCells(row, column, corners, classes, loses.shape[1] - loses.sum(axis=1))


def _label_band(labels: Labels, cells: _MixedCells, down: Floats, columns: AxisPositions) -> None:
    """Write the pixels of one band's mixed cells into ``labels``, the r camera rows between two stride rows."""
    position = np.full(int(columns.low[-1]) + 1, -1, dtype=np.intp)
    position[cells.column] = np.arange(cells.column.size)
    cell_of_column = position[columns.low]
    pixels = np.flatnonzero(cell_of_column >= 0)
    cell = cell_of_column[pixels]
    classes = cells.classes[:, : int(cells.contenders.max())]
    # (n, 4, M) to (4, M, 1, n): classes in front, pixels innermost, so that every step runs over long rows.
    corners = np.take_along_axis(cells.corners, classes[:, None, :], axis=2).transpose(1, 2, 0)[:, :, None, :]
    left = _between(corners[0], corners[2], down[:, None])
    right = _between(corners[1], corners[3], down[:, None])
    values = np.take(left, cell, axis=2) + np.take(right - left, cell, axis=2) * columns.fraction[pixels]
    labels[:, pixels] = classes.T[_argmax_first_axis(values), cell]


def _argmax_first_axis(values: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Like ``values.argmax(axis=0)``, by running comparison: NumPy's own is slow across a short outer axis."""
    best, which = values[0].copy(), np.zeros(values.shape[1:], dtype=np.intp)
    for index in range(1, len(values)):
        np.putmask(which, values[index] > best, index)
        np.maximum(best, values[index], out=best)
    return which


def upsample_confidence(scores: Floats, size: tuple[int, int], align_corners: bool = True) -> Floats:
    """Softmax likelihood of the best class at every pixel, row by row: 19 x 1920 floats stay in the cache.

    Args:
        scores: h x w x K float32.
        size: (H, W) of the result.
        align_corners: as in `torch.nn.functional.interpolate`.

    Returns:
        H x W float32 in 1/K..1.
    """
    scores = at_least_two(scores)
    # Softmax does not see an offset shared by the classes, and interpolation carries one along; with it no exp
    # overflows, and the floor keeps the sum above zero where two far classes meet.
    scores = np.maximum(scores - scores.max(axis=2, keepdims=True), EXP_FLOOR)
    scores = np.ascontiguousarray(scores.transpose(0, 2, 1))
    rows, columns = (axis_positions(n, p, align_corners) for n, p in zip(scores.shape[::2], size, strict=True))
    confidence = np.empty(size, dtype=np.float32)
    likelihoods = np.empty((scores.shape[1], size[1]), dtype=np.float32)
    lower = _stretched(scores[0], columns)
    for sample in range(len(scores) - 1):
        upper, lower = lower, _stretched(scores[sample + 1], columns)
        step = lower - upper
        for row in range(*np.searchsorted(rows.low, (sample, sample + 1))):
            np.multiply(step, rows.fraction[row], out=likelihoods)
            np.add(likelihoods, upper, out=likelihoods)
            np.exp(likelihoods, out=likelihoods)
            np.divide(likelihoods.max(axis=0), likelihoods.sum(axis=0), out=confidence[row])
    return confidence


def _stretched(samples: Floats, columns: AxisPositions) -> Floats:
    """K x w samples of one row to K x W, along the row first: picking columns costs more than all the rest."""
    stretched = np.take(np.diff(samples, axis=1), columns.low, axis=1)
    stretched *= columns.fraction
    stretched += np.take(samples, columns.low, axis=1)
    return stretched


def _between(a: Floats, b: Floats, fraction: Floats) -> Floats:
    return a + (b - a) * fraction


def at_least_two(scores: Floats) -> Floats:
    """A single row or column of h x w x K is repeated, so that every pixel lies between two samples."""
    for axis in (0, 1):
        if scores.shape[axis] == 1:
            scores = np.repeat(scores, 2, axis=axis)
    return scores
