"""Small pictures of a bag's frames for the report: the camera's, labels, ground truth, error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

import cv2
import numpy as np

from dannet_core.evaluation.worst_images import error_picture
from dannet_core.inference.prediction import Prediction
from dannet_core.pixels import Rgb, colorize
from dannet_core.report.pictures import encode, shrink
from dannet_ros.replay.bag_frame import BagFrame

BUDGET: Final = 4_500_000
"""Bytes of all the small pictures of a page together, before base64: with plotly.js a page stays below 12 MB."""
_WIDTHS: Final = ((150, 360), (400, 256))
"""Up to so many frames, how many pixels a picture is wide."""
_SMALLEST: Final = 192
_QUALITY: Final = 60


class Title(NamedTuple):
    """What a picture shows, and of which model; None = of none."""

    text: str
    model: str | None = None


Pictures = dict[Title, bytes]
"""Encoded pictures by what they show."""


def frame_pictures(frame: BagFrame, predictions: Mapping[str, Prediction], width: int, quality: int) -> Pictures:
    """The pictures of one frame, each at most ``width`` pixels wide.

    With ground truth the error of each model: red is wrong, green is right, black has no ground truth. Without, the
    confidence of those that give one.
    """
    # Shrunk before they are coloured: the same pixels, at a fraction of the work.
    small = {name: shrink(one.labels, width, labels=True) for name, one in predictions.items()}
    truth = None if frame.truth is None else shrink(frame.truth, width, labels=True)
    pictures = {Title("camera"): encode(shrink(frame.rgb, width), quality=quality)}
    several = len(predictions) > 1
    if truth is not None:
        colormap = next(iter(predictions.values())).colormap
        pictures[Title("ground truth")] = encode(colorize(truth, colormap=colormap), labels=True)
    for name, one in predictions.items():
        of = f" of {name}" if several else ""
        pictures[Title(f"labels{of}", name)] = encode(colorize(small[name], colormap=one.colormap), labels=True)
        if truth is not None:
            pictures[Title(f"error{of}", name)] = encode(error_picture(truth, small[name]), labels=True)
        elif one.has("confidence"):
            pictures[Title(f"confidence{of}", name)] = encode(_heat(one, width), quality=quality)
    return pictures


def _heat(prediction: Prediction, width: int) -> Rgb:
    confidence = shrink(np.asarray(cv2.convertScaleAbs(prediction.confidence, alpha=255.0), dtype=np.uint8), width)
    heat = cv2.cvtColor(cv2.applyColorMap(confidence, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    return np.asarray(heat, dtype=np.uint8)


class FramePictures:
    """Pictures of every frame, or of every second, fourth, ... where all would be more than a page can hold.

    Attributes:
        kept: by the frame's number.
        stride: 1 = every frame of each topic has its pictures.
    """

    def __init__(self, expected: int, budget: int = BUDGET) -> None:
        """Prepare for frames.

        Args:
            expected: how many, 0 = unknown: the more, the smaller the pictures.
            budget: bytes they may take together; 0 keeps none.
        """
        self.kept: dict[int, Pictures] = {}
        self.stride = 1
        self._width = next((width for most, width in _WIDTHS if 0 < expected <= most), _SMALLEST)
        self._budget, self._bytes = budget, 0
        self._seen: Counter[str] = Counter()
        self._place: dict[int, int] = {}

    def offer(self, frame: BagFrame, predictions: Mapping[str, Prediction]) -> None:
        """Keep a frame's pictures if it is its turn.

        Args:
            frame: the frame.
            predictions: by model.
        """
        place = self._seen[frame.topic]
        self._seen[frame.topic] += 1
        if self._budget == 0 or place % self.stride:
            return
        self.kept[frame.index] = frame_pictures(frame, predictions, self._width, _QUALITY)
        self._place[frame.index] = place
        self._bytes += _size(self.kept[frame.index])
        while self._bytes > self._budget and len(self.kept) > 1:
            self._halve()

    def _halve(self) -> None:
        self.stride *= 2
        for index in [index for index, place in self._place.items() if place % self.stride]:
            self._bytes -= _size(self.kept.pop(index))
            del self._place[index]


def _size(pictures: Pictures) -> int:
    return sum(map(len, pictures.values()))
