"""JPEG and PNG bytes to pixels, after looking at what the bytes claim."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError
from dannet_core.pixels import MAX_SIDE, MIN_SIDE, Rgb

MAX_PIXELS: Final = 64_000_000
"""Largest picture that is decoded, in pixels (192 MB of RGB): a few kilobytes of PNG can unfold into gigabytes."""

_JPEG_START: Final = b"\xff\xd8"
_JPEG_END: Final = b"\xff\xd9"
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_END: Final = b"IEND\xaeB`\x82"
# Start-of-frame markers hold the size; C4, C8 and CC are in their range but mean something else.
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_MAX_SEGMENTS: Final = 1000
_TAIL: Final = 64


def decode(data: npt.NDArray[np.uint8]) -> Rgb:
    """Decode one JPEG or PNG.

    The size is read from the file's own header first, and the end of the file is looked for, because the decoder fills
    the missing part of a truncated JPEG with grey and says so only on stderr. EXIF rotation is not applied: labels have
    to match the camera's geometry.

    Returns:
        H x W x 3 uint8 RGB.

    Raises:
        ImageError: not a JPEG or PNG, truncated, damaged, or of a size that is refused.
    """
    head, tail = data[: len(_PNG_START)].tobytes(), data[-_TAIL:].tobytes()
    if head.startswith(_JPEG_START):
        kind, size, whole = "JPEG", _jpeg_size(data), tail.rstrip(b"\x00").endswith(_JPEG_END)
    elif head == _PNG_START:
        kind, size, whole = "PNG", _png_size(data), _PNG_END in tail
    else:
        raise ImageError(
            f"data: got {len(data)} bytes starting with {head.hex(' ') or 'nothing'}, expected JPEG or PNG"
        )
    if size is None or not whole:
        raise ImageError(f"data: truncated {kind} of {len(data)} bytes")
    height, width = size
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE) or height * width > MAX_PIXELS:
        raise ImageError(
            f"data: {kind} of {width}x{height} pixels, expected sides of {MIN_SIDE} to {MAX_SIDE} "
            f"and at most {MAX_PIXELS // 1_000_000} megapixels"
        )
    return _pixels(data, kind, (height, width))


def _pixels(data: npt.NDArray[np.uint8], kind: str, size: tuple[int, int]) -> Rgb:
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError(f"data: damaged {kind} of {len(data)} bytes") from error
    if bgr is None or bgr.shape[:2] != size:
        raise ImageError(f"data: damaged {kind} of {len(data)} bytes")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _png_size(data: npt.NDArray[np.uint8]) -> tuple[int, int] | None:
    if len(data) < 24:
        return None
    width, height = (int.from_bytes(data[at : at + 4].tobytes(), "big") for at in (16, 20))
    return height, width


def _jpeg_size(data: npt.NDArray[np.uint8]) -> tuple[int, int] | None:
    """Walk the marker segments up to the frame header; None when the data ends, or derails, before it."""
    at = len(_JPEG_START)
    for _ in range(_MAX_SEGMENTS):
        if at + 9 > len(data) or data[at] != 0xFF:
            return None
        marker = int(data[at + 1])
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _JPEG_WITHOUT_LENGTH:
            at += 2
        elif marker in _JPEG_FRAMES:
            height, width = (int.from_bytes(data[i : i + 2].tobytes(), "big") for i in (at + 5, at + 7))
            return height, width
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4].tobytes(), "big")
    return None
