"""Which class was taken for which, counted by pixel, and the scores that follow from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dannet_core.classes import IGNORE_ID, NUM_CLASSES
from dannet_core.errors import ImageError
from dannet_core.pixels import Labels

if TYPE_CHECKING:
    from torch import Tensor

Counts = npt.NDArray[np.int64]
"""K x (K + 1) pixels: rows are the labelled class, columns the predicted one, the last column "unknown".

Unknown are pixels that were predicted 255, no class at all; as in cityscapesscripts they count as missed.
"""


class ConfusionMatrix:
    """Adds up pictures; pixels labelled 255 are left out.

    Three means of the per-class IoU are told apart, because data sets lack classes (Nighttime Driving has no terrain
    and no motorcycle) and published figures differ in what they do about that:

    * ``miou_present``: over the classes that occur in the labels.
    * ``miou_all``: over all K; a class that does not occur in the labels counts as 0. Reports call it ``miou_19``, or
      after the number of the class set's classes.
    * ``miou_cityscapes``: as cityscapesscripts has it, over the classes that occur in the labels or in the predictions;
      one that is only predicted counts as 0. Where every class is labelled all three are equal.
    """

    def __init__(self, counts: Counts | None = None, num_classes: int = NUM_CLASSES) -> None:
        """Start at zero for ``num_classes``, or at ``counts`` (K x (K + 1))."""
        self._host: Counts = (
            np.zeros((num_classes, num_classes + 1), dtype=np.int64) if counts is None else counts.copy()
        )
        self._classes = len(self._host)
        self._bins = self._host.size
        self._device: Tensor | None = None

    def add(self, labels: Labels, predictions: Labels) -> None:
        """Count one picture.

        Args:
            labels: H x W uint8 train ids, 255 = not labelled.
            predictions: H x W uint8 train ids, 255 = unknown.

        Raises:
            ImageError: two sizes, or an id that is none.
        """
        if labels.shape != predictions.shape:
            raise ImageError(f"predictions: got {predictions.shape} pixels, expected {labels.shape} like the labels")
        paired = labels.astype(np.uint16) << 8 | predictions
        counts = np.bincount(paired.ravel(), minlength=1 << 16).reshape(256, 256)
        for name, sums in (("labels", counts.sum(axis=1)), ("predictions", counts.sum(axis=0))):
            wrong = np.flatnonzero(sums[self._classes : IGNORE_ID])
            if wrong.size:
                last = self._classes - 1
                raise ImageError(f"{name}: got id {wrong[0] + last + 1}, expected train ids 0..{last} or 255")
        self._host += counts[: self._classes, [*range(self._classes), IGNORE_ID]]

    def add_tensors(self, labels: Tensor, predictions: Tensor) -> None:
        """Count a batch on the device it lies on, without waiting for the device.

        Args:
            labels: integer tensor of train ids, any shape; everything that is no class is left out.
            predictions: the same shape and device; everything that is no class is unknown.

        Raises:
            ImageError: two shapes.
        """
        import torch

        if labels.shape != predictions.shape:
            raise ImageError(f"predictions: got {tuple(predictions.shape)} pixels, expected {tuple(labels.shape)}")
        truth, taken = labels.flatten().long(), predictions.flatten().long()
        taken = taken.masked_fill((taken < 0) | (taken >= self._classes), self._classes)
        # One bin more for what is left out: selecting pixels instead would make the host wait for their number, as
        # bincount does for the largest value.
        left_out = (truth < 0) | (truth >= self._classes)
        bins = (truth * (self._classes + 1) + taken).masked_fill(left_out, self._bins)
        if self._device is None or self._device.device != bins.device:
            self._fetch()
            self._device = torch.zeros(self._bins + 1, dtype=torch.int64, device=bins.device)
        self._device.scatter_add_(0, bins, torch.ones((), dtype=torch.int64, device=bins.device).expand_as(bins))

    def __iadd__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """Add another matrix's pixels to this one's."""
        self._host += other.counts
        return self

    @property
    def counts(self) -> Counts:
        """K x (K + 1) int64 pixels, see `Counts`; fetches what lies on a device."""
        self._fetch()
        return np.array(self._host)

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """(K,) intersection over union by class, 0..1; NaN for a class neither labelled nor predicted."""
        counts = self.counts
        hits = counts.diagonal()
        union = counts.sum(axis=1) + counts[:, : self._classes].sum(axis=0) - hits
        iou = np.full(self._classes, np.nan)
        np.divide(hits, union, out=iou, where=union > 0)
        return iou

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(K,) whether a class occurs in the labels."""
        return np.asarray(self.counts.sum(axis=1) > 0)

    @property
    def miou_present(self) -> float:
        """Mean IoU over the classes that occur in the labels; NaN without labels."""
        return _mean(self.iou[self.present])

    @property
    def miou_all(self) -> float:
        """Mean IoU over all classes, those that do not occur in the labels counted as 0; NaN without labels."""
        return _mean(np.where(self.present, self.iou, 0.0)) if self.present.any() else float("nan")

    @property
    def miou_19(self) -> float:
        """`miou_all`, as it is called for the 19 classes of Cityscapes."""
        return self.miou_all

    @property
    def miou_cityscapes(self) -> float:
        """Mean IoU as cityscapesscripts computes it: over the classes labelled or predicted."""
        iou = self.iou
        return _mean(iou[~np.isnan(iou)])

    @property
    def pixel_accuracy(self) -> float:
        """Share of the labelled pixels that were predicted right, 0..1; NaN without labels."""
        counts = self.counts
        total = int(counts.sum())
        return int(counts.trace()) / total if total else float("nan")

    def _fetch(self) -> None:
        if self._device is not None:
            self._host += self._device.cpu().numpy()[: self._bins].reshape(self._host.shape)
            self._device.zero_()


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
