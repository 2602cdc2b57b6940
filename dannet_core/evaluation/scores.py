"""The scores of a report, as plain values."""

from __future__ import annotations

import math
from typing import Any

from dannet_core.class_set import CITYSCAPES, ClassSet
from dannet_core.evaluation.confusion import ConfusionMatrix


def means(classes: ClassSet) -> dict[str, tuple[str, str]]:
    """The means of a report by their key: the score of `ConfusionMatrix`, and its title."""
    count = len(classes)
    return {
        "miou_present": ("miou_present", "mean over the classes present"),
        f"miou_{count}": ("miou_all", f"mean over all {count} (absent = 0)"),
        "miou_cityscapes": ("miou_cityscapes", "mean as cityscapesscripts"),
    }


def scores(confusion: ConfusionMatrix, classes: ClassSet = CITYSCAPES) -> dict[str, Any]:
    """All scores as plain values, each 0..1, None where undefined; see `ConfusionMatrix` for what the means are of."""
    counts = confusion.counts
    by_class = dict(zip(classes.names, counts.sum(axis=1).tolist(), strict=True))
    return {
        **{key: number(getattr(confusion, score)) for key, (score, _) in means(classes).items()},
        "pixel_accuracy": number(confusion.pixel_accuracy),
        "classes_absent": [name for name, pixels in by_class.items() if pixels == 0],
        "iou": {name: number(value) for name, value in zip(classes.names, confusion.iou.tolist(), strict=True)},
        "labelled_pixels": by_class,
        "confusion_matrix": {
            "rows": "labelled class",
            "columns": "predicted class, the last unknown",
            "pixels": counts.tolist(),
        },
    }


def number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
