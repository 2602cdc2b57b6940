"""What the first pictures of a topic are: colour or grey ones of a camera, depth, or something that is not read."""

from __future__ import annotations

import itertools
import re
from typing import Any, Final, NamedTuple

from dannet_core.errors import ImageError
from dannet_core.inference.camera_image import DEEP_ENCODINGS
from dannet_ros.conversions import ENCODINGS
from dannet_ros.replay.bag_reading import COMPRESSED, PICTURES, Bag

_LOOKED_AT: Final = 8
"""Messages that are tried before a topic counts as damaged: the first may be cut or empty."""
_GREY: Final = ("mono8", "8UC1")
_DEEP_COLORS: Final = frozenset(DEEP_ENCODINGS) - {"mono16"}
_DEPTH: Final = re.compile(r"(8SC|16UC|16SC|32SC|32FC|64FC)[1-4]?$")
_CODECS: Final = ("", "jpeg", "jpg", "png")
_JPEG: Final = b"\xff\xd8"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_SIXTEEN_BITS: Final = 16
_HEAD: Final = 1 << 16
"""Bytes of a picture that are looked at."""


class Content(NamedTuple):
    """What a topic holds.

    Attributes:
        camera: whether its pictures can be a camera's and are read.
        grey: whether they have one channel; None where that cannot be told, because they are damaged.
        words: what they are, for a message.
    """

    camera: bool
    grey: bool | None
    words: str


def content_of(bag: Bag, topic: str) -> Content:
    """Look at the first pictures of ``topic``; a topic whose pictures are all damaged counts as a camera's."""
    if not bag.count(topic, PICTURES):
        return Content(camera=False, grey=False, words="no messages")
    damaged = None
    for message in itertools.islice(bag.pictures([topic]), _LOOKED_AT):
        try:
            decoded = bag.unpacked(bag.decode(message), message.kind)
        except ImageError as error:
            damaged = damaged or Content(camera=True, grey=None, words=str(error))
            continue
        found = _of_image(decoded.encoding) if hasattr(decoded, "encoding") else _of_compressed(decoded)
        if found is not None and found.grey is not None:
            return found
        damaged = damaged or found
    return damaged or Content(camera=False, grey=False, words=f"{COMPRESSED} without a picture, or none can be read")


def _of_image(encoding: str) -> Content | None:
    if encoding in ENCODINGS or encoding in _DEEP_COLORS:
        return Content(camera=True, grey=encoding in _GREY, words=f"{encoding} pixels")
    if not encoding:
        return None
    return Content(camera=False, grey=False, words=_refused(encoding))


def _of_compressed(message: Any) -> Content | None:
    """By the format's encoding, before its semicolon, and the bytes; a camera may write any codec's name there."""
    encoding, _, rest = (part.strip() for part in message.format.partition(";"))
    data = bytes(message.data[:_HEAD])
    if "compressedDepth" in message.format:
        return Content(camera=False, grey=False, words=f"a depth map ('{message.format.strip()}')")
    if rest and encoding not in ENCODINGS and (_DEPTH.match(encoding) or encoding == "mono16"):
        return Content(camera=False, grey=False, words=_refused(encoding))
    if data.startswith(_PNG) and len(data) > len(_PNG) + 17:
        mosaic = encoding.startswith("bayer") and encoding in DEEP_ENCODINGS
        return _of_png(bits=data[24], color=data[25], grey=encoding in _GREY, mosaic=mosaic)
    if data.startswith(_JPEG):
        grey = encoding in _GREY or (not rest and _jpeg_channels(data) == 1)
        return Content(camera=True, grey=grey, words=f"{'grey' if grey else 'colour'} JPEG")
    if not data:
        return None
    name = encoding if not rest else rest.split()[0]
    if name.lower() in _CODECS:
        return Content(camera=True, grey=None, words="damaged pictures")
    return Content(
        camera=False, grey=False, words=f"'{message.format.strip()}', which is not read (JPEG, PNG, zstd are)"
    )


def _of_png(*, bits: int, color: int, grey: bool, mosaic: bool) -> Content:
    grey = grey or (color in (0, 4) and not mosaic)
    if grey and bits == _SIXTEEN_BITS:
        return Content(camera=False, grey=True, words="16-bit grey PNG: depth, infrared or thermal")
    return Content(camera=True, grey=grey, words=f"{'grey' if grey else 'colour'} PNG")


def _refused(encoding: str) -> str:
    if _DEPTH.match(encoding):
        return f"{encoding} pixels: depth, or other measurements"
    if encoding in ("mono16", "Y16"):
        return f"{encoding} pixels: depth, infrared or thermal"
    return f"{encoding[:40]!r} pixels, which are not read"


def _jpeg_channels(data: bytes) -> int:
    """Channels of a JPEG, from its frame header; 0 where that is not found."""
    at = len(_JPEG)
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data[at + 9]
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0
