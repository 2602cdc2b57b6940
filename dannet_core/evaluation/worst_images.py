"""The pictures that came out worst, kept small while an evaluation runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
LABELS: Final = ("ground truth", "prediction", "error")
"""The titles of the pictures whose colours mean something."""
_WRONG: Final = (230, 30, 30)
_RIGHT: Final = (60, 140, 70)


@dataclass(frozen=True)
class WorstImage:
    """A picture, its mean IoU over the classes in its labels (0..1), and what `panel_pictures` gives of it."""

    name: str
    miou_present: float
    pictures: dict[str, Rgb]

    @property
    def caption(self) -> str:
        """Name and score."""
        return f"{self.name}: mIoU {self.miou_present:.1%} over the classes present"

    @property
    def panel(self) -> Rgb:
        """H x W x 3 uint8 RGB: the pictures side by side under the caption."""
        return draw_panel(self.caption, self.pictures)


class WorstImages:
    """Keeps the ``count`` pictures with the lowest mean IoU, worst first."""

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
        kept = WorstImage(name, miou_present, panel_pictures(rgb, labels, prediction))
        self._kept = sorted([*self._kept, kept], key=lambda one: one.miou_present)[: self._count]

    def __iter__(self) -> Iterator[WorstImage]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def panel_pictures(rgb: Rgb, labels: Labels, prediction: Prediction) -> dict[str, Rgb]:
    """Image, relit image, ground truth, prediction and error, each 480 pixels wide.

    Without a relighting network there is no relit image. In the error picture wrong pixels are red, right ones green,
    unlabelled ones black.
    """
    size = (PANEL_WIDTH, max(1, round(labels.shape[0] * PANEL_WIDTH / labels.shape[1])))
    pictures = {"image": rgb}
    if prediction.has("relit"):
        pictures["relit"] = prediction.relit
    small = {title: cv2.resize(one, size, interpolation=cv2.INTER_AREA) for title, one in pictures.items()}
    colored = {
        "ground truth": colorize(labels, colormap=prediction.colormap),
        "prediction": prediction.colorize(),
        "error": error_picture(labels, prediction.labels),
    }
    # Averaged colours of labels would look like labels that are not there.
    small |= {title: cv2.resize(one, size, interpolation=cv2.INTER_NEAREST) for title, one in colored.items()}
    return {title: np.asarray(one, dtype=np.uint8) for title, one in small.items()}


def draw_panel(caption: str, pictures: Mapping[str, Rgb]) -> Rgb:
    """The pictures side by side with their titles, under a caption: H x W x 3 uint8 RGB."""
    height = next(iter(pictures.values())).shape[0]
    panel = white(height + 2 * TEXT_HEIGHT, len(pictures) * (PANEL_WIDTH + _GAP) - _GAP)
    put_text(panel, caption, (0, 0))
    for index, (title, picture) in enumerate(pictures.items()):
        left = index * (PANEL_WIDTH + _GAP)
        put_text(panel, title, (left, TEXT_HEIGHT))
        panel[2 * TEXT_HEIGHT :, left : left + PANEL_WIDTH] = picture
    return panel


def error_picture(labels: Labels, predictions: Labels) -> Rgb:
    """H x W x 3 uint8 RGB: wrong pixels red, right ones green, unlabelled ones black."""
    picture = np.zeros((*labels.shape, 3), dtype=np.uint8)
    picture[labels == predictions] = _RIGHT
    picture[labels != predictions] = _WRONG
    picture[labels == IGNORE_ID] = 0
    return picture
