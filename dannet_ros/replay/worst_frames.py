"""The frames that came out worst, kept as pictures while a bag is evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from dannet_core.inference.prediction import Prediction
from dannet_ros.replay.bag_frame import BagFrame
from dannet_ros.replay.frame_pictures import Pictures, frame_pictures

WIDTH: Final = 480
"""Pixels a kept picture is wide."""
_QUALITY: Final = 85


@dataclass(frozen=True)
class WorstFrame:
    """One frame.

    Attributes:
        index: its number among the bag's frames.
        score: mean IoU over the classes present, or without ground truth the mean confidence; 0..1.
        pictures: encoded, by what they show.
    """

    index: int
    score: float
    pictures: Pictures


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
        kept = WorstFrame(frame.index, score, frame_pictures(frame, predictions, WIDTH, _QUALITY))
        self._kept = sorted([*self._kept, kept], key=lambda one: one.score)[: self._count]

    def __iter__(self) -> Iterator[WorstFrame]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)
