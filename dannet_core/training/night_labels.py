"""What the averaged teacher believes of the night pictures, and how far it is to be trusted (DACS, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dannet_core.training.domain_step import Part
from dannet_core.training.precision import Precision
from dannet_core.training.teacher import Teacher


@dataclass
class NightLabels:
    """Pseudo labels of a part's night pictures.

    Attributes:
        labels: N x h x w int64 train ids, at the size of the pictures.
        trust: (N,) weight of each picture's pseudo labels, 0 to 1.
    """

    labels: Tensor
    trust: Tensor


class NightLabeller:
    """Labels the night pictures of a part, once for all that use them.

    Args:
        teacher: predicts, with the statistics of the batch.
        threshold: a pixel whose likeliest class is above it is certain.
        precision: of the networks.
    """

    def __init__(self, teacher: Teacher, threshold: float, precision: Precision) -> None:
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
        confidence, labels = logits.softmax(dim=1).max(dim=1)
        trust = (confidence > self._threshold).float().mean(dim=(1, 2))
        part.result.labels["pseudo"] = labels
        return NightLabels(labels, trust)

    def _logits(self, images: Tensor) -> Tensor:
        with self._precision.autocast():
            logits = self._teacher.logits(images, (images.shape[-2], images.shape[-1]))
        return logits.float()
