"""What a PNG's chunks say, and whether they are all there."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError

START: Final = b"\x89PNG\r\n\x1a\n"
_HEADER_END: Final = 33
_MAX_CHUNKS: Final = 100_000
_WITH_ALPHA: Final = frozenset({4, 6})
_GREY: Final = frozenset({0, 4})
_COLORS: Final = {0: 1, 2: 3, 3: 3, 4: 1, 6: 3}
"""Channels without alpha, by colour type."""


class Png(NamedTuple):
    """Header of a PNG.

    Attributes:
        end: bytes of the picture; what follows is none of its business.
        height, width: in pixels.
        bits: of a sample, or of a palette's index.
        color_type: 0 grey, 2 colour, 3 palette, 4 grey with alpha, 6 colour with alpha.
        alpha: whether pixels can be transparent.
        significant_bits: of the bits of a sample, as the file declares them (sBIT); 0 = it does not.
    """

    end: int
    height: int
    width: int
    bits: int
    color_type: int
    alpha: bool
    significant_bits: int

    @property
    def is_color(self) -> bool:
        """Whether a pixel has more than a grey value."""
        return self.color_type not in _GREY


def read_png(data: npt.NDArray[np.uint8]) -> Png:
    """Walk a PNG from chunk to chunk up to its end.

    Args:
        data: 1-D uint8, beginning with `START`.

    Raises:
        ImageError: it ends early, or is damaged.
    """
    if len(data) < _HEADER_END:
        raise _truncated(data)
    if data[8:16].tobytes() != b"\0\0\0\x0dIHDR":
        raise ImageError(f"damaged PNG of {len(data)} bytes")
    width, height = (int.from_bytes(data[at : at + 4].tobytes(), "big") for at in (16, 20))
    bits, color_type = int(data[24]), int(data[25])
    alpha, significant, at = color_type in _WITH_ALPHA, 0, _HEADER_END
    for _ in range(_MAX_CHUNKS):
        kind, body, at = _chunk(data, at)
        if kind == b"IEND":
            return Png(at, height, width, bits, color_type, alpha, significant)
        if kind == b"tRNS":
            alpha = True
        elif kind == b"sBIT":
            significant = max(body[: _COLORS.get(color_type, 0)].tolist(), default=0)
    raise ImageError(f"damaged PNG of {len(data)} bytes")


def _chunk(data: npt.NDArray[np.uint8], at: int) -> tuple[bytes, npt.NDArray[np.uint8], int]:
    """Kind and body of the chunk at ``at``, and where the next one begins."""
    if at + 8 > len(data):
        raise _truncated(data)
    end = at + 12 + int.from_bytes(data[at : at + 4].tobytes(), "big")
    if end > len(data):
        raise _truncated(data)
    return data[at + 4 : at + 8].tobytes(), data[at + 8 : end - 4], end


def _truncated(data: npt.NDArray[np.uint8]) -> ImageError:
    return ImageError(f"truncated PNG of {len(data)} bytes")
