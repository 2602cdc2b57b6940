"""Size and pixel format of a PNG or JPEG from a few bytes, so that thousands of files are checked in a second."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError
from dannet_core.formats.exif import UPRIGHT, orientation_in, swaps_sides
from dannet_core.formats.jpeg import read_jpeg
from dannet_core.formats.png import read_png

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_END: Final = b"IEND\xaeB`\x82"
_JPEG_START: Final = b"\xff\xd8"
_JPEG_END: Final = b"\xff\xd9"
_PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
"""Channels by PNG colour type; a palette (3) counts as the colours it stands for."""
_JPEG_SIZE_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TAIL_BYTES: Final = 1024
"""Some cameras and tools append a little data of their own behind the end of the picture."""


class ImageHeader(NamedTuple):
    """Height and width in pixels as the picture is shown, channels (1 = grey, 3 = colour), bits a channel, and the EXIF
    orientation (1 = stored as it is shown).
    """

    height: int
    width: int
    channels: int
    bits: int
    orientation: int = UPRIGHT

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def read_header(path: Path) -> ImageHeader:
    """Read an image's header and check that its end is there, without decoding it.

    Raises:
        ImageError: the file is missing, is neither PNG nor JPEG, or is cut off.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except OSError as error:
        raise ImageError(f"{path}: cannot read: {error.strerror}") from error
    except (struct.error, KeyError) as error:
        raise ImageError(f"{path}: damaged image header: copy the file again") from error


def _read(file: BinaryIO, path: Path) -> ImageHeader:
    start = file.read(26)
    header: ImageHeader | None
    if start.startswith(_PNG_SIGNATURE):
        header, end, walk = _png_header(start), _PNG_END, _walk_png
    elif start.startswith(_JPEG_START):
        header, end, walk = _jpeg_header(file), _JPEG_END, _walk_jpeg
    else:
        raise ImageError(f"{path}: not an image: {'empty file' if not start else 'neither PNG nor JPEG'}")
    file.seek(0, 2)
    file.seek(max(0, file.tell() - _TAIL_BYTES))
    if header is None or end not in file.read():
        header = _walked(file, path, walk)
    orientation = orientation_in(file)
    if swaps_sides(orientation):
        header = header._replace(height=header.width, width=header.height)
    return header._replace(orientation=orientation)


def _walked(file: BinaryIO, path: Path, walk: Callable[[npt.NDArray[np.uint8]], ImageHeader]) -> ImageHeader:
    """From the whole file: fill bytes between the parts of a JPEG, or more padding behind the end than usual."""
    file.seek(0)
    try:
        return walk(np.frombuffer(file.read(), np.uint8))
    except ImageError as error:
        what = "cut off before its end" if "truncated" in str(error) else str(error)
        raise ImageError(f"{path}: {what}: copy the file again") from error


def _walk_png(data: npt.NDArray[np.uint8]) -> ImageHeader:
    facts = read_png(data)
    return ImageHeader(facts.height, facts.width, _PNG_CHANNELS[facts.color_type], facts.bits)


def _walk_jpeg(data: npt.NDArray[np.uint8]) -> ImageHeader:
    facts = read_jpeg(data)
    return ImageHeader(facts.height, facts.width, len(facts.components), facts.bits)


def _png_header(start: bytes) -> ImageHeader:
    width, height, bits, color_type = struct.unpack(">IIBB", start[16:26])
    return ImageHeader(height, width, _PNG_CHANNELS[color_type], bits)


def _jpeg_header(file: BinaryIO) -> ImageHeader | None:
    """Walk the segments up to the one that holds the size; None where they do not follow one another closely."""
    file.seek(2)
    while True:
        first = file.read(4)
        if len(first) == 4 and (first[0] != 0xFF or first[1] in (0x00, 0xFF)):
            return None
        marker, length = struct.unpack(">xBH", first)
        if marker in _JPEG_SIZE_MARKERS:
            bits, height, width, channels = struct.unpack(">BHHB", file.read(6))
            return ImageHeader(height, width, channels, bits)
        file.seek(length - 2, 1)
