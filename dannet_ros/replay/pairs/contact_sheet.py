"""Pairs to look at before training: day to the left, night to the right, how far apart underneath."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np

from dannet_core.evaluation.canvas import TEXT_HEIGHT, put_text, white
from dannet_core.pixels import Rgb

WIDTH: Final = 320
"""Pixels a picture is wide."""
_COLUMNS: Final = 2
_GAP: Final = 12


class SheetPair(NamedTuple):
    """Two small pictures and what is written under them."""

    day: Rgb
    night: Rgb
    caption: str


def small(picture: Rgb) -> Rgb:
    """A picture at the sheet's width."""
    size = WIDTH, max(1, round(picture.shape[0] * WIDTH / picture.shape[1]))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def draw_sheet(pairs: Sequence[SheetPair], title: str) -> Rgb:
    """All pairs, two a row; at least one."""
    height = max(pair.day.shape[0] for pair in pairs)
    cell = height + TEXT_HEIGHT + _GAP
    columns = min(_COLUMNS, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    sheet = white(TEXT_HEIGHT + rows * cell, columns * (2 * WIDTH + _GAP) - _GAP)
    put_text(sheet, title, (4, 0))
    for index, pair in enumerate(pairs):
        top, left = TEXT_HEIGHT + index // columns * cell, index % columns * (2 * WIDTH + _GAP)
        for number, picture in enumerate((pair.day, pair.night)):
            at = left + number * WIDTH
            sheet[top : top + picture.shape[0], at : at + WIDTH] = picture
        put_text(sheet, pair.caption, (left + 4, top + height))
    return sheet
