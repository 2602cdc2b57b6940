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
from dannet_core.errors import SettingsError
from dannet_core.pixels import Labels

REWEIGHT_METHODS: Final = ("probabilities", "logits", "none")
"""What w multiplies: the likelihoods (the paper), the logits (the released code), or nothing."""
BLOCK_ROWS: Final = 8
"""Camera rows interpolated at once for the confidence: 19 x 8 x 1920 floats stay in the second-level cache."""

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
    """Apply the re-weighting: K x h x w logits to h x w x K scores, class last."""
    return np.ascontiguousarray(logits.transpose(1, 2, 0) * scaling.factor + scaling.offset)


class _Axis(NamedTuple):
    """Where each output pixel falls between the samples of one axis."""

    low: npt.NDArray[np.intp]
    fraction: Floats


def _axis(samples: int, pixels: int, align_corners: bool) -> _Axis:
    position = np.arange(pixels, dtype=np.float64)
    if align_corners:
        position *= (samples - 1) / max(pixels - 1, 1)
    else:
        position = np.clip((position + 0.5) * (samples / pixels) - 0.5, 0, samples - 1)
    low = np.minimum(position.astype(np.intp), samples - 2)
    return _Axis(low, (position - low).astype(np.float32))


def upsample_labels(scores: Floats, size: tuple[int, int], align_corners: bool = True) -> Labels:
    """Argmax of the bilinearly upsampled scores, computed only where classes meet.

    Args:
        scores: h x w x K float32.
        size: (H, W) of the labels.
        align_corners: as in `torch.nn.functional.interpolate`.

    Returns:
        H x W uint8 class indices.
    """
    scores = _at_least_two(scores)
    best = scores.argmax(axis=2).astype(np.uint8)
    rows, columns = (_axis(n, p, align_corners) for n, p in zip(scores.shape[:2], size, strict=True))
    labels: Labels = best[rows.low][:, columns.low]
    agree = (best[:-1, :-1] == best[:-1, 1:]) & (best[:-1, :-1] == best[1:, :-1]) & (best[:-1, :-1] == best[1:, 1:])
    first_rows = np.searchsorted(rows.low, np.arange(scores.shape[0]))
    for band in np.flatnonzero(~agree.all(axis=1)):
        start, stop = first_rows[band], first_rows[band + 1]
        mixed = np.flatnonzero(~agree[band][columns.low])
        if stop > start and mixed.size:
            fractions = rows.fraction[start:stop, None, None]
            values = _between(scores[band], scores[band + 1], fractions)
            low, across = columns.low[mixed], columns.fraction[mixed, None]
            labels[start:stop, mixed] = _between(values[:, low], values[:, low + 1], across).argmax(axis=2)
    return labels


def upsample_confidence(scores: Floats, size: tuple[int, int], align_corners: bool = True) -> Floats:
    """Softmax likelihood of the best class at every pixel, in row blocks.

    Args:
        scores: h x w x K float32.
        size: (H, W) of the result.
        align_corners: as in `torch.nn.functional.interpolate`.

    Returns:
        H x W float32 in 1/K..1.
    """
    scores = np.ascontiguousarray(_at_least_two(scores).transpose(2, 0, 1))
    rows, columns = (_axis(n, p, align_corners) for n, p in zip(scores.shape[1:], size, strict=True))
    confidence = np.empty(size, dtype=np.float32)
    for start in range(0, size[0], BLOCK_ROWS):
        block = slice(start, min(start + BLOCK_ROWS, size[0]))
        low = rows.low[block]
        values = _between(scores[:, low], scores[:, low + 1], rows.fraction[block, None])
        values = _between(values[:, :, columns.low], values[:, :, columns.low + 1], columns.fraction)
        values -= values.max(axis=0)
        np.exp(values, out=values)
        np.divide(1.0, values.sum(axis=0), out=confidence[block])
    return confidence


def _between(a: Floats, b: Floats, fraction: Floats) -> Floats:
    return a + (b - a) * fraction


def _at_least_two(scores: Floats) -> Floats:
    """A single row or column is repeated, so that every pixel lies between two samples."""
    for axis in (0, 1):
        if scores.shape[axis] == 1:
            scores = np.repeat(scores, 2, axis=axis)
    return scores
