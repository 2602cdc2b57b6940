"""Feature distance to the frozen start (DAFormer, Hoyer et al. 2022, equation 5); not part of the paper.

The backbone of the network in training is held to the features that the start's had of the same picture by day, so
that classes which the labels lack are not pushed out, and a darkened picture looks to the head as it did by day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from dannet_core.classes import IGNORE_ID
from dannet_core.losses.inputs import in_full_precision
from dannet_core.networks import DANNet
from dannet_core.training.domain_step import Part
from dannet_core.training.precision import Precision

LEAST_SHARE: Final = 0.75
"""Of a feature's pixels that must be of things for it to count, where only things do (DAFormer's r)."""


class FeatureDistance:
    """One more loss on the source pass.

    Args:
        start: the frozen network before the first step, in eval mode.
        net: in training, of the same architecture.
        backbone: name of the backbone's module in a network; every stage that it gives counts alike.
        weight: of the loss.
        precision: of the networks.
        static_classes: train ids of the classes whose features do not count; empty = every feature counts.
    """

    def __init__(
        self,
        start: DANNet,
        net: DANNet,
        backbone: str,
        *,
        weight: float,
        precision: Precision,
        static_classes: Sequence[int] = (),
    ) -> None:
        self._start = start
        self._backbones = net.get_submodule(backbone), start.get_submodule(backbone)
        self._weight = weight
        self._precision = precision
        self._static_classes = tuple(static_classes)
        self._seen: list[Tensor] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, the features of the network in training are kept; nothing of it stays in the network."""
        with _stages(self._backbones[0]) as kept:
            yield
        self._seen = kept

    def loss(self, part: Part, logits: Tensor) -> Tensor:
        """The weighted loss of the pass that was watched last; its first pictures are the source's."""
        assert self._seen, "the pass comes first"
        with torch.no_grad(), self._precision.autocast(), _stages(self._backbones[1]) as start:
            self._start.at_stride(part.inputs.source)
        own, self._seen = [stage[: len(logits)] for stage in self._seen], []
        counted = [self._counted(part, stage) for stage in own]
        distances = list(map(feature_distance, own, start, counted))
        loss = torch.stack(distances).mean()
        part.add("feature_distance", loss)
        return self._weight * loss

    def _counted(self, part: Part, features: Tensor) -> Tensor:
        size = (features.shape[-2], features.shape[-1])
        if not self._static_classes:
            return features.new_ones(len(features), *size, dtype=torch.bool)
        labels = part.inputs.labels
        others = torch.tensor((*self._static_classes, IGNORE_ID), device=labels.device)
        things = torch.isin(labels, others, invert=True).float()[:, None]
        return functional.adaptive_avg_pool2d(things, size)[:, 0] >= LEAST_SHARE


@in_full_precision
def feature_distance(features: Tensor, start: Tensor, counted: Tensor) -> Tensor:
    """Mean square distance of features, in units of the mean square of the start's; 0 where nothing is counted.

    Args:
        features: N x C x h x w of the network in training.
        start: the same of the frozen one. Without its unit the weight would depend on the architecture.
        counted: N x h x w bool.
    """
    squares = (features - start).square().mean(dim=1)
    unit = start.square().mean().clamp(min=1e-12)
    return (squares * counted).sum() / (counted.sum().clamp(min=1) * unit)


@contextmanager
def _stages(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, what a layer gave last lands in the list, a tensor a stage."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor | Sequence[Tensor]) -> None:
        kept[:] = [output] if isinstance(output, Tensor) else output

    handle = layer.register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()
