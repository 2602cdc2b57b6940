"""The pictures that came out worst, kept as small panels while an evaluation runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from dannet_core.classes import IGNORE_ID
from dannet_core.evaluation.canvas import TEXT_HEIGHT, put_text, white
from dannet_core.inference.prediction import Prediction
from dannet_core.pixels import Labels, Rgb, colorize

PANEL_WIDTH: Final = 480
_GAP: Final = 6
_WRONG: Final = (230, 30, 30)
_RIGHT: Final = (60, 140, 70)


@dataclass(frozen=True)
class WorstImage:
    """A picture, its mean IoU over the classes in its labels (0..1), and its panel (H x W x 3 uint8 RGB)."""

    name: str
    miou_present: float
    panel: Rgb


class WorstImages:
    """Keeps the panels of the ``count`` pictures with the lowest mean IoU, worst first."""

    def __init__(self, count: int = 5) -> None:
        self._count = count
        self._kept: list[WorstImage] = []

    def offer(self, name: str, miou_present: float, rgb: Rgb, labels: Labels, prediction: Prediction) -> None:
        """Keep a picture if it is one of the worst so far; a picture without labelled pixels (NaN) never is.

        Args:
            name: of the sample.
            miou_present: 0..1.
            rgb: H x W x 3 uint8.
            labels: H x W uint8 train ids.
            prediction: made with the relit picture, where the model makes one.
        """
        full = len(self._kept) >= self._count
        if self._count == 0 or np.isnan(miou_present) or (full and miou_present >= self._kept[-1].miou_present):
            return
        caption = f"{name}: mIoU {miou_present:.1%} over the classes present"
        kept = WorstImage(name, miou_present, draw_panel(caption, rgb, labels, prediction))
        self._kept = sorted([*self._kept, kept], key=lambda one: one.miou_present)[: self._count]

    def __iter__(self) -> Iterator[WorstImage]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def draw_panel(caption: str, rgb: Rgb, labels: Labels, prediction: Prediction) -> Rgb:
    """Image, relit image, ground truth, prediction and error side by side, 480 pixels wide each, under a caption.

    Without a relighting network there is no relit image. In the error picture wrong pixels are red, right ones green,
    unlabelled ones black.
    """
    height = max(1, round(labels.shape[0] * PANEL_WIDTH / labels.shape[1]))
    pictures = {"image": rgb}
    if prediction.has("relit"):
        pictures["relit"] = prediction.relit
    # Averaged colours of labels would look like labels that are not there.
    averaged = len(pictures)
    pictures |= {
        "ground truth": colorize(labels, colormap=prediction.colormap),
        "prediction": prediction.colorize(),
        "error": error_picture(labels, prediction.labels),
    }
    panel = white(height + 2 * TEXT_HEIGHT, len(pictures) * (PANEL_WIDTH + _GAP) - _GAP)
    put_text(panel, caption, (0, 0))
    for index, (title, picture) in enumerate(pictures.items()):
        left = index * (PANEL_WIDTH + _GAP)
        put_text(panel, title, (left, TEXT_HEIGHT))
        method = cv2.INTER_AREA if index < averaged else cv2.INTER_NEAREST
        small = cv2.resize(picture, (PANEL_WIDTH, height), interpolation=method)
        panel[2 * TEXT_HEIGHT :, left : left + PANEL_WIDTH] = small
    return panel


def error_picture(labels: Labels, predictions: Labels) -> Rgb:
    """H x W x 3 uint8 RGB: wrong pixels red, right ones green, unlabelled ones black."""
    picture = np.zeros((*labels.shape, 3), dtype=np.uint8)
    picture[labels == predictions] = _RIGHT
    picture[labels != predictions] = _WRONG
    picture[labels == IGNORE_ID] = 0
    return picture
