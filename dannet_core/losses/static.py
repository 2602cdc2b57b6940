"""The static loss on the night target (DANNet, section 3.4, equations 8 and 9).

The day image of a pair is only coarsely aligned with the night image. So a night pixel may be any of the classes that
its pseudo label has in the 3 x 3 pixels around it, and is held to the likeliest of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from dannet_core.classes import IGNORE_ID, STATIC_CLASSES
from dannet_core.errors import SettingsError
from dannet_core.losses.inputs import check_label_size, check_option, in_full_precision


@dataclass(frozen=True)
class _Variant:
    """How a variant reads equations 8 and 9.

    Attributes:
        neighbourhood: the classes within one pixel count, not only the pixel's own.
        focal: the factor (1 - P)^gamma is applied.
        only_static: the likelihoods are normalised over the static classes only and multiplied by the class weights.
    """

    neighbourhood: bool
    focal: bool
    only_static: bool


_VARIANTS: Final = {
    "paper": _Variant(neighbourhood=True, focal=True, only_static=False),
    "focal": _Variant(neighbourhood=False, focal=True, only_static=False),
    "cross_entropy": _Variant(neighbourhood=False, focal=False, only_static=False),
    "official": _Variant(neighbourhood=False, focal=True, only_static=True),
}
STATIC_VARIANTS: Final = tuple(_VARIANTS)
MAX_BITS: Final = 62
"""Static classes that fit into one integer with a bit each, and one bit to spare."""
LIKELIHOOD_EPS: Final = 1e-7
"""The released code keeps weighted likelihoods this far from 0 and 1."""


@in_full_precision
def static_loss(  # noqa: PLR0913  what equations 8 and 9 are made of, each by name
    logits: Tensor,
    pseudo_labels: Tensor,
    variant: str = "paper",
    gamma: float = 1.0,
    class_weights: Tensor | None = None,
    divisor: Tensor | None = None,
    *,
    static_classes: Sequence[int] = STATIC_CLASSES,
) -> Tensor:
    """Focal-style loss of the night prediction against the day's pseudo labels (equations 8 and 9).

    Args:
        logits: N x K x H x W of the night image.
        pseudo_labels: N x H x W integer train ids; ids outside ``static_classes`` are ignored, also as neighbours.
        variant: ``paper``: equations 8 and 9. ``focal``: the pixel's own pseudo label only (Table 4, plain focal).
            ``cross_entropy``: the same without the focal factor (Table 4). ``official``: the released code: the
            pixel's own label, likelihoods over the static classes only, times the class weights, in 1e-7..1 - 1e-7.
        gamma: exponent of the focal factor, at least 0; not used by ``cross_entropy``.
        class_weights: (K,), w_k of equation 2, or those of the static classes where these come first; used, and
            needed, by ``official`` only.
        divisor: scalar to divide by instead of this batch's own `static_divisor`, e.g. its mean over the processes of
            a distributed run: then the mean of their losses is the loss of the whole batch.
        static_classes: train ids, fewer than K or all.

    Returns:
        Scalar, the mean over the static pixels; exactly 0, with zero gradients, where there is none.

    Raises:
        ImageError: pseudo labels and logits differ in size.
        SettingsError: unknown ``variant``, negative ``gamma``, or ``official`` without class weights.
    """
    _check(variant, gamma, class_weights)
    check_label_size(logits, pseudo_labels)
    how = _VARIANTS[variant]
    count = len(static_classes)
    if tuple(static_classes) != tuple(range(count)):
        logits, pseudo_labels, class_weights = _static_first(logits, pseudo_labels, class_weights, static_classes)
    static = pseudo_labels < count
    # Which class is held against a pixel is a choice, not a function to be differentiated: after it, equation 8 is a
    # cross-entropy, and no one-hot map over the classes has to live until the backward pass.
    targets = _likeliest_nearby(logits, pseudo_labels, count) if how.neighbourhood else pseudo_labels.long()
    targets = torch.where(static, targets, IGNORE_ID)
    if how.only_static and class_weights is not None:
        log_p = _weighted_log_likelihood(logits[:, :count], targets, class_weights)
    else:
        log_p = -functional.cross_entropy(logits, targets, ignore_index=IGNORE_ID, reduction="none")
    pixel_loss = -log_p * _focal_factor(log_p, gamma) if how.focal else -log_p
    if divisor is None:
        divisor = static.sum()
    return torch.where(static, pixel_loss, 0).sum() / torch.where(divisor > 0, divisor, 1)


def static_divisor(pseudo_labels: Tensor, static_classes: Sequence[int] = STATIC_CLASSES) -> Tensor:
    """N of equation 8: the number of pixels whose pseudo label is a static class, a scalar."""
    if tuple(static_classes) == tuple(range(len(static_classes))):
        return (pseudo_labels < len(static_classes)).sum()
    return torch.isin(pseudo_labels, torch.tensor(static_classes, device=pseudo_labels.device)).sum()


def _static_first(
    logits: Tensor, pseudo_labels: Tensor, class_weights: Tensor | None, static_classes: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The same with the classes in another order: the static ones come first, whatever their train ids."""
    others = [k for k in range(logits.shape[1]) if k not in set(static_classes)]
    order = torch.tensor([*static_classes, *others], device=logits.device)
    place = torch.full((IGNORE_ID + 1,), IGNORE_ID, device=logits.device)
    place[order[: len(static_classes)]] = torch.arange(len(static_classes), device=logits.device)
    weights = None if class_weights is None else class_weights[order]
    return logits[:, order], place[pseudo_labels.long()], weights


