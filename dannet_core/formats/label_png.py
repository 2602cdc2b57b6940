"""Label maps as PNG: the class ids as they were written, or a refusal. The one reader of data sets, folders and bags.

Grey of 8 bits is what every tool means alike. Everything else is read only where the file leaves one meaning: a palette
whose colours do not contradict its indices, grey of fewer bits whose values cannot also be a reduced 8-bit picture, 16
bits that stay below 256, equal colour channels, alpha that is opaque.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.class_set import CITYSCAPES, ClassSet
from dannet_core.classes import IGNORE_ID
from dannet_core.errors import ImageError
from dannet_core.formats.exif import orientation_in_exif
from dannet_core.formats.label_palette import LABEL_IDS, TRAIN_IDS, Colour, contradicts

ENCODINGS: Final = (LABEL_IDS, TRAIN_IDS)

Ids = npt.NDArray[np.uint8]
_Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS: Final = 64_000_000
"""Largest label map that is decoded: a few kilobytes of PNG can unfold into gigabytes."""
_KNOWN: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"})
_FIX: Final = "write the ids as 8-bit grey PNG"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_CHANNELS: Final = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGB_ALPHA: 4}
_DEPTHS: Final = {
    _GREY: (1, 2, 4, 8, 16), _PALETTE: (1, 2, 4, 8), _RGB: (8, 16), _GREY_ALPHA: (8, 16), _RGB_ALPHA: (8, 16),
}  # fmt: skip
_PASSES: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: first column and row, and distance between columns and rows, of each pass."""


@dataclass(frozen=True)
class _Png:
    """What the chunks of a PNG say; checked, not yet decoded."""

    width: int
    height: int
    bits: int
    colour: int
    interlaced: bool
    pixels: bytes
    palette: bytes = b""
    transparency: bytes = b""

    @property
    def sample_bits(self) -> int:
        return self.bits * _CHANNELS[self.colour]

    @property
    def plain(self) -> bool:
        """Whether it is what label files usually are: a grey byte a pixel."""
        return (self.bits, self.colour, self.interlaced, self.transparency) == (8, _GREY, False, b"")

    def row_bytes(self, width: int) -> int:
        return (width * self.sample_bits + 7) // 8


class LabelCode(NamedTuple):
    """What the ids of a label map mean.

    Attributes:
        encoding: `LABEL_IDS`, `TRAIN_IDS`, or None = either kind.
        classes: whose ids they are.
    """

    encoding: str | None
    classes: ClassSet = CITYSCAPES

    @property
    def encodings(self) -> tuple[str, ...]:
        """The kinds that it may be."""
        return (self.encoding,) if self.encoding else ENCODINGS

    def has(self, value: int) -> bool:
        """Whether a value is an id."""
        if value == IGNORE_ID or self.encoding == TRAIN_IDS:
            return value == IGNORE_ID or value < len(self.classes)
        return not self.classes.unknown_label_ids[value]


