"""Which way up a picture is: the orientation that cameras note in EXIF, read from bytes without decoding anything."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from dannet_core.errors import ImageError

UPRIGHT: Final = 1
TURNED: Final = frozenset({6, 8})
"""A quarter turn, so that height and width change places and tell whether somebody turned the pixels."""
_TAG: Final = 0x0112
_BYTES: Final = {1: "B", 3: "H", 4: "I"}
"""Formats of the types that writers use for the tag: BYTE, SHORT (as the standard says), LONG."""

_EXIF: Final = b"Exif\0\0"
_JPEG_APP1: Final = 0xE1
_JPEG_ENDS: Final = frozenset({0xD9, 0xDA})
"""Nothing of interest comes behind the start of the pixels."""
_JPEG_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers that no length follows."""
_TAIL_BYTES: Final = 65_536

Size = tuple[int, int]


def orientation_of(path: str | Path) -> int:
    """The orientation of a JPEG, PNG, TIFF or WebP file, see `orientation_in_exif`; 1 for everything else.

    Raises:
        ImageError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return orientation_in(file)
    except OSError as error:
        raise ImageError(f"{path}: cannot read: {error.strerror}") from error


def orientation_in(file: BinaryIO) -> int:
    """The orientation of an open picture; see `orientation_of`. A few small reads, whatever the file's size."""
    file.seek(0)
    start = file.read(12)
    if start.startswith(b"\xff\xd8"):
        blocks = _blocks_of_jpeg(file)
    elif start.startswith(b"\x89PNG\r\n\x1a\n"):
        blocks = _blocks_of_png(file)
    elif start[:4] in (b"II*\0", b"MM\0*"):
        file.seek(0)
        blocks = iter([file.read()])
    elif (start[:4], start[8:]) == (b"RIFF", b"WEBP"):
        blocks = _blocks_of_webp(file)
    else:
        return UPRIGHT
    return next((found for found in map(orientation_in_exif, blocks) if found != UPRIGHT), UPRIGHT)


def _blocks_of_jpeg(file: BinaryIO) -> Iterator[bytes]:
    file.seek(2)
    while (byte := file.read(1)) == b"\xff":
        while (byte := file.read(1)) == b"\xff":  # fill bytes
            pass
        marker = byte[0] if byte else 0xD9
        if marker in _JPEG_ENDS:
            return
        if marker in _JPEG_ALONE:
            continue
        length = int.from_bytes(file.read(2), "big") - 2
        if length < 0:
            return
        if marker == _JPEG_APP1:
            content = file.read(length)
            if content.startswith(_EXIF):
                yield content
        else:
            file.seek(length, 1)


def _blocks_of_png(file: BinaryIO) -> Iterator[bytes]:
    """Of the chunks before the pixels, and of the file's end, where some tools put theirs."""
    file.seek(8)
    while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
        size = int.from_bytes(head[:4], "big")
        if head[4:] == b"eXIf":
            yield file.read(size)
            file.seek(4, 1)
        else:
            file.seek(size + 4, 1)
    behind = file.tell()
    file.seek(max(behind, file.seek(0, 2) - _TAIL_BYTES))
    tail = file.read()
    at = tail.rfind(b"eXIf")
    if at >= 4:
        end = at + 4 + int.from_bytes(tail[at - 4 : at], "big")
        if tail[end : end + 4] == zlib.crc32(tail[at:end]).to_bytes(4, "big"):
            yield tail[at + 4 : end]


def _blocks_of_webp(file: BinaryIO) -> Iterator[bytes]:
    while len(head := file.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            yield file.read(size)
            file.seek(size % 2, 1)
        else:
            file.seek(size + size % 2, 1)


def orientation_in_exif(data: bytes) -> int:
    """The orientation in a block of EXIF: 1 = upright, 2 to 8 mirrored or turned; 1 where there is none.

    Args:
        data: a TIFF structure, with or without ``Exif`` and two zeros before it; damaged ones count as none.
    """
    data = data.removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _ = struct.unpack_from(f"{order}HHI", data, at)
            if tag == _TAG and kind in _BYTES:
                (value,) = struct.unpack_from(order + _BYTES[kind], data, at + 8)
                return int(value) if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT


def swaps_sides(orientation: int) -> bool:
    """Whether a picture is shown as wide as it is stored high."""
    return orientation >= 5


def why_labels_do_not_fit(orientation: int, shown: Size, labels: Size) -> str | None:
    """Whether labels of this size can be known to belong to the picture as it is shown.

    A labelling tool either follows the orientation or does not; only a quarter turn of a picture that is not square
    leaves a trace of it, in the size of the labels.

    Args:
        orientation: of the picture, see `orientation_in_exif`.
        shown: (height, width) of the picture after turning.
        labels: (height, width) of its labels.

    Returns:
        What is wrong, and the fix; None when they fit.
    """
    if orientation == UPRIGHT or (orientation in TURNED and shown[0] != shown[1] and labels == shown):
        return None
    return (
        f"EXIF orientation {orientation} shows it as {shown[1]}x{shown[0]}, its labels are {labels[1]}x{labels[0]} and "
        "may be of the pixels as they are stored: write the picture's pixels upright, without that tag"
    )
