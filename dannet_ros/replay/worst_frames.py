"""The frames that came out worst, kept as small pictures while a bag is evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.evaluation.worst_images import error_picture
from dannet_core.inference.prediction import Prediction
from dannet_core.pixels import colorize
from dannet_ros.replay.bag_frame import BagFrame

WIDTH: Final = 480
"""Pixels a kept picture is wide."""
_JPEG_QUALITY: Final = 88


@dataclass(frozen=True)
class WorstFrame:
    """One frame.

    Attributes:
        index: its number among the bag's frames.
        score: mean IoU over the classes present, or without ground truth the mean confidence; 0..1.
        pictures: encoded JPEG or PNG by title.
    """

    index: int
    score: float
    pictures: dict[str, bytes]


class WorstFrames:
    """Keeps the ``count`` frames of the lowest score, worst first; of equal ones the first."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: list[WorstFrame] = []
        self._labelled = False

    def offer(self, score: float, frame: BagFrame, predictions: Mapping[str, Prediction]) -> None:
        """Keep a frame if it is one of the worst so far.

        Frames with ground truth count before those without: their score says more.

        Args:
            score: see `WorstFrame`.
            frame: the frame.
            predictions: by model, the judged one first.
        """
        labelled = frame.truth is not None
        if labelled and not self._labelled:
            self._labelled, self._kept = True, []
        full = len(self._kept) >= self._count
        if self._count == 0 or labelled < self._labelled or (full and score >= self._kept[-1].score):
            return
        kept = WorstFrame(frame.index, score, _pictures(frame, predictions))
        self._kept = sorted([*self._kept, kept], key=lambda one: one.score)[: self._count]

    def __iter__(self) -> Iterator[WorstFrame]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def _pictures(frame: BagFrame, predictions: Mapping[str, Prediction]) -> dict[str, bytes]:
    first = next(iter(predictions.values()))
    pictures = {"camera": _small(frame.rgb, ".jpg")}
    pictures |= {f"labels of {name}": _small(one.colorize(), ".png") for name, one in predictions.items()}
    if frame.truth is None:
        confidence = np.asarray(cv2.convertScaleAbs(first.confidence, alpha=255.0), dtype=np.uint8)
        heat = cv2.cvtColor(cv2.applyColorMap(confidence, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
        return {**pictures, "confidence": _small(np.asarray(heat, dtype=np.uint8), ".jpg")}
    pictures["ground truth"] = _small(colorize(frame.truth, colormap=first.colormap), ".png")
    return {**pictures, "error": _small(error_picture(frame.truth, first.labels), ".png")}


def _small(picture: npt.NDArray[np.uint8], suffix: str) -> bytes:
    height, width = picture.shape[:2]
    size = (min(WIDTH, width), max(1, round(height * min(WIDTH, width) / width)))
    # Averaged colours of labels would look like labels that are not there.
    method = cv2.INTER_AREA if suffix == ".jpg" else cv2.INTER_NEAREST
    small = cv2.cvtColor(cv2.resize(picture, size, interpolation=method), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(suffix, small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix == ".jpg" else [])
    return bytes(data.tobytes())