def read_label_png(
    path: Path, encoding: str | None, classes: ClassSet = CITYSCAPES, *, known_good: bool = False
) -> Ids:
    """Read a label file; see `decode_label_png`.

    Raises:
        ImageError: the file is missing, or see `decode_label_png`; the message starts with its path.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such label file") from error
    except OSError as error:
        raise ImageError(f"{path}: cannot read: {error.strerror}") from error
    return decode_label_png(data, encoding, str(path), classes, known_good=known_good)


def decode_label_png(
    data: bytes, encoding: str | None, where: str, classes: ClassSet = CITYSCAPES, *, known_good: bool = False
) -> Ids:
    """The ids of a label map.

    Args:
        data: a PNG file.
        encoding: `LABEL_IDS` or `TRAIN_IDS`, gives train ids; None = the ids as they are, of either kind, any value.
        where: names the file in messages.
        classes: what the ids mean.
        known_good: the file was read before; its pixels are not counted again, which takes a third of the time.

    Returns:
        H x W uint8: train ids 0..18, 255 = ignore.

    Raises:
        ImageError: no PNG, damaged, of a form that leaves open which ids are meant, or with ids that the encoding does
            not have.
    """
    try:
        png = _parse(data)
        ids = _plain_ids(png) if known_good and png.plain else _ids(png, LabelCode(encoding, classes))
    except _Refused as refused:
        raise ImageError(f"{where}: {refused}") from None
    return ids if encoding is None else train_ids(ids, encoding, where, classes)


def train_ids(ids: Ids, encoding: str, where: str, classes: ClassSet = CITYSCAPES) -> Ids:
    """Ids of an encoding as train ids; the same array for `TRAIN_IDS`.

    Raises:
        ImageError: an id that the encoding does not have.
    """
    last, expected = classes.last_id(encoding == LABEL_IDS)
    # 255 + 1 wraps to 0, which leaves one comparison to make.
    wrong = (ids + np.uint8(1)) > last + 1 if last is not None else cv2.LUT(ids, classes.unknown_label_ids) > 0
    if wrong.any():
        name = encoding.replace("_", " ")
        raise ImageError(
            f"{where}: {int(wrong.sum())} pixels are no {name}: got id {int(ids[wrong][0])}, expected {name} {expected}"
        )
    return np.asarray(cv2.LUT(ids, classes.train_ids), dtype=np.uint8) if encoding == LABEL_IDS else ids


class _Refused(Exception):  # noqa: N818  never leaves this module
    """Why a file is not read as labels."""


_DAMAGED: Final = "damaged label file: copy it again"


def _parse(data: bytes) -> _Png:
    if not data.startswith(SIGNATURE):
        raise _Refused(_no_png(data))
    found: dict[bytes, list[bytes]] = {}
    for name, content in _chunks(data):
        found.setdefault(name, []).append(content)
    header = found.get(b"IHDR", [b""])
    if len(header) != 1 or len(header[0]) != 13 or len(found.get(b"PLTE", ())) > 1 or b"IDAT" not in found:
        raise _Refused(_DAMAGED)
    width, height, bits, colour, method, filtering, interlace = struct.unpack(">IIBBBBB", header[0])
    if bits not in _DEPTHS.get(colour, ()) or method or filtering or interlace > 1:
        raise _Refused(_DAMAGED)
    if not width or not height or width * height > MAX_PIXELS:
        raise _Refused(f"got {width}x{height} labels, expected 1 to {MAX_PIXELS // 1_000_000} million pixels")
    if orientation_in_exif(b"".join(found.get(b"eXIf", []))) != 1:
        raise _Refused("its EXIF orientation says that the labels are not upright: write the pixels upright")
    palette, transparency = (b"".join(found.get(name, [])) for name in (b"PLTE", b"tRNS"))
    return _Png(width, height, bits, colour, bool(interlace), b"".join(found[b"IDAT"]), palette, transparency)


def _no_png(data: bytes) -> str:
    if data.startswith(b"\xff\xd8"):
        return "labels as JPEG, which changes them: expected PNG"
    return "damaged label file: it is empty" if not data else "not a label image: expected PNG"


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of what matters, up to the end of the picture.

    The check sum of every chunk has to fit, since a flipped bit makes another one of it.
    """
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 8 + size
        if end + 4 > len(data):
            break
        if zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            break
        if name in _KNOWN:
            yield name, data[at + 8 : end]
        elif not name[0] & 0x20:
            break  # a chunk without which the picture is not understood
        if name == b"IEND":
            return
        at = end + 4
    raise _Refused(_DAMAGED)


def _plain_ids(png: _Png) -> Ids:
    return np.asarray(_decode_by_opencv(png, png.pixels)[..., 0], dtype=np.uint8)


def _ids(png: _Png, code: LabelCode) -> Ids:
    samples = _decode(png)
    if png.transparency and png.colour in (_GREY, _RGB):
        _refuse_transparent(_keyed(samples, png))
    if png.colour == _PALETTE:
        return _palette_ids(np.asarray(samples[..., 0], dtype=np.uint8), png, code)
    channels = samples.shape[2]
    if channels in (2, 4):
        _refuse_transparent(samples[..., -1] != (1 << png.bits) - 1)
    if channels > 2 and not _equal_channels(samples):
        raise _Refused(f"labels in colour, expected ids (is this the labelColor picture?): {_FIX}")
    grey = samples[..., 0]
    if png.bits == 16 and (grey > 255).any():
        raise _Refused(f"16-bit values above 255, e.g. {int(grey[grey > 255][0])}, are no class ids: {_FIX}")
    if png.bits < 8:
        _refuse_ambiguous_depth(np.asarray(grey, dtype=np.uint8), png.bits, code)
    return np.array(grey, dtype=np.uint8, order="C")


def _decode(png: _Png) -> _Samples:
    """H x W x channels, the samples as the file holds them: not scaled, not looked up."""
    inflated = _inflated(png)
    if png.interlaced:
        return _decode_by_opencv(png, png.pixels)
    row = png.row_bytes(png.width)
    lines = np.frombuffer(inflated, np.uint8).reshape(png.height, row + 1)
    if lines[:, 0].any():
        if png.bits >= 8:
            return _decode_by_opencv(png, png.pixels)
        # Filters work on whole bytes: packed samples are bytes of a narrower grey picture to them.
        packed = _Png(row, png.height, 8, _GREY, False, b"")
        data = np.asarray(_decode_by_opencv(packed, png.pixels)[..., 0], dtype=np.uint8)
    else:
        data = lines[:, 1:]
    if png.bits < 8:
        return _unpacked(data, png.bits)[:, : png.width, None]
    wide = np.ascontiguousarray(data).view(">u2").astype(np.uint16) if png.bits == 16 else data
    return wide.reshape(png.height, png.width, _CHANNELS[png.colour])


