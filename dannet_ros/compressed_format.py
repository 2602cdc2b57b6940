"""What `CompressedImage.format` says about the picture inside.

image_transport writes ``ENCODING; CODEC compressed STORED``, e.g. ``rgb8; jpeg compressed bgr8``, others ``jpeg``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from dannet_core.errors import ImageError
from dannet_core.inference.camera_image import DEEP_ENCODINGS

_JPEG: Final = frozenset({"jpeg", "jpg", "jpe", "mjpeg", "mjpg"})
_PICTURES: Final = _JPEG | {"png"}
_OF_8_BITS: Final = frozenset({*DEEP_ENCODINGS.values(), "8uc1", "8uc3", "8uc4"})
_BAYER: Final = frozenset(name for pair in DEEP_ENCODINGS.items() for name in pair if name.startswith("bayer"))
_COLORS: Final = frozenset(name for pair in DEEP_ENCODINGS.items() for name in pair if name.startswith(("rgb", "bgr")))
_OTHER_CODECS: Final = re.compile(
    r"zstd?|(lib)?[hx]\.?26[3-6].*|hevc.*|av1.*|vp[89].*|mpeg[124].*|theora|ffmpeg|draco|lz4|zlib"
    r"|nv\d\d|i420|yv12|yuv4\d\d.*|yuyv|uyvy"
)
_NOT_8_BIT: Final = re.compile(
    r"(?!8uc[134]?$)\d+[usf]c\d*|(mono|gr[ae]y|y|z)_?(?!8$)\d+([lb]e|p)?|(rgb|bgr)a?_?(10|12|14|16|48|64)([lb]e|f)?"
    r"|depth\d*|disparity\d*"
)
_BETWEEN: Final = re.compile(r"[;,/\s]+")
_SHOWN: Final = 40


class Format(NamedTuple):
    """A readable format.

    Attributes:
        bayer: the pattern, as raw encodings name it, that the camera's pixels had; empty = none.
        colors_inside: whether the picture inside is said to be in colour already.
        bits: of a sample, 8 or 16; 0 = it does not say.
    """

    bayer: str = ""
    colors_inside: bool = False
    bits: int = 0


def read_format(text: str) -> Format:
    """Read ``format``; one that says nothing of interest is no mistake: the bytes decide.

    The order of ``rgb8`` and ``bgr8`` is not looked at: JPEG and PNG know their own.

    Raises:
        ImageError: it names what is not a JPEG or PNG, or pixels that are refused in raw pictures too.
    """
    words = re.split(_BETWEEN, text.lower())
    if "compresseddepth" in words or "rvl" in words:
        raise _refused(text, "a colour or grey picture, not a depth map")
    other = [word for word in re.split(_BETWEEN, text) if _is_other_depth(word.lower())]
    if other:
        raise _refused(text, f"8 bits a sample: {other[0][:_SHOWN]} is refused in raw pictures too")
    bits = 16 if any(word in DEEP_ENCODINGS for word in words) else 8 * any(word in _OF_8_BITS for word in words)
    if bits > 8 and not _JPEG.isdisjoint(words):
        raise _refused(text, "png for samples of 16 bits: which 8 of them a JPEG holds is not said")
    codecs = [word for word in words if _OTHER_CODECS.fullmatch(word)]
    if codecs and _PICTURES.isdisjoint(words):
        raise _refused(text, "JPEG or PNG: subscribe to the raw or the compressed topic of this camera")
    mosaics = {word for word in words if word.startswith("bayer")}
    if len(mosaics) > 1 or mosaics - _BAYER:
        raise _refused(text, f"at most one of {', '.join(sorted(_BAYER))}")
    stored = re.split(_BETWEEN, text.lower().partition(";")[2])
    return Format(next(iter(mosaics), ""), not _COLORS.isdisjoint(stored), bits)


def _is_other_depth(word: str) -> bool:
    return word not in DEEP_ENCODINGS and _NOT_8_BIT.fullmatch(word) is not None


def _refused(text: str, expected: str) -> ImageError:
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return ImageError(f"format: got {shown!r}, expected {expected}")