@torch.no_grad()
def _likeliest_nearby(logits: Tensor, pseudo_labels: Tensor, count: int) -> Tensor:
    """The likeliest class among the static pseudo labels of each 3 x 3 neighbourhood: N x H x W int64 (equation 9).

    Meaningless where the neighbourhood has no static label.
    """
    if count > MAX_BITS:
        return _likeliest_of_many(logits[:, :count], pseudo_labels)
    # One bit a class: the union of the nine label sets is four ORs on a single plane, whatever the number of classes.
    # All ignored labels share the bit above the static ones, which is not looked at.
    near = 1 << (pseudo_labels.int() if count < 31 else pseudo_labels.long()).clamp(max=count)
    near = functional.pad(near, (1, 1, 1, 1))
    near = near[:, :-2] | near[:, 1:-1] | near[:, 2:]
    near = near[..., :-2] | near[..., 1:-1] | near[..., 2:]
    classes = torch.arange(count, dtype=near.dtype, device=near.device).reshape(1, -1, 1, 1)
    absent = ((near.unsqueeze(1) >> classes) & 1) == 0
    return logits[:, :count].masked_fill(absent, -torch.inf).max(dim=1).indices


def _likeliest_of_many(static_logits: Tensor, pseudo_labels: Tensor) -> Tensor:
    """`_likeliest_nearby` class by class, for sets that do not fit into the bits of an integer."""
    best = torch.full_like(static_logits[:, 0], -torch.inf)
    which = torch.zeros_like(best, dtype=torch.int64)
    for k in range(static_logits.shape[1]):
        near = functional.max_pool2d((pseudo_labels == k).to(best.dtype)[:, None], 3, stride=1, padding=1)[:, 0] > 0
        better = near & (static_logits[:, k] > best)
        best = torch.where(better, static_logits[:, k], best)
        which = torch.where(better, k, which)
    return which


def _focal_factor(log_p: Tensor, gamma: float) -> Tensor:
    # expm1 keeps the digits of 1 - p near p = 1; the floor keeps the slope finite there for a gamma below 1.
    return (-torch.expm1(log_p)).clamp(min=LIKELIHOOD_EPS).pow(gamma)


def _weighted_log_likelihood(static_logits: Tensor, targets: Tensor, class_weights: Tensor) -> Tensor:
    log_p = -functional.cross_entropy(static_logits, targets, ignore_index=IGNORE_ID, reduction="none")
    weights = class_weights[targets.clamp(max=static_logits.shape[1] - 1)].to(log_p.dtype)
    return (weights * log_p.exp()).clamp(LIKELIHOOD_EPS, 1 - LIKELIHOOD_EPS).log()


def _check(variant: str, gamma: float, class_weights: Tensor | None) -> None:
    check_option("variant", variant, STATIC_VARIANTS)
    if gamma < 0:
        raise SettingsError(f"gamma: got {gamma}, expected 0 or more (the paper uses 1)")
    if _VARIANTS[variant].only_static and class_weights is None:
        raise SettingsError(f"class_weights: got none, expected the re-weighting vector: variant '{variant}' needs it")


class StaticLoss(nn.Module):
    """`static_loss` with its options held.

    Args:
        variant: ``paper``, ``focal``, ``cross_entropy`` or ``official``.
        gamma: exponent of the focal factor.
        class_weights: (K,); needed by ``official`` only.
        static_classes: train ids.

    Raises:
        SettingsError: as in `static_loss`.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        variant: str = "paper",
        gamma: float = 1.0,
        class_weights: Tensor | None = None,
        static_classes: Sequence[int] = STATIC_CLASSES,
    ) -> None:
        super().__init__()
        _check(variant, gamma, class_weights)
        self.static_classes = tuple(static_classes)
        self.variant, self.gamma = variant, gamma
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, pseudo_labels: Tensor, divisor: Tensor | None = None) -> Tensor:
        """See `static_loss`."""
        options = (self.variant, self.gamma, self.class_weights, divisor)
        return static_loss(logits, pseudo_labels, *options, static_classes=self.static_classes)
