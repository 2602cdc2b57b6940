"""Records of an MCAP file, parsed one at a time; whatever does not fit is `Damage`."""

from __future__ import annotations

import io
import struct
from binascii import crc32
from typing import BinaryIO, Final, NamedTuple

from dannet_ros.replay import zstandard
from dannet_ros.replay.scanned import Damage

MAGIC: Final = b"\x89MCAP0\r\n"
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK = 0x02, 0x03, 0x04, 0x05, 0x06
MESSAGE_INDEX, CHUNK_INDEX, STATISTICS, DATA_END = 0x07, 0x08, 0x0B, 0x0F
HEAD: Final = 9
"""Bytes of a record before its content: what it is, and how long."""
MESSAGE_HEAD: Final = 22
_FOOTER_SIZE: Final = HEAD + 20 + len(MAGIC)
_MAX_RECORD: Final = 1 << 31
"""Bytes of the largest record or chunk that is believed: damaged lengths are often astronomic."""


class Record(NamedTuple):
    """What it is, where its content begins in the file, and the content's bytes as the record says."""

    op: int
    at: int
    size: int


class Schema(NamedTuple):
    """A message definition: type, form, text."""

    name: str
    form: str
    text: str


class Channel(NamedTuple):
    """Who says what: number of the schema, topic, serialisation, further pairs."""

    schema: int
    topic: str
    encoding: str
    pairs: tuple[tuple[str, str], ...]


class Message(NamedTuple):
    """Channel, time of recording in nanoseconds, serialised bytes."""

    channel: int
    time_ns: int
    data: memoryview


class Statistics(NamedTuple):
    """What the file says it holds: all messages, and those of each channel."""

    total: int
    counts: dict[int, int]


def check_start(file: BinaryIO) -> None:
    """Go behind the first bytes.

    Raises:
        Damage: they are not those of an MCAP file.
    """
    start = file.read(len(MAGIC))
    if start != MAGIC:
        raise Damage("not an MCAP file" if start else "an empty file")


def read_head(file: BinaryIO) -> Record | None:
    """The next record's head; None at the file's end.

    Raises:
        Damage: a length that cannot be.
    """
    head = file.read(HEAD)
    if len(head) < HEAD:
        return None
    op, size = struct.unpack("<BQ", head)
    if op == 0 or size > _MAX_RECORD:
        raise Damage(f"damaged at byte {file.tell() - HEAD}: a record of kind {op} and {size} bytes")
    return Record(op, file.tell(), size)


def content_of(file: BinaryIO, record: Record, most: int | None = None) -> bytes:
    """A record's content, or its first ``most`` bytes.

    Raises:
        Damage: the file ends before it.
    """
    wanted = record.size if most is None else min(most, record.size)
    file.seek(record.at)
    content = file.read(wanted)
    if len(content) < wanted:
        raise Damage(f"cut off after {record.at + len(content)} bytes")
    return content


def summary_start(file: BinaryIO) -> int:
    """Where the summary begins; 0 when there is none, or no whole end of a file."""
    file.seek(0, io.SEEK_END)
    size = file.tell()
    if size < _FOOTER_SIZE:
        return 0
    file.seek(size - _FOOTER_SIZE)
    end = file.read(_FOOTER_SIZE)
    op, length, start = struct.unpack_from("<BQQ", end)
    if not end.endswith(MAGIC) or (op, length) != (FOOTER, 20) or not 0 < start < size:
        return 0
    return int(start)


def schema_of(content: bytes) -> tuple[int, Schema]:
    """A schema and its number."""
    fields = Fields(content)
    return fields.number("<H"), Schema(fields.text(), fields.text(), fields.text())


def channel_of(content: bytes) -> tuple[int, Channel]:
    """A channel and its number."""
    fields = Fields(content)
    key, schema, topic, encoding = fields.number("<H"), fields.number("<H"), fields.text(), fields.text()
    inside, pairs = Fields(fields.sized()), []
    while inside.left:
        pairs.append((inside.text(), inside.text()))
    return key, Channel(schema, topic, encoding, tuple(pairs))


def message_of(content: memoryview) -> Message:
    """A message, without a copy."""
    if len(content) < MESSAGE_HEAD:
        raise Damage(f"a message record of {len(content)} bytes")
    channel, _, time_ns, _ = struct.unpack_from("<HIQQ", content)
    return Message(channel, time_ns, content[MESSAGE_HEAD:])


def index_of(content: bytes) -> tuple[int, int, int]:
    """What the index of one channel in one chunk says: channel, number of messages, time of the first."""
    fields = Fields(content)
    channel, entries = fields.number("<H"), fields.sized()
    times = [time_ns for time_ns, _ in struct.iter_unpack("<QQ", entries[: len(entries) // 16 * 16])]
    return channel, len(times), min(times, default=0)


def statistics_of(content: bytes) -> Statistics:
    """What the file says it holds."""
    fields = Fields(content)
    total = fields.number("<Q")
    fields.take(struct.calcsize("<HIIIIQQ"))
    counts = fields.sized()
    return Statistics(total, dict(struct.iter_unpack("<HQ", counts[: len(counts) // 10 * 10])))


def chunk_start_of(content: bytes) -> int:
    """Where the chunk of a chunk index begins."""
    fields = Fields(content)
    fields.take(16)
    return fields.number("<Q")


def unpack_chunk(content: bytes, *, cut: bool) -> memoryview:
    """A chunk's records; of one that was cut off as much as there is.

    Raises:
        Damage: a wrong size or checksum, or a compression that is not known.
    """
    fields = Fields(content)
    fields.take(16)
    size, checksum, compression = fields.number("<Q"), fields.number("<I"), fields.text()
    if size > _MAX_RECORD:
        raise Damage(f"{size} bytes unpacked")
    length = fields.number("<Q")
    cut = cut and fields.left < length
    data = _unpacked(compression, fields.take(min(length, fields.left) if cut else length), size, cut=cut)
    if not cut and len(data) != size:
        raise Damage("wrong size")
    if not cut and checksum and crc32(data) != checksum:
        raise Damage("wrong checksum")
    return memoryview(data)


def _unpacked(compression: str, packed: memoryview, size: int, *, cut: bool) -> bytes | memoryview:
    try:
        if compression == "":
            return packed
        if compression == "zstd":
            return zstandard.decompress(packed, size, cut=cut)
        if compression == "lz4":
            from lz4.frame import LZ4FrameDecompressor

            return bytes(LZ4FrameDecompressor().decompress(packed, max_length=size + 1))
    except (ValueError, RuntimeError, EOFError) as error:
        raise Damage(str(error)) from error
    raise Damage(f"compressed with {compression!r}, expected zstd or lz4")


class Fields:
    """Reads a record's fields one after the other."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._content, self._at = memoryview(content), 0

    @property
    def left(self) -> int:
        """Bytes that are not read yet."""
        return len(self._content) - self._at

    def take(self, size: int) -> memoryview:
        """The next ``size`` bytes, without a copy."""
        if self.left < size:
            raise Damage(f"a record of {len(self._content)} bytes ends inside a field")
        self._at += size
        return self._content[self._at - size : self._at]

    def number(self, form: str) -> int:
        """The next number, as `struct` spells it."""
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return int(value)

    def sized(self) -> memoryview:
        """Bytes that their number comes before."""
        return self.take(self.number("<I"))

    def text(self) -> str:
        """The next text; definitions of other systems (Protobuf) are not text, and not read."""
        return bytes(self.sized()).decode(errors="replace")
