"""The re-weighting's std swept over several values (DANNet, Figure 7), with one pass of the network a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from dannet_core.classes import NUM_CLASSES
from dannet_core.errors import SettingsError
from dannet_core.evaluation.confusion import ConfusionMatrix
from dannet_core.inference.backends import Backend, StrideOutput
from dannet_core.inference.postprocess import class_scaling, scale_logits, upsample_labels
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.pixels import Labels

STDS: Final = (0.0, 0.04, 0.08, 0.12, 0.16, 0.20, 0.24, 0.28, 0.32)
"""The values swept unless others are given; the paper settles on 0.16."""


class StdSweep:
    """Scores every std from the network output of a picture that a segmenter has just labelled.

    It listens at the segmenter's backend: ``NightSegmenter(sweep.watch(open_backend(path)))``.
    """

    def __init__(self, stds: Sequence[float] = STDS) -> None:
        """Sweep ``stds``, each 0..1; 0 is no re-weighting."""
        if not stds or not all(0 <= std <= 1 for std in stds):
            raise SettingsError(f"stds: got {list(stds)}, expected at least one number of 0 to 1")
        self._stds = tuple(sorted(set(stds)))
        self._watched: _Watched | None = None
        self.start()

    def start(self, num_classes: int = NUM_CLASSES) -> None:
        """Forget what was counted, before the next data set."""
        self.confusions = {std: ConfusionMatrix(num_classes=num_classes) for std in self._stds}

    def watch(self, backend: Backend) -> Backend:
        """The backend, to be handed to the segmenter; its latest output is kept for `add`."""
        self._watched = _Watched(backend)
        return self._watched

    def add(self, segmenter: NightSegmenter, labels: Labels) -> None:
        """Score the picture that ``segmenter`` labelled last.

        ``reweight`` of the segmenter's settings says what the weights multiply (the likelihoods if it is ``none``);
        ``min_confidence`` plays no part.

        Args:
            segmenter: made from the watched backend.
            labels: H x W uint8 train ids of that picture.

        Raises:
            SettingsError: the segmenter was not made from the watched backend, or has labelled nothing yet.
        """
        if self._watched is None or self._watched.latest is None:
            raise SettingsError("std sweep: no network output yet: make the segmenter with sweep.watch(backend)")
        output, self._watched.latest = self._watched.latest, None
        metadata = segmenter.metadata
        method = "probabilities" if segmenter.settings.reweight == "none" else segmenter.settings.reweight
        size = (labels.shape[0], labels.shape[1])
        for std, confusion in self.confusions.items():
            scores = scale_logits(output.logits, class_scaling(method, metadata.class_shares, std))
            confusion.add(labels, upsample_labels(scores, size, metadata.align_corners))


class _Watched:
    """A backend that keeps its latest output."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name = backend.name
        self.device = backend.device
        self.metadata = backend.metadata
        self.fixed_input_size = backend.fixed_input_size
        self.latest: StrideOutput | None = None

    def infer(self, image: npt.NDArray[np.float32], with_relit: bool) -> StrideOutput:
        """See `Backend.infer`."""
        self.latest = self._backend.infer(image, with_relit)
        return self.latest

    def close(self) -> None:
        """See `Backend.close`."""
        self.latest = None
        self._backend.close()


def best_std(confusions: dict[float, ConfusionMatrix]) -> float:
    """The std with the highest ``miou_present``; the smallest of equals."""
    return max(confusions, key=lambda std: (confusions[std].miou_present, -std))


def sweep_series(confusions: dict[float, ConfusionMatrix]) -> dict[str, list[float]]:
    """Mean IoU 0..1 by std, in the sweep's order, by what the mean is over."""
    count = len(next(iter(confusions.values())).counts)
    return {
        "over the classes present": [one.miou_present for one in confusions.values()],
        f"over all {count}": [one.miou_all for one in confusions.values()],
    }
