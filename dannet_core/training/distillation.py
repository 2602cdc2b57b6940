"""Soft labels of a guide on the source pictures (Hinton et al. 2015); not part of the paper.

The guide sees a picture by day, the network in training sees it as the source pass does, perhaps darkened: what the
guide knows of every class, and how sure it is, is learned by night and kept by day.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from dannet_core.classes import IGNORE_ID
from dannet_core.losses.inputs import check_same_shape, in_full_precision
from dannet_core.training.domain_step import Part
from dannet_core.training.guide import Guide


class Distillation:
    """One more loss on the source pass.

    Args:
        guide: gives the soft labels.
        weight: of the loss.
    """

    def __init__(self, guide: Guide, weight: float) -> None:
        self._guide = guide
        self._weight = weight

    def loss(self, part: Part, logits: Tensor) -> Tensor:
        """The weighted loss of the source pictures' logits."""
        believed = self._guide.logits(part.inputs.source)
        loss = distillation_loss(logits, believed, part.inputs.labels)
        part.add("distillation", loss)
        return self._weight * loss


@in_full_precision
def distillation_loss(logits: Tensor, believed: Tensor, labels: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the guide's likelihoods, averaged over the pixels where it is not contradicted.

    Args:
        logits: N x K x H x W of the network in training.
        believed: N x K x H x W logits of the guide.
        labels: N x H x W integer train ids, 255 = not labelled. Where a label names another class than the guide's
            likeliest, the label is right, and the pixel does not count.

    Returns:
        Scalar; exactly 0, with zero gradients, where every pixel is contradicted.

    Raises:
        ImageError: the two predictions differ in shape.
    """
    check_same_shape("distillation", logits, believed)
    stands = (labels == IGNORE_ID) | (labels == believed.argmax(dim=1))
    soft = believed.softmax(dim=1)
    pixels = functional.kl_div(logits.log_softmax(dim=1), soft, reduction="none").sum(dim=1)
    return (pixels * stands).sum() / stands.sum().clamp(min=1)