def _inflated(png: _Png) -> bytes:
    """The filtered rows, exactly as many bytes as the header says."""
    passes = _PASSES if png.interlaced else ((0, 0, 1, 1),)
    sides = [(-((left - png.width) // dx), -((top - png.height) // dy)) for left, top, dx, dy in passes]
    expected = sum(rows * (png.row_bytes(columns) + 1) for columns, rows in sides if columns > 0)
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(png.pixels, expected + 1)
    except zlib.error:
        raise _Refused(_DAMAGED) from None
    if len(data) != expected or not inflater.eof:
        raise _Refused(_DAMAGED)
    return data


def _decode_by_opencv(png: _Png, compressed: bytes) -> _Samples:
    """Undo the row filters, of a picture without palette; OpenCV scales fewer than 8 bits, which is undone."""
    colour = _GREY if png.colour == _PALETTE else png.colour
    header = struct.pack(">IIBBBBB", png.width, png.height, png.bits, colour, 0, 0, int(png.interlaced))
    parts = ((b"IHDR", header), (b"IDAT", compressed), (b"IEND", b""))
    data = SIGNATURE + b"".join(
        struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in parts
    )
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        decoded = None
    if decoded is None or decoded.shape[:2] != (png.height, png.width):
        raise _Refused(_DAMAGED)
    samples = decoded if decoded.ndim == 3 else decoded[..., None]
    if png.bits < 8:
        samples = samples // (255 // ((1 << png.bits) - 1))
    return np.asarray(samples, dtype=np.uint16 if png.bits == 16 else np.uint8)


def _unpacked(rows: Ids, bits: int) -> Ids:
    """Samples of 1, 2 or 4 bits, the first in the highest bits."""
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    samples = (rows[:, :, None] >> shifts) & np.uint8((1 << bits) - 1)
    return np.asarray(samples.reshape(rows.shape[0], -1), dtype=np.uint8)


def _keyed(samples: _Samples, png: _Png) -> npt.NDArray[np.bool_]:
    """Pixels of the colour that the file declares transparent."""
    count = 1 if png.colour == _GREY else 3
    if len(png.transparency) != 2 * count:
        raise _Refused(_DAMAGED)
    key = np.array(struct.unpack(f">{count}H", png.transparency), np.uint16)
    # OpenCV turns the channels round: only equal ones are read at all, and then it makes no difference.
    return np.asarray((samples == key).all(axis=2), dtype=np.bool_)


def _refuse_transparent(transparent: npt.NDArray[np.bool_]) -> None:
    if transparent.any():
        raise _Refused(f"{int(transparent.sum())} pixels are transparent: {_FIX}, {IGNORE_ID} where there is no label")


def _equal_channels(samples: _Samples) -> bool:
    red = samples[..., 0]
    return all(np.array_equal(red, samples[..., i]) for i in (1, 2))


def _used(ids: Ids) -> list[int]:
    return [int(i) for i in np.flatnonzero(np.bincount(ids.reshape(-1), minlength=256))]


def _refuse_ambiguous_depth(grey: Ids, bits: int, code: LabelCode) -> None:
    """A PNG optimiser makes 0 and 255 of 8 bits to 0 and 1 of one bit; a tool that writes masks means 0 and 1."""
    scale = 255 // ((1 << bits) - 1)
    used = _used(grey)
    if max(used) > 0 and all(code.has(value * scale) for value in used):
        raise _Refused(
            f"{bits}-bit grey, whose {used[-1]} is id {used[-1]} or a reduced 8-bit {used[-1] * scale}: {_FIX}"
        )


def _palette_ids(indices: Ids, png: _Png, code: LabelCode) -> Ids:
    """The indices, unless the colours say that something else is meant."""
    colours = np.frombuffer(png.palette[: len(png.palette) // 3 * 3], np.uint8).reshape(-1, 3)
    used = _used(indices)
    if not len(colours) or used[-1] >= len(colours):
        raise _Refused(_DAMAGED)
    if any(index < len(png.transparency) and png.transparency[index] < 255 for index in used):
        _refuse_transparent(np.isin(indices, [i for i, alpha in enumerate(png.transparency) if alpha < 255]))
    shown: dict[int, Colour] = {i: (int(colours[i, 0]), int(colours[i, 1]), int(colours[i, 2])) for i in used}
    # Colours that occur twice cannot be the meaning; an optimiser has no reason to use the last index.
    meaning = {i: colour for i, colour in shown.items() if i != IGNORE_ID} or shown
    if len(set(shown.values())) == len(shown) and contradicts(meaning, code.encodings, code.classes):
        index, colour = next(iter(meaning.items()))
        raise _Refused(
            f"palette whose colours and indices say different ids (index {index} is colour {colour}), as picture "
            f"optimisers leave it: {_FIX}"
        )
    return np.array(indices, order="C")
