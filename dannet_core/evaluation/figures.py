"""Figures of a report: the confusion matrix and the std sweep, as pictures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np

from dannet_core.classes import CLASS_NAMES
from dannet_core.evaluation.canvas import (
    BLACK,
    GREY,
    TEXT_HEIGHT,
    Color,
    put_dot,
    put_line,
    put_text,
    put_text_upwards,
    text_width,
    white,
)
from dannet_core.evaluation.confusion import ConfusionMatrix, Counts
from dannet_core.evaluation.std_sweep import best_std
from dannet_core.pixels import Rgb

_CELL: Final = 40
_MARGIN: Final = 16
_EMPTY: Final = np.array([246, 247, 250], dtype=np.float64)
_FULL_BLUE: Final = np.array([8, 48, 107], dtype=np.float64)
_PLOT_SIZE: Final = (420, 720)
"""Height and width in pixels of the plot area."""
_SERIES: Final[tuple[tuple[str, str, Color], ...]] = (
    ("miou_present", "over the classes present", (31, 90, 170)),
    ("miou_all", "over all {count}", (220, 110, 30)),
)


def draw_confusion(counts: Counts, names: Sequence[str] = CLASS_NAMES) -> Rgb:
    """The confusion matrix as a picture: every row in percent of its class's labelled pixels, blue = many.

    Args:
        counts: K x (K + 1) pixels: labelled class by predicted class, the last column "unknown".
        names: of the K classes.

    Returns:
        H x W x 3 uint8 RGB.
    """
    rows, columns = counts.shape
    left = max(map(text_width, names)) + 2 * _MARGIN
    top = max(map(text_width, names)) + 2 * TEXT_HEIGHT + _MARGIN
    picture = white(top + rows * _CELL + _MARGIN, left + columns * _CELL + _MARGIN)
    put_text(picture, "rows: labelled, columns: predicted; % of the row's pixels", (_MARGIN, 4))
    for index, name in enumerate((*names, "unknown")):
        put_text_upwards(picture, name, (left + index * _CELL + (_CELL - TEXT_HEIGHT) // 2, top - 6))
    totals = counts.sum(axis=1)
    for row, name in enumerate(names):
        y = top + row * _CELL
        color = BLACK if totals[row] else GREY
        put_text(picture, name, (left - text_width(name) - 8, y + (_CELL - TEXT_HEIGHT) // 2), color)
        for column in range(columns):
            share = counts[row, column] / totals[row] if totals[row] else 0.0
            _draw_cell(picture, left + column * _CELL, y, share)
    return picture


def _draw_cell(picture: Rgb, x: int, y: int, share: float) -> None:
    shade = _EMPTY + (_FULL_BLUE - _EMPTY) * share
    picture[y + 1 : y + _CELL, x + 1 : x + _CELL] = np.rint(shade).astype(np.uint8)
    if share >= 0.005:
        text = f"{share:.0%}".removesuffix("%")
        color = (255, 255, 255) if share > 0.5 else BLACK
        put_text(picture, text, (x + (_CELL - text_width(text)) // 2, y + (_CELL - TEXT_HEIGHT) // 2), color)


def draw_sweep(confusions: dict[float, ConfusionMatrix]) -> Rgb:
    """Mean IoU over the std of the re-weighting, as Figure 7 of the paper.

    Args:
        confusions: pixel counts by std, at least one.

    Returns:
        H x W x 3 uint8 RGB.
    """
    height, width = _PLOT_SIZE
    count = len(next(iter(confusions.values())).counts)
    left, top = 64, 2 * TEXT_HEIGHT + _MARGIN
    picture = white(top + height + 2 * TEXT_HEIGHT + _MARGIN, left + width + 2 * _MARGIN)
    put_text(picture, f"mIoU in % by std of the re-weighting; best present: std {best_std(confusions):g}", (_MARGIN, 4))
    values = [100 * getattr(one, key) for one in confusions.values() for key, _, _ in _SERIES]
    low, high = np.floor(min(values) - 0.5), np.ceil(max(values) + 0.5)
    first, last = min(confusions), max(confusions)

    def place(std: float, percent: float) -> tuple[int, int]:
        x = left + round((std - first) / max(last - first, 1e-9) * width)
        return x, top + round((high - percent) / (high - low) * height)

    for percent in np.linspace(low, high, 6):
        put_line(picture, place(first, percent), (left + width, place(first, percent)[1]), GREY)
        put_text(picture, f"{percent:.1f}", (8, place(first, percent)[1] - TEXT_HEIGHT // 2))
    for std in confusions:
        put_text(picture, f"{std:g}", (place(std, low)[0] - text_width(f"{std:g}") // 2, top + height + 4))
    for index, (key, title, color) in enumerate(_SERIES):
        points = [place(std, 100 * getattr(one, key)) for std, one in confusions.items()]
        for start, end in itertools.pairwise(points):
            put_line(picture, start, end, color, 2)
        for point in points:
            put_dot(picture, point, color)
        put_text(picture, title.format(count=count), (_MARGIN + index * 260, 4 + TEXT_HEIGHT), color)
    return picture
