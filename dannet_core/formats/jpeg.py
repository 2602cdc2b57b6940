"""Where a JPEG ends, and whether all of it is there: decoders fill what is missing with grey and say so on stderr."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError

START: Final = b"\xff\xd8"
Bytes = npt.NDArray[np.uint8]

_DHT, _RST0, _SOI, _EOI, _SOS, _DRI, _APP14 = 0xC4, 0xD0, 0xD8, 0xD9, 0xDA, 0xDD, 0xEE
# Start-of-frame markers hold the size; C4, C8 and CC are in their range but mean something else. F7 is JPEG-LS.
_FRAMES: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_SEQUENTIAL, _PROGRESSIVE, _COUNTED = {0xC0, 0xC1}, {0xC2, 0xCA}, {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD8)})
# What may follow the data of a scan; the same bytes as a marker behind damaged data are none of these.
_AFTER_A_SCAN: Final = frozenset({_DHT, _EOI, _SOS, 0xDB, 0xDC, _DRI, *range(0xE0, 0xF0), 0xFE})
_MAX_SEGMENTS: Final = 10_000
_COEFFICIENTS, _ALL = 64, 99
_GREY: Final = 128
_SMALL: Final = 1 << 16
_MANY_ZEROS: Final = 4
_PIECE: Final = 1 << 16

_FILL = re.compile(rb"\xff*")


class Component(NamedTuple):
    """Sampling factors of one colour component, horizontal and vertical."""

    across: int
    down: int


@dataclass
class Jpeg:
    """What the markers of a JPEG say.

    Attributes:
        end: bytes of the picture, its end-of-image marker included; what follows is none of its business.
        height, width: in pixels.
        bits: of a sample.
        components: by their id: 1 = grey, 3 = colour, 4 = CMYK.
        adobe: whether Adobe's marker, which says how colours are meant, is there.
        missing_tables: Huffman tables that a scan uses and nobody defined, as MJPEG cameras leave them out:
            (class, id), to be put before the byte ``tables_at``.
        data_end: where the data of the last scan end.
        progressive: whether the picture comes in scans of more and more detail.
        zeros_at_end: whether the data end with more zeros than the standard tables can make: a hole that was filled.
    """

    end: int = 0
    height: int = 0
    width: int = 0
    bits: int = 0
    components: dict[int, Component] = field(default_factory=dict)
    adobe: bool = False
    missing_tables: set[tuple[int, int]] = field(default_factory=set)
    tables_at: int = 0
    data_end: int = 0
    progressive: bool = False
    zeros_at_end: bool = False

    def decodable(self, data: Bytes) -> Bytes:
        """The picture's own bytes, with the standard Huffman tables where it has none."""
        if not self.missing_tables:
            return data[: self.end]
        tables = b"".join(_STANDARD_TABLES[table] for table in sorted(self.missing_tables))
        segment = b"\xff\xc4" + (2 + len(tables)).to_bytes(2, "big") + tables
        at = self.tables_at
        return np.concatenate([data[:at], np.frombuffer(segment, np.uint8), data[at : self.end]])

    def continued(self, data: Bytes) -> list[Bytes]:
        """`decodable` with other data behind its last scan: a picture that has all of its own does not notice.

        Several, because what a decoder puts in the place of missing bits may happen to be what one of them holds.
        """
        whole = self.decodable(data)
        split = len(whole) - (self.end - self.data_end)
        own = whole[:split].tobytes().rstrip(b"\xff")  # fill bytes make a marker
        if self.zeros_at_end:
            own = own.rstrip(b"\0")
            own += b"\0" * own.endswith(b"\xff")  # FF 00 is a byte of data
        end = whole[split:].tobytes()
        return [np.frombuffer(own + first + _MORE_DATA + end, np.uint8) for first in (b"\xaa", b"\x55", b"\xfe")]

    def may_end_early(self, picture: npt.NDArray[np.uint8]) -> bool:
        """Whether a corner of the decoded picture, whichever way up, has the grey that decoders fill with.

        Small pictures always may, there the full answer costs little, and pictures that are not filled with grey.
        """
        if self.progressive or self.zeros_at_end or len(self.components) == 4:
            return True
        if self.height * self.width <= _SMALL:
            return True
        across = max(c.across for c in self.components.values())
        down = max(c.down for c in self.components.values())
        # What is seen of the last block; its outermost row and column take some colour from the block before.
        seen = min((self.height - 1) % (8 * down), (self.width - 1) % (8 * across), 7)
        if seen == 0:
            corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
            return bool((abs(corners @ [299, 587, 114] - _GREY * 1000) < 2000).any())
        ends = (slice(seen), slice(-seen, None))
        return any(bool((picture[rows, columns] == _GREY).all()) for rows in ends for columns in ends)


