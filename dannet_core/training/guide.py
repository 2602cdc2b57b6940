"""A frozen model that knows the day, as the run's ingredients ask it; not part of the paper."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dannet_core.class_set import ClassSet, require_same_classes
from dannet_core.errors import SettingsError
from dannet_core.networks import DANNet
from dannet_core.networks.dannet import upsample
from dannet_core.networks.weights import load_metadata, load_weights
from dannet_core.training.config import TrainConfig
from dannet_core.training.precision import Precision


class Guide:
    """Says what day pictures show: the start of the run, or a larger model, with its own batch-norm statistics.

    Unlike the averaged teacher it does not drift with the run, and is at home by day.

    Args:
        net: is copied.
        precision: to run it in.

    Attributes:
        net: frozen, in eval mode.
    """

    def __init__(self, net: DANNet, precision: Precision) -> None:
        self.net = copy.deepcopy(net).requires_grad_(False).eval()
        self._precision = precision

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """N x K x H x W float32 logits of N x 3 x H x W pictures by day."""
        with self._precision.autocast():
            _, stride_logits, _ = self.net.at_stride(images)
        return upsample(stride_logits.float(), (images.shape[-2], images.shape[-1]), self.net.align_corners)

    def state(self) -> dict[str, Any]:
        """For a checkpoint: the file that it came from may go, or change."""
        return dict(self.net.state_dict())

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.net.load_state_dict(state)


@dataclass
class Guides:
    """The guides of a run; None where nothing asks for one.

    Attributes:
        start: the network before the first step.
        larger: a larger teacher.
    """

    start: Guide | None = None
    larger: Guide | None = None

    @property
    def day(self) -> Guide | None:
        """The one that knows the day best."""
        return self.start if self.larger is None else self.larger

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {name: guide.state() for name, guide in self._named()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        for name, guide in self._named():
            guide.restore(state[name])

    def _named(self) -> list[tuple[str, Guide]]:
        both = (("start", self.start), ("larger", self.larger))
        return [(name, guide) for name, guide in both if guide is not None]


def make_guides(config: TrainConfig, net: DANNet, classes: ClassSet, precision: Precision) -> Guides:
    """The guides that the ingredients of a run ask for.

    Args:
        config: of the run.
        net: before the first step, on its device.
        classes: of the run.
        precision: of the networks.

    Raises:
        SettingsError: no ``init``, a larger teacher of other classes, or one that nothing asks.
        ModelFileError: the larger teacher's file cannot be read.
    """
    beyond = config.beyond
    asks_by_day = beyond.distillation > 0 or (beyond.night_labels == "fused_guide" and beyond.teacher > 0)
    path = beyond.larger_teacher
    makes_labels = beyond.missing_classes or config.data.source is None
    if path is not None and not asks_by_day and not makes_labels:
        raise SettingsError(
            f"beyond.larger_teacher: got {path}, but nothing asks it: set beyond.distillation, e.g. to 1, or "
            "beyond.night_labels fused_guide, or beyond.missing_classes, or leave out data.source"
        )
    larger = None if path is None else _load(path, classes, precision, next(net.parameters()).device)
    if not (beyond.feature_distance > 0 or (asks_by_day and larger is None)):
        return Guides(larger=larger)
    if config.init is None:
        raise SettingsError(
            "beyond.distillation, beyond.feature_distance and beyond.night_labels fused_guide hold to what init knows: "
            "set init, a model that knows the day"
        )
    return Guides(Guide(net, precision), larger)


def _load(path: Path, classes: ClassSet, precision: Precision, device: torch.device) -> Guide:
    require_same_classes(load_metadata(path).classes, classes, "data.classes")
    return Guide(load_weights(path).to(device), precision)
