"""Captions on RGB pictures, by OpenCV: every installation has it, the vehicle too."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from dannet_core.pixels import Rgb

TEXT_HEIGHT: Final = 24
"""Pixels a line of text takes."""
BLACK: Final = (30, 30, 30)
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_SCALE: Final = 0.5

Color = tuple[int, int, int]


def white(height: int, width: int) -> Rgb:
    """An empty picture."""
    return np.full((height, width, 3), 255, dtype=np.uint8)


def put_text(picture: Rgb, text: str, corner: tuple[int, int], color: Color = BLACK) -> None:
    """Write a line of text; ``corner`` is (x, y) of its upper left corner in pixels."""
    x, y = corner
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(picture, plain, (x, y + TEXT_HEIGHT - 8), _FONT, _SCALE, color, 1, cv2.LINE_AA)
