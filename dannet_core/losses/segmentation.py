"""The segmentation loss on the source domain (DANNet, equation 7): cross-entropy weighted by class."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from dannet_core.classes import IGNORE_ID
from dannet_core.losses.inputs import check_label_size, check_option, in_full_precision

SEGMENTATION_DIVISORS: Final = ("released", "pixels", "pixels_and_classes")


@in_full_precision
def segmentation_loss(
    logits: Tensor,
    labels: Tensor,
    class_weights: Tensor | None = None,
    divide_by: str = "released",
    divisor: Tensor | None = None,
) -> Tensor:
    """Class-weighted cross-entropy over the labelled pixels (equation 7).

    Args:
        logits: N x K x H x W.
        labels: N x H x W integer train ids, 255 = not labelled.
        class_weights: (K,), w_k of equation 2; None = all ones.
        divide_by: see `segmentation_divisor`.
        divisor: scalar to divide by instead of this batch's own, e.g. its mean over the processes of a distributed
            run: then the mean of their losses is the loss of the whole batch.

    Returns:
        Scalar; exactly 0, with zero gradients, where no pixel is labelled.

    Raises:
        ImageError: labels and logits differ in size.
        SettingsError: unknown ``divide_by``.
    """
    check_label_size(logits, labels)
    weights = None if class_weights is None else class_weights.to(logits.dtype)
    total = functional.cross_entropy(logits, labels.long(), weights, ignore_index=IGNORE_ID, reduction="sum")
    if divisor is None:
        divisor = segmentation_divisor(labels, logits.shape[1], class_weights, divide_by)
    return total / torch.where(divisor > 0, divisor, 1)


def segmentation_divisor(
    labels: Tensor, num_classes: int, class_weights: Tensor | None = None, divide_by: str = "released"
) -> Tensor:
    """What equation 7's sum is divided by: a scalar, 0 where no pixel is labelled.

    Args:
        labels: N x H x W integer train ids, 255 = not labelled.
        num_classes: K.
        class_weights: (K,), or None for all ones.
        divide_by: ``released``: the weights of the labelled pixels, summed (a weighted mean, as in PyTorch and the
            released code). ``pixels``: their number N. ``pixels_and_classes``: N |C|, the equation as printed, K times
            smaller a loss than the others.

    Raises:
        SettingsError: unknown ``divide_by``.
    """
    check_option("divide_by", divide_by, SEGMENTATION_DIVISORS)
    valid = labels != IGNORE_ID
    if divide_by == "released" and class_weights is not None:
        return (class_weights.float()[torch.where(valid, labels, 0).long()] * valid).sum()
    pixels = valid.sum()
    return pixels * num_classes if divide_by == "pixels_and_classes" else pixels


class SegmentationLoss(nn.Module):
    """`segmentation_loss` with its options held.

    Args:
        class_weights: (K,) or None.
        divide_by: ``released``, ``pixels`` or ``pixels_and_classes``.

    Raises:
        SettingsError: an unknown option.
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: Tensor | None = None, divide_by: str = "released") -> None:
        super().__init__()
        check_option("divide_by", divide_by, SEGMENTATION_DIVISORS)
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.divide_by = divide_by

    def forward(self, logits: Tensor, labels: Tensor, divisor: Tensor | None = None) -> Tensor:
        """See `segmentation_loss`."""
        return segmentation_loss(logits, labels, self.class_weights, self.divide_by, divisor)
