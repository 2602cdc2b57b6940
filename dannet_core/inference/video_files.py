"""Videos in and out: whether a file is cut off, and at which rate an overlay can be stored."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

import cv2
import numpy as np

from dannet_core.errors import ImageError, OutputError
from dannet_core.pixels import Rgb

DEFAULT_FPS: Final = 25.0
"""For videos that do not say."""
MIN_FPS: Final = 0.01
MAX_RATE: Final = 65535
"""MPEG-4 stores a rate as a fraction of two 16-bit numbers."""
_DECIMALS: Final = 3
_COUNTED: Final = frozenset({".avi", ".mp4", ".mov", ".m4v"})
"""Containers that hold a number of frames; in others OpenCV guesses it from the duration."""
_RIFF, _EBML, _SEGMENT = b"RIFF", b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_BOXES: Final = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof"})


class VideoFrames:
    """Frames of a video file, one after another.

    Raises:
        ImageError: on construction, when its name cannot be given to OpenCV.

    Attributes:
        count: frames read so far.
        total: what the file says it has; 0 = it does not.
        rate: frames a second; `DEFAULT_FPS` where the file says nothing that can be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = cv2.VideoCapture(_name(path))
        self.count = 0
        self.total = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if math.isfinite(rate) and rate > 0 else DEFAULT_FPS

    def __iter__(self) -> Iterator[Rgb]:
        ok, bgr = self._capture.read()
        while ok:
            self.count += 1
            yield np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
            ok, bgr = self._capture.read()
        self._capture.release()

    def missing(self) -> str:
        """Once all frames are read: what the file lacks, in words; empty = nothing."""
        short = self.total - self.count > max(1, self.total // 100) and self._path.suffix.lower() in _COUNTED
        if not (short or is_cut_off(self._path)):
            return ""
        said = f" of {self.total}" if short else ""
        return f"cut off, damaged or never closed: it ends after {self.count}{said} frames"


class OverlayVideo:
    """An MPEG-4 file of RGB frames of one size, at ``rate`` or the nearest one that it can hold.

    Raises:
        ImageError: on construction, when such a video cannot be made.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: float) -> None:
        self._path = path
        self._count = 0
        self._writer = cv2.VideoWriter(_name(path), cv2.VideoWriter.fourcc(*"mp4v"), storable_rate(rate), size[::-1])
        if not self._writer.isOpened():
            raise ImageError(f"no video of {size[1]}x{size[0]} pixels at {storable_rate(rate)} frames/s can be written")

    def write(self, rgb: Rgb) -> None:
        """Append one frame."""
        self._writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        self._count += 1

    def __enter__(self) -> OverlayVideo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close the file, and look whether it holds what was written: the writer itself never says."""
        self._writer.release()
        stored = int(cv2.VideoCapture(str(self._path)).get(cv2.CAP_PROP_FRAME_COUNT)) if error is None else self._count
        if stored != self._count:
            raise OutputError(f"{self._path}: holds {max(stored, 0)} of {self._count} frames: is the disk full?")


def storable_rate(rate: float) -> float:
    """The nearest rate in frames a second that MPEG-4 can hold: to three decimals while they fit."""
    for decimals in range(_DECIMALS, 0, -1):
        if round(rate * 10**decimals) <= MAX_RATE:
            return max(rate if decimals == _DECIMALS else round(rate, decimals), MIN_FPS)
    return float(min(round(rate), MAX_RATE))


def _name(path: Path) -> str:
    """The name for OpenCV, whose video functions crash on bytes that are no UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise ImageError(f"{path}: a video's name has to be UTF-8: rename it") from error
    return str(path)


def is_cut_off(path: Path) -> bool:
    """Whether an AVI, MP4, QuickTime or Matroska file ends before the parts that it announces."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start[:4] == _RIFF:
            return _end_of_riff(file, size) > size + 1
        if start[:4] == _EBML:
            return _end_of_matroska(file) > size
        return start[4:] in _BOXES and _end_of_boxes(file, size) > size


def _end_of_riff(file: BinaryIO, size: int) -> int:
    at = 0
    while at + 8 <= size:
        file.seek(at + 4)
        length = int.from_bytes(file.read(4), "little")
        if length == 0:  # written when the file is closed
            return size + 2
        at += 8 + length + length % 2
    return at


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    at = 0
    while at + 8 <= size:
        file.seek(at)
        length = int.from_bytes(file.read(4), "big")
        if length == 1:
            file.seek(at + 8)
            length = int.from_bytes(file.read(8), "big")
        if length < 8:  # 0: up to the end of the file
            return size
        at += length
    return at


def _end_of_matroska(file: BinaryIO) -> int:
    file.seek(4)
    header = _matroska_size(file)
    file.seek(header or 0, 1)
    if file.read(4) != _SEGMENT:
        return 0
    length = _matroska_size(file)
    return 0 if length is None else file.tell() + length  # None: a recording of unknown length


def _matroska_size(file: BinaryIO) -> int | None:
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] ^ (0x80 >> more)]) + file.read(more), "big")
    return None if value == (1 << 7 * (more + 1)) - 1 else value
