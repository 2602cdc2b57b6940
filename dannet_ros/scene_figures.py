"""Figures of trust about what the camera sees: how dark it is, and how steady its labels are. No ROS in here."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

import numpy as np

from dannet_core.pixels import Labels

WINDOW: Final = 300
"""Frames the stability figure is averaged over: ten seconds at 30 Hz."""
NEIGHBOUR_NS: Final = 1_000_000_000
"""Labels of frames further apart than this are not compared."""


class SceneFigures:
    """Written by the worker thread, read by the diagnostics timer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed: deque[float] = deque(maxlen=WINDOW)
        self._labels: Labels | None = None
        self._stamp_ns = 0
        self._intensity: float | None = None

    def add(self, intensity: float, labels: Labels, stamp_ns: int, stability: bool) -> None:
        """Take in one frame.

        Args:
            intensity: the picture's mean, 0..255.
            labels: H x W uint8 train ids; kept until the next frame, so not to be written to.
            stamp_ns: the frame's stamp, nanoseconds.
            stability: compare the labels with those of the frame before.
        """
        changed = self._changed_share(labels, stamp_ns) if stability else None
        self._labels, self._stamp_ns = (labels if stability else None), stamp_ns
        with self._lock:
            self._intensity = intensity
            if changed is not None:
                self._changed.append(changed)
            elif not stability:
                self._changed.clear()

    @property
    def intensity(self) -> float | None:
        """Mean of the last picture's values over its channels, 0 black to 255 white; None before the first."""
        return self._intensity

    @property
    def changed_share(self) -> float | None:
        """Share of the pixels, 0..1, whose label differs from that of the frame before: mean of a window; None = off.

        The camera's own motion changes labels too: compare drives with each other, not with 0.
        """
        with self._lock:
            return sum(self._changed) / len(self._changed) if self._changed else None

    def _changed_share(self, labels: Labels, stamp_ns: int) -> float | None:
        before = self._labels
        if before is None or before.shape != labels.shape or not 0 < stamp_ns - self._stamp_ns <= NEIGHBOUR_NS:
            return None
        return float(np.count_nonzero(labels != before)) / labels.size
