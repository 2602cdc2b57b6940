"""What `CompressedImage.format` says about the picture inside.

image_transport writes ``ENCODING; CODEC compressed STORED``, e.g. ``rgb8; jpeg compressed bgr8``, others ``jpeg``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from dannet_core.errors import ImageError

_PICTURES: Final = frozenset({"jpeg", "jpg", "jpe", "mjpeg", "mjpg", "png"})
_BAYER: Final = frozenset({"bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"})
_COLORS: Final = frozenset({"rgb8", "bgr8", "rgba8", "bgra8"})
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
    """

    bayer: str = ""
    colors_inside: bool = False


def read_format(text: str) -> Format:
    """Read ``format``; one that says nothing of interest is no mistake: the bytes decide.

    The order of ``rgb8`` and ``bgr8`` is not looked at: JPEG and PNG know their own.

    Raises:
        ImageError: it names what is not a JPEG or PNG, or pixels that are refused in raw pictures too.
    """
    words = re.split(_BETWEEN, text.lower())
    if "compresseddepth" in words or "rvl" in words:
        raise _refused(text, "a colour or grey picture, not a depth map")
    deep = [word for word in re.split(_BETWEEN, text) if _NOT_8_BIT.fullmatch(word.lower())]
    if deep:
        raise _refused(text, f"8 bits a sample: {deep[0][:_SHOWN]} is refused in raw pictures too")
    codecs = [word for word in words if _OTHER_CODECS.fullmatch(word)]
    if codecs and _PICTURES.isdisjoint(words):
        raise _refused(text, "JPEG or PNG: subscribe to the raw or the compressed topic of this camera")
    mosaics = {word for word in words if word.startswith("bayer")}
    if len(mosaics) > 1 or mosaics - _BAYER:
        raise _refused(text, f"at most one of {', '.join(sorted(_BAYER))}")
    stored = re.split(_BETWEEN, text.lower().partition(";")[2])
    return Format(next(iter(mosaics), ""), not _COLORS.isdisjoint(stored))


def _refused(text: str, expected: str) -> ImageError:
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return ImageError(f"format: got {shown!r}, expected {expected}")