def read_jpeg(data: Bytes) -> Jpeg:
    """Walk a JPEG from marker to marker up to its end.

    Whatever lies behind the end is ignored: padding, another picture, what a buffer held before. Thumbnails lie inside
    segments, fill bytes may stand before markers. All components, and all restarts where there are some, must be there.

    Args:
        data: 1-D uint8, beginning with `START`.

    Raises:
        ImageError: it ends early, or is damaged.
    """
    return _Walk(data).run()


class _Walk:
    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._jpeg = Jpeg()
        self._frame = 0
        self._restart_interval = 0
        self._tables: set[tuple[int, int]] = set()
        self._standard_tables = True
        self._missing_bits: dict[int, list[int]] = {}  # of each of a block's 64 coefficients, by component

    def run(self) -> Jpeg:
        at, scanned = len(START), False
        for _ in range(_MAX_SEGMENTS):
            at, marker = self._marker(at)
            if scanned and marker not in _AFTER_A_SCAN:
                raise self._next_picture() if marker == _SOI else self._damaged()
            if marker == _EOI:
                self._check_components()
                self._jpeg.end = at
                return self._jpeg
            if marker in _WITHOUT_LENGTH:
                continue
            start, at = at, at + self._length(at)
            self._segment(marker, start + 2, at)
            scanned = marker == _SOS
            if scanned:
                at = self._scan(start, at)
        raise self._damaged()

    def _marker(self, at: int) -> tuple[int, int]:
        """The marker at ``at``, behind any fill bytes, and where it ends."""
        match = _FILL.match(self._data.data, at)
        assert match is not None
        if match.end() >= len(self._data):
            raise self._truncated()
        if match.end() == at:
            raise self._damaged()
        return match.end() + 1, int(self._data[match.end()])

    def _length(self, at: int) -> int:
        if at + 2 > len(self._data):
            raise self._truncated()
        length = self._number(at)
        if length < 2:
            raise self._damaged()
        if at + length > len(self._data):
            raise self._truncated()
        return length

    def _segment(self, marker: int, at: int, end: int) -> None:
        if marker in _FRAMES:
            self._start_frame(marker, at, end)
        elif marker == _DHT:
            self._define_tables(at, end)
        elif marker == _DRI and end - at >= 2:
            self._restart_interval = self._number(at)
        elif marker == _APP14:
            self._jpeg.adobe |= self._data[at : at + 5].tobytes() == b"Adobe"
        elif marker == _SOI:
            raise self._damaged()

    def _start_frame(self, marker: int, at: int, end: int) -> None:
        jpeg = self._jpeg
        if self._frame or end - at < 6 or end - at < 6 + 3 * int(self._data[at + 5]):
            raise self._damaged()
        self._frame, jpeg.bits, jpeg.progressive = marker, int(self._data[at]), marker in _PROGRESSIVE
        jpeg.height, jpeg.width = self._number(at + 1), self._number(at + 3)
        for i in range(at + 6, at + 6 + 3 * int(self._data[at + 5]), 3):
            sampling = int(self._data[i + 1])
            jpeg.components[int(self._data[i])] = Component(max(sampling >> 4, 1), max(sampling & 15, 1))
        if not jpeg.components:
            raise self._damaged()

    def _define_tables(self, at: int, end: int) -> None:
        while at + 17 <= end:
            table = (int(self._data[at]) >> 4, int(self._data[at]) & 15)
            start, at = at, at + 17 + int(self._data[at + 1 : at + 17].sum(dtype=np.int64))
            self._tables.add(table)
            self._standard_tables &= self._data[start:at].tobytes() == _STANDARD_TABLES.get(table)

    def _scan(self, start: int, at: int) -> int:
        """Note what the scan whose header lies between ``start`` and ``at`` holds; return where its data end."""
        header = self._data[start + 2 : at].tolist()
        count = header[0] if header else 0
        if not self._frame or not count or len(header) < 4 + 2 * count:
            raise self._damaged()
        ids, tables = header[1 : 1 + 2 * count : 2], header[2 : 2 + 2 * count : 2]
        if not all(one in self._jpeg.components for one in ids):
            raise self._damaged()
        first, last, bits = header[1 + 2 * count : 4 + 2 * count]
        if not self._jpeg.progressive:
            first, last, bits = 0, _COEFFICIENTS - 1, 0
        for one in ids:
            missing = self._missing_bits.setdefault(one, [_ALL] * _COEFFICIENTS)
            missing[first : last + 1] = [bits & 15] * len(missing[first : last + 1])
        if self._frame in _HUFFMAN_SEQUENTIAL:
            self._need({(0, t >> 4) for t in tables} | {(1, t & 15) for t in tables}, start - 2)
        self._jpeg.data_end, restarts = self._scan_end(at)
        if self._restart_interval and self._frame in _COUNTED:
            self._check_restarts(ids, restarts)
        tail = self._data[self._jpeg.data_end - _MANY_ZEROS : self._jpeg.data_end]
        self._jpeg.zeros_at_end = self._standard_tables and not tail.any()
        return self._jpeg.data_end

    def _scan_end(self, at: int) -> tuple[int, list[int]]:
        """Where the first marker behind scan data lies, and the numbers of the restarts before it."""
        restarts: list[int] = []
        for start in range(at, len(self._data), _PIECE):
            piece = self._data[start : start + _PIECE + 1]
            after, is_ff = piece[1:], piece[:-1] == 0xFF
            # FF 00 is the byte FF, FF D0..D7 are restarts, and FF FF is a fill byte before whatever comes.
            is_restart = (after & 0xF8) == _RST0
            ends = is_ff & (after - np.uint8(1) < 0xFE) & ~is_restart
            first = int(ends.argmax()) if len(ends) else 0
            found = bool(len(ends)) and bool(ends[first])
            if self._restart_interval:
                kept = slice(first if found else None)
                restarts += (after[kept][is_ff[kept] & is_restart[kept]] - _RST0).tolist()
            if found:
                return start + first, restarts
        raise self._truncated()

    def _need(self, tables: set[tuple[int, int]], at: int) -> None:
        missing = tables - self._tables
        if missing and (self._jpeg.missing_tables or missing - _STANDARD_TABLES.keys()):
            raise self._damaged()
        if missing:
            self._jpeg.missing_tables, self._jpeg.tables_at = missing, at
            self._tables |= missing

    def _check_restarts(self, ids: list[int], found: list[int]) -> None:
        """A packet that was lost takes whole intervals along; what follows then lies in the wrong place."""
        needed = -(-self._units(ids) // self._restart_interval) - 1
        if found[:needed] != [i % 8 for i in range(needed)]:
            raise ImageError(
                f"truncated JPEG of {len(self._data)} bytes: {len(found)} restart markers, expected {needed} in order"
            )

    def _units(self, ids: list[int]) -> int:
        """Blocks, or groups of them, of one scan."""
        jpeg, own = self._jpeg, self._jpeg.components[ids[0]]
        across = max(c.across for c in jpeg.components.values())
        down = max(c.down for c in jpeg.components.values())
        if len(ids) > 1:
            return _ceil(jpeg.width, 8 * across) * _ceil(jpeg.height, 8 * down)
        columns, rows = _ceil(jpeg.width * own.across, across), _ceil(jpeg.height * own.down, down)
        return _ceil(columns, 8) * _ceil(rows, 8)

    def _check_components(self) -> None:
        if not self._missing_bits or any(any(self._missing_bits.get(one, [_ALL])) for one in self._jpeg.components):
            raise ImageError(f"truncated JPEG of {len(self._data)} bytes: it ends before all of its scans are there")

    def _number(self, at: int) -> int:
        return int(self._data[at]) << 8 | int(self._data[at + 1])

    def _truncated(self) -> ImageError:
        return ImageError(f"truncated JPEG of {len(self._data)} bytes: its end (FF D9) is missing")

    def _next_picture(self) -> ImageError:
        return ImageError(f"truncated JPEG of {len(self._data)} bytes: another picture begins before its end")

    def _damaged(self) -> ImageError:
        return ImageError(f"damaged JPEG of {len(self._data)} bytes")


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _table(table_class: int, number: int, counts: str, symbols: Any) -> bytes:
    return bytes([table_class << 4 | number]) + bytes.fromhex(counts) + bytes(symbols)


_STANDARD_TABLES: Final = {
    (0, 0): _table(0, 0, "00010501010101010100000000000000", range(12)),
    (0, 1): _table(0, 1, "00030101010101010101010000000000", range(12)),
    (1, 0): _table(
        1,
        0,
        "0002010303020403050504040000017d",
        bytes.fromhex(
            "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435"
            "363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798"
            "999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4"
            "f5f6f7f8f9fa"
        ),
    ),
    (1, 1): _table(
        1,
        1,
        "00020102040403040705040400010277",
        bytes.fromhex(
            "0001020311040521310612415107617113223281081442"
            "91a1b1c109233352f0156272d10a162434e125f11718191a262728292a"
            "35363738393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a9293949596"
            "9798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4"
            "f5f6f7f8f9fa"
        ),
    ),
}
"""Annex K.3 of the JPEG standard: DC and AC, for luma and for chroma."""

# Bits that no table reads as "no change": pseudo-random, and without the byte FF.
_MORE_DATA: Final = np.random.default_rng(0).integers(1, 255, 4096, dtype=np.uint8).tobytes()
