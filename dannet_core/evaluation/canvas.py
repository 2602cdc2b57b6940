"""Text, lines and boxes on an RGB picture.

Drawn with OpenCV, which every installation has, so that reports are written wherever a model runs: on the vehicle too.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from dannet_core.pixels import Rgb

TEXT_HEIGHT: Final = 24
"""Pixels a line of text takes."""
BLACK: Final = (30, 30, 30)
GREY: Final = (205, 205, 205)
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_SCALE: Final = 0.5

Color = tuple[int, int, int]


def white(height: int, width: int) -> Rgb:
    """An empty picture."""
    return np.full((height, width, 3), 255, dtype=np.uint8)


def text_width(text: str) -> int:
    """Pixels a text is wide."""
    return int(cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0])


def put_text(picture: Rgb, text: str, corner: tuple[int, int], color: Color = BLACK) -> None:
    """Write a line of text; ``corner`` is (x, y) of its upper left corner in pixels."""
    x, y = corner
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(picture, plain, (x, y + TEXT_HEIGHT - 8), _FONT, _SCALE, color, 1, cv2.LINE_AA)


def put_text_upwards(picture: Rgb, text: str, corner: tuple[int, int]) -> None:
    """Write a line of text that runs upwards; ``corner`` is (x, y) of the place where it begins, its lower left."""
    width = text_width(text) + 4
    line = white(TEXT_HEIGHT, width)
    put_text(line, text, (0, 0))
    x, y = corner
    turned = np.rot90(line)[max(0, width - y) :]
    picture[y - turned.shape[0] : y, x : x + TEXT_HEIGHT] = turned


def put_line(
    picture: Rgb, start: tuple[int, int], end: tuple[int, int], color: Color = BLACK, thickness: int = 1
) -> None:
    """Draw a smooth line between two (x, y) points."""
    cv2.line(picture, start, end, color, thickness, cv2.LINE_AA)


def put_dot(picture: Rgb, center: tuple[int, int], color: Color) -> None:
    """Draw a filled dot at (x, y)."""
    cv2.circle(picture, center, 5, color, -1, cv2.LINE_AA)
