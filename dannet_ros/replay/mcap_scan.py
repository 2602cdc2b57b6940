"""Reads an MCAP file record by record, without its index, up to the first damage."""

from __future__ import annotations

import io
import struct
import sys
from binascii import crc32
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from dannet_ros.replay.scanned import BagTopic, Damage, RawMessage, definition_of, qos_of

_MAGIC: Final = b"\x89MCAP0\r\n"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END, _FOOTER = 0x03, 0x04, 0x05, 0x06, 0x0F, 0x02
_MAX_RECORD: Final = 1 << 31
"""Bytes of the largest record or chunk that is believed: damaged lengths are often astronomic."""


class _Record(NamedTuple):
    """Opcode and content; cut when the file ends inside it."""

    op: int
    content: bytes
    cut: bool


class McapScan:
    """The messages of one file in the order of recording.

    Attributes:
        topics: what the file holds, as far as it could be read.
        problem: what ended the reading before the file's own end; empty when nothing did.
    """

    def __init__(self, path: Path) -> None:
        """Look through the whole file once for its topics."""
        self._path = path
        self.problem = ""
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._channels: dict[int, BagTopic] = {}
        counts: dict[int, int] = {}
        for channel, _, _ in self._all():
            counts[channel] = counts.get(channel, 0) + 1
        self.topics = [topic._replace(total=counts.get(key, 0)) for key, topic in self._channels.items()]

    def messages(self, names: Collection[str]) -> Iterator[RawMessage]:
        """Messages of the topics called ``names``."""
        for channel, time_ns, data in self._all():
            topic = self._channels.get(channel)  # none: not CDR, e.g. a channel of JSON
            if topic is not None and topic.name in names:
                yield RawMessage(topic.name, topic.kind, time_ns, data)

    def close(self) -> None:
        """Nothing stays open between two calls."""

    def _all(self) -> Iterator[tuple[int, int, bytes]]:
        self.problem = ""
        try:
            with self._path.open("rb") as file:
                yield from self._through(file)
        except (OSError, Damage, struct.error, UnicodeDecodeError) as error:
            self.problem = f"{self._path.name}: {error}"

    def _through(self, file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise Damage("not an MCAP file")
        while (record := _read_record(file)) is not None:
            if record.op in (_DATA_END, _FOOTER):
                return
            if record.op == _CHUNK:
                yield from self._in_chunk(record)
            if record.cut:
                raise Damage(f"cut off after {file.tell()} bytes")
            if record.op == _MESSAGE:
                yield _message(record.content)
            else:
                self._note(record)
        raise Damage(f"ends without an index after {file.tell()} bytes")

    def _in_chunk(self, chunk: _Record) -> Iterator[tuple[int, int, bytes]]:
        inside = io.BytesIO(_unpack(chunk))
        found: list[tuple[int, int, bytes]] = []
        while (record := _read_record(inside)) is not None and not record.cut:
            if record.op == _MESSAGE:
                found.append(_message(record.content))
            else:
                self._note(record)
        # Recorders sort a chunk by nothing but arrival; readers with an index hand it out by time.
        yield from sorted(found, key=lambda one: one[1])

    def _note(self, record: _Record) -> None:
        if record.op == _SCHEMA:
            key, rest = struct.unpack_from("<H", record.content)[0], io.BytesIO(record.content[2:])
            self._schemas[key] = (_text(rest), _text(rest), _text(rest))
        elif record.op == _CHANNEL:
            key, schema = struct.unpack_from("<HH", record.content)
            rest = io.BytesIO(record.content[4:])
            name, encoding, details = _text(rest), _text(rest), _pairs(rest)
            kind, form, text = self._schemas.get(schema, ("unknown", "", ""))
            if encoding == "cdr":
                qos = qos_of(details.get("offered_qos_profiles", ""))
                self._channels[key] = BagTopic(name, kind, definition_of(form, text), qos, 0)


def _read_record(file: BinaryIO) -> _Record | None:
    head = file.read(9)
    if len(head) < 9:
        return None
    op, size = struct.unpack("<BQ", head)
    if size > _MAX_RECORD:
        raise Damage(f"damaged at byte {file.tell()}: a record of {size} bytes")
    content = file.read(size)
    return _Record(op, content, len(content) < size)


def _message(content: bytes) -> tuple[int, int, bytes]:
    channel, _, time_ns, _ = struct.unpack_from("<HIQQ", content)
    return channel, time_ns, content[22:]


def _unpack(chunk: _Record) -> bytes:
    """A chunk's content; of one that was cut off as much as there is."""
    _, _, size, checksum = struct.unpack_from("<QQQI", chunk.content)
    if size > _MAX_RECORD:
        raise Damage(f"damaged chunk: {size} bytes unpacked")
    rest = io.BytesIO(chunk.content[28:])
    compression = _text(rest)
    packed = rest.read()[8:]
    data = packed if not compression else _decompressor(compression).decompress(packed)
    if not chunk.cut and (len(data) != size or (checksum and crc32(data) != checksum)):
        raise Damage("damaged chunk: wrong size or checksum")
    return bytes(data)


def _decompressor(name: str) -> Any:
    if name == "zstd":
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        return zstd.ZstdDecompressor()
    if name == "lz4":
        from lz4.frame import LZ4FrameDecompressor

        return LZ4FrameDecompressor()
    raise Damage(f"chunks are compressed with {name!r}, expected zstd or lz4")


def _text(data: BinaryIO) -> str:
    (length,) = struct.unpack("<I", data.read(4))
    return data.read(length).decode()


def _pairs(data: BinaryIO) -> dict[str, str]:
    (length,) = struct.unpack("<I", data.read(4))
    inside, found = io.BytesIO(data.read(length)), {}
    while inside.tell() < length:
        key = _text(inside)
        found[key] = _text(inside)
    return found
