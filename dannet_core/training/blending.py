"""Start and adapted weights averaged (WiSE-FT, Wortsman et al. 2022), so that learning the night forgets less.

Not part of the paper. How much of the adaptation is kept is chosen on what the run can see, without a labelled night.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from dannet_core.classes import IGNORE_ID
from dannet_core.errors import SettingsError
from dannet_core.networks import DANNet
from dannet_core.networks.dannet import upsample
from dannet_core.training.distributed import Processes
from dannet_core.training.pseudo_labels import make_pseudo_labels
from dannet_core.training.step_inputs import StepInputs
from dannet_core.training.target_statistics import estimate_statistics
from dannet_core.training.teacher import batch_statistics

SHARES: Final = (0.4, 0.55, 0.7, 0.85, 1.0)
"""Of the adapted network in the blend."""
_SOURCE, _DAY, _NIGHT = range(3)


@dataclass
class Blend:
    """A blended network.

    Attributes:
        net: in eval mode.
        share: of the adapted network in it.
        score: what it was chosen by, 0 to 1; see `Blender`.
    """

    net: DANNet
    share: float
    score: float


class Blender:
    """Blends a network with what it was at the start.

    A blend's score is the mean of three mean IoUs, over the classes that each reference has: on source pictures with
    their labels; on day pictures with what the start network is certain of; and on the night pictures of the same pairs
    with the start network's static classes of the day and the adapted network's other classes of the night. The second
    falls with what is forgotten, also of classes that the source lacks; the third rises with what is learned.

    Args:
        start: the network before the first step.
        certain: likelihood above which the start network's label of a day pixel counts.
        static_classes: train ids.
        processes: over which scores are taken together.
        limits: of `SHARES`, those from the first to the second are tried; equal ones are the share.
        refitted: every blend gets batch-norm statistics of its own, of the day and night pictures, before it is scored:
            averages of the statistics of two networks do not fit the averages of their weights.

    Raises:
        SettingsError: none of `SHARES` lies between ``limits``.
    """

    def __init__(
        self,
        start: DANNet,
        certain: float,
        static_classes: Sequence[int],
        processes: Processes,
        limits: tuple[float, float] = (0.0, 1.0),
        *,
        refitted: bool = False,
    ) -> None:
        self._refitted = refitted
        self._shares = [share for share in SHARES if limits[0] <= share <= limits[1]]
        if limits[0] == limits[1]:
            self._shares = [limits[0]]
        if not self._shares:
            raise SettingsError(
                f"beyond.blend_least, beyond.blend_most: got {limits[0]:g} and {limits[1]:g}, expected one of "
                f"{', '.join(f'{share:g}' for share in SHARES)} between them"
            )
        self.start = copy.deepcopy(start).requires_grad_(False).eval()
        self._certain = certain
        self._static_classes = tuple(static_classes)
        self._processes = processes

    @torch.no_grad()
    def blend(self, adapted: DANNet, batches: Iterable[StepInputs]) -> Blend:
        """The blend with the best score on ``batches``; of equal ones the more adapted."""
        adapted = copy.deepcopy(adapted).requires_grad_(False).eval()
        seen = [view for batch in batches for view in self._views(adapted, batch)]
        candidates = [self._scored(adapted, share, seen) for share in self._shares]
        return max(candidates, key=lambda blend: (blend.score, blend.share))

    def _scored(self, adapted: DANNet, share: float, seen: Sequence[tuple[int, Tensor, Tensor]]) -> Blend:
        net = blended(self.start, adapted, share)
        if self._refitted:
            days, nights = ([images for kind, images, _ in seen if kind == wanted] for wanted in (_DAY, _NIGHT))
            estimate_statistics(net, [torch.cat(pair) for pair in zip(days, nights, strict=True)])
        confusions: dict[int, Tensor] = {}
        for kind, images, reference in seen:
            counts = _confusion(_logits(net, images), reference)
            confusions[kind] = confusions[kind] + counts if kind in confusions else counts
        ious = [mean_iou(self._processes.mean(confusions[kind])) for kind in sorted(confusions)]
        return Blend(net, share, sum(ious) / len(ious))

    def _views(self, adapted: DANNet, batch: StepInputs) -> list[tuple[int, Tensor, Tensor]]:
        """Pictures and their references, by kind: source, day, night."""
        day, night = batch.target_images("day"), batch.target_images("night")
        day_logits = _logits(self.start, day)
        confidence, known = day_logits.softmax(dim=1).max(dim=1)
        known = torch.where(confidence > self._certain, known, IGNORE_ID)
        with batch_statistics(adapted):
            night_logits = _logits(adapted, night)
        fused = make_pseudo_labels(day_logits, night_logits, None, "fused", self._static_classes).long()
        is_moving = torch.isin(fused, torch.tensor(self._static_classes, device=fused.device), invert=True)
        fused = torch.where(is_moving | (known != IGNORE_ID), fused, IGNORE_ID)
        return [(_SOURCE, batch.source, batch.labels), (_DAY, day, known), (_NIGHT, night, fused)]

    def state(self) -> dict[str, Any]:
        """For a checkpoint: the file that the run started from may go."""
        return dict(self.start.state_dict())

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.start.load_state_dict(state)


def blended(start: DANNet, adapted: DANNet, share: float) -> DANNet:
    """A network whose weights and running statistics are (1 - share) of ``start`` and ``share`` of ``adapted``."""
    net = copy.deepcopy(adapted)
    own, first = net.state_dict(), start.state_dict()
    with torch.no_grad():
        for key, tensor in own.items():
            if tensor.is_floating_point():
                tensor.copy_(torch.lerp(first[key], tensor, share))
    return net


def mean_iou(confusion: Tensor) -> float:
    """Mean IoU over the classes that the reference (rows) has; 0 where it has none."""
    hit = confusion.diag()
    present = confusion.sum(dim=1) > 0
    union = confusion.sum(dim=0) + confusion.sum(dim=1) - hit
    return float((hit[present] / union[present]).mean()) if bool(present.any()) else 0.0


def _confusion(logits: Tensor, reference: Tensor) -> Tensor:
    count = logits.shape[1]
    known = reference != IGNORE_ID
    pairs = reference[known] * count + logits.argmax(dim=1)[known]
    return torch.bincount(pairs, minlength=count * count).view(count, count).double()


def _logits(net: DANNet, images: Tensor) -> Tensor:
    _, stride_logits, _ = net.at_stride(images)
    return upsample(stride_logits.float(), (images.shape[-2], images.shape[-1]), net.align_corners)
