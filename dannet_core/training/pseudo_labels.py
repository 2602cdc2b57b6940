"""Pseudo labels for the night image, from the day image of its pair (DANNet, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from dannet_core.classes import IGNORE_ID, STATIC_CLASSES
from dannet_core.losses.inputs import check_option, check_same_shape, in_full_precision

PSEUDO_LABEL_VARIANTS: Final = ("paper", "official", "fused")
CONFIDENT_LOGIT: Final = 0.4
DAY_SHARE_CONFIDENT: Final = 0.8
DAY_SHARE: Final = 0.2
_BITS: Final = 62


@torch.no_grad()
@in_full_precision
def make_pseudo_labels(
    day_logits: Tensor,
    night_logits: Tensor,
    class_weights: Tensor | None = None,
    variant: str = "paper",
    static_classes: Sequence[int] = STATIC_CLASSES,
) -> Tensor:
    """F_td: the class of each pixel of a coarsely aligned pair, kept where it is static.

    Args:
        day_logits: N x K x H x W of the day target images.
        night_logits: N x K x H x W of the night target images; not looked at by ``paper``.
        class_weights: (K,), w_k of equation 2, each above 0; None = all ones.
        variant: ``paper``: argmax over k of w_k P_td^k, P the likelihoods of the day image. ``official``: the released
            code: in the static classes 0.8 of the day logit and 0.2 of the night logit where the day logit is above
            0.4, else 0.2 and 0.8; in the others the night logit; times w_k; argmax.
            ``fused``, not in the paper (Refign's idea, without its warping): argmax of w_k times the likelihoods of
            either image; the night's class where it is not static, else the day's.
        static_classes: train ids that are kept; ``fused`` keeps the others as well, where the night has them.

    Returns:
        N x H x W uint8 train ids, 255 where the class is not static; in ``fused`` where only the day's is not. No
        gradient flows through it.

    Raises:
        ImageError: the two predictions differ in shape.
        SettingsError: unknown ``variant``.
    """
    check_option("variant", variant, PSEUDO_LABEL_VARIANTS)
    check_same_shape("pseudo labels", day_logits, night_logits)
    if variant == "fused":
        day, night = (_likeliest(logits, class_weights) for logits in (day_logits, night_logits))
        stands = _is_one_of(day, static_classes)
        fused = torch.where(_is_one_of(night, static_classes), torch.where(stands, day, IGNORE_ID), night)
        return fused.to(torch.uint8)
    if variant == "official":
        scores = _mix_day_into_night(day_logits, night_logits, static_classes)
        labels = (scores if class_weights is None else scores * _by_channel(class_weights)).argmax(dim=1)
    else:
        labels = _likeliest(day_logits, class_weights)
    return torch.where(_is_one_of(labels, static_classes), labels, IGNORE_ID).to(torch.uint8)


def _likeliest(logits: Tensor, class_weights: Tensor | None) -> Tensor:
    # The same argmax as that of w_k times the softmax, without computing the softmax.
    scores = logits if class_weights is None else logits + _by_channel(class_weights).log()
    return scores.argmax(dim=1)


def _is_one_of(labels: Tensor, classes: Sequence[int]) -> Tensor:
    if max(classes, default=0) >= _BITS:
        return torch.isin(labels, torch.tensor(tuple(classes), device=labels.device))
    # A bit a class instead of a table of classes, which would have to be copied to the device in every step; labels
    # beyond the bits are none of them.
    bits = sum(1 << train_id for train_id in set(classes))
    return (torch.bitwise_right_shift(bits, labels.clamp(max=_BITS)) & 1) == 1


def _mix_day_into_night(day_logits: Tensor, night_logits: Tensor, static_classes: Sequence[int]) -> Tensor:
    count = len(static_classes)
    if tuple(static_classes) != tuple(range(count)):
        mixed, static = night_logits.clone(), torch.tensor(tuple(static_classes), device=night_logits.device)
        day, night = day_logits[:, static], night_logits[:, static]
        mixed[:, static] = _mixed(day, night)
        return mixed
    day, night = day_logits[:, :count], night_logits[:, :count]
    return torch.cat([_mixed(day, night), night_logits[:, count:]], dim=1)


def _mixed(day: Tensor, night: Tensor) -> Tensor:
    day_share = torch.where(day > CONFIDENT_LOGIT, DAY_SHARE_CONFIDENT, DAY_SHARE)
    return day_share * day + (1 - day_share) * night


def _by_channel(class_weights: Tensor) -> Tensor:
    return class_weights.reshape(1, -1, 1, 1)
