"""The least-squares adversarial losses (DANNet, equations 10, 12 and 13)."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from dannet_core.losses.inputs import in_full_precision

SOURCE_LABEL: Final = 0.0
"""r: the score a discriminator should give to the source domain."""
TARGET_LABEL: Final = 1.0
"""f: the score a discriminator should give to a target domain."""


@in_full_precision
def adversarial_loss(target_scores: Tensor) -> Tensor:
    """What the generator pays for being found out by one discriminator: mean of (D(P_t) - r)^2.

    Equation 10 is the sum of this for Dd on the day target and for Dn on the night target.

    Args:
        target_scores: a discriminator's scores of target predictions, any shape.

    Returns:
        Scalar, the mean over all patches.
    """
    return (target_scores - SOURCE_LABEL).square().mean()


@in_full_precision
def discriminator_loss(source_scores: Tensor, target_scores: Tensor) -> Tensor:
    """What a discriminator pays for mistakes: half of (D(P_s) - r)^2 and half of (D(P_t) - f)^2 (equations 12, 13).

    Args:
        source_scores: its scores of source predictions, any shape.
        target_scores: its scores of target predictions, any shape; the sizes may differ.

    Returns:
        Scalar, each half a mean over its own patches.
    """
    on_source = (source_scores - SOURCE_LABEL).square().mean()
    on_target = (target_scores - TARGET_LABEL).square().mean()
    return (on_source + on_target) / 2


class AdversarialLoss(nn.Module):
    """`adversarial_loss` as a module."""

    def forward(self, target_scores: Tensor) -> Tensor:
        """See `adversarial_loss`."""
        return adversarial_loss(target_scores)


class DiscriminatorLoss(nn.Module):
    """`discriminator_loss` as a module."""

    def forward(self, source_scores: Tensor, target_scores: Tensor) -> Tensor:
        """See `discriminator_loss`."""
        return discriminator_loss(source_scores, target_scores)
