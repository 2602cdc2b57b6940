"""What the averaged teacher believes of the night pictures, and how far it is to be trusted (DACS, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dannet_core.classes import IGNORE_ID
from dannet_core.training.domain_step import Part
from dannet_core.training.guide import Guide
from dannet_core.training.precision import Precision
from dannet_core.training.pseudo_labels import make_pseudo_labels
from dannet_core.training.teacher import Teacher


@dataclass
class NightLabels:
    """Pseudo labels of a part's night pictures.

    Attributes:
        labels: N x h x w int64 train ids, at the size of the pictures.
        trust: N x h x w float32 weight of each pseudo label, 0 to 1.
    """

    labels: Tensor
    trust: Tensor


class NightLabeller:
    """Labels the night pictures of a part, once for all that use them.

    Args:
        teacher: predicts, with the statistics of the batch.
        threshold: a pixel whose likeliest class is above it is certain.
        precision: of the networks.
        fused_for: train ids of the static classes, which then come from the day picture of the pair
            (`make_pseudo_labels`, ``fused``); None = everything from the night.
        guide: labels the day picture instead of the teacher; None = the teacher.
    """

    def __init__(
        self,
        teacher: Teacher,
        threshold: float,
        precision: Precision,
        fused_for: Sequence[int] | None = None,
        guide: Guide | None = None,
    ) -> None:
        self._guide = guide
        self._fused_for = fused_for
        self._teacher = teacher
        self._threshold = threshold
        self._precision = precision
        self._last: tuple[Part, NightLabels] | None = None

    @torch.no_grad()
    def __call__(self, part: Part) -> NightLabels:
        """The pseudo labels; a picture is trusted by the share of its pixels that are certain."""
        if self._last is None or self._last[0] is not part:
            self._last = (part, self._label(part))
        return self._last[1]

    def _label(self, part: Part) -> NightLabels:
        logits = self._logits(part.inputs.target_images("night"))
        if self._fused_for is not None:
            day_images = part.inputs.target_images("day")
            day = self._logits(day_images) if self._guide is None else self._guide.logits(day_images)
            fused = make_pseudo_labels(day, logits, None, "fused", self._fused_for).long()
            likelihoods = torch.maximum(_likelihoods(day), _likelihoods(logits))
            confidence = likelihoods.gather(1, torch.where(fused == IGNORE_ID, 0, fused)[:, None])[:, 0]
            return self._believed(part, fused, torch.where(fused == IGNORE_ID, 0, confidence))
        confidence, labels = _likelihoods(logits).max(dim=1)
        return self._believed(part, labels, confidence)

    def _believed(self, part: Part, labels: Tensor, confidence: Tensor) -> NightLabels:
        trust = (confidence > self._threshold).float()
        trust = trust.mean(dim=(1, 2), keepdim=True).expand_as(trust)
        part.result.labels["pseudo"] = labels
        return NightLabels(labels, trust)

    def _logits(self, images: Tensor) -> Tensor:
        with self._precision.autocast():
            logits = self._teacher.logits(images, (images.shape[-2], images.shape[-1]))
        return logits.float()


def _likelihoods(logits: Tensor) -> Tensor:
    """Softmax over the classes; along memory where they lie side by side (channels_last), which saves two copies."""
    if logits.is_contiguous(memory_format=torch.channels_last):
        return logits.movedim(1, -1).softmax(dim=-1).movedim(-1, 1)
    return logits.softmax(dim=1)
