"""Reads an MCAP file by its records: an index and statistics are believed only where they agree with one another."""

from __future__ import annotations

import heapq
import io
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from dannet_ros.replay import mcap_records as mcap
from dannet_ros.replay.scanned import (
    CDR,
    LATEST_NS,
    NO_KIND,
    BagTopic,
    Damage,
    RawMessage,
    definition_of,
    kind_of,
    merged,
    qos_of,
)


@dataclass
class _Part:
    """A chunk, or a message outside of chunks.

    Attributes:
        record: where it is.
        first_ns: time of its first message.
        counts: messages by channel, as its index says, or as they were counted.
        cut: the file ends inside it.
    """

    record: mcap.Record
    first_ns: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    cut: bool = False


class McapScan:
    """The messages of one file, see `dannet_ros.replay.scanned.Scan`."""

    def __init__(self, path: Path, name: str = "") -> None:
        """Walk over the records once; chunks are unpacked only where what is said about them does not add up.

        Args:
            path: the file.
            name: what it is called in problems.

        Raises:
            Damage: not an MCAP file.
        """
        self._path, self.name = path, name or path.name
        self._problems: dict[str, None] = {}
        self._schemas: dict[int, mcap.Schema] = {}
        self._channels: dict[int, mcap.Channel] = {}
        self._statistics: mcap.Statistics | None = None
        self._parts: list[_Part] = []
        self._known_chunks: list[int] = []
        self._counted = False
        try:
            self._size = path.stat().st_size
            with path.open("rb") as file:
                mcap.check_start(file)
                self._read_summary(file)
                self._walk(file)
        except (OSError, Damage) as error:
            raise Damage(f"{self.name}: {error}") from error
        self._describe()
        if self._problems or not self._adds_up():
            self.count_all()

    @property
    def problems(self) -> list[str]:
        """What could not be read so far."""
        return list(self._problems)

    def count_all(self) -> None:
        """Unpack every chunk and count, once."""
        if self._counted:
            return
        self._counted = True
        with self._path.open("rb") as file:
            for part in self._parts:
                if part.record.op == mcap.CHUNK:
                    messages = self._load(file, part)
                    part.counts = Counter(message.channel for message in messages)
                    part.first_ns = min((message.time_ns for message in messages), default=0)
        self._describe()
        self._compare()

    def messages(self, names: Collection[str]) -> Iterator[RawMessage]:
        """Messages of the topics called ``names`` by time; of equal times in the order of the file."""
        topics = {key: (channel.topic, self._kind(channel)) for key, channel in self._channels.items()
                  if channel.topic in names and channel.encoding == CDR}  # fmt: skip
        parts = [part for part in self._parts if any(part.counts[key] for key in topics)]
        waiting: list[tuple[int, int, int, mcap.Message]] = []
        given: Counter[int] = Counter()
        with self._path.open("rb") as file:
            for part in [*sorted(parts, key=lambda one: (one.first_ns, one.record.at)), None]:
                while waiting and (part is None or waiting[0][:2] < (part.first_ns, part.record.at)):
                    message = heapq.heappop(waiting)[3]
                    given[message.channel] += 1
                    yield RawMessage(*topics[message.channel], message.time_ns, message.data)
                if part is not None:
                    for number, message in enumerate(self._load(file, part)):
                        if message.channel in topics:
                            heapq.heappush(waiting, (message.time_ns, part.record.at, number, message))
        self._note_lost(parts, topics, given)

    def close(self) -> None:
        """Nothing stays open between two calls."""

    def _read_summary(self, file: BinaryIO) -> None:
        """Descriptions, statistics and the places of the chunks, from the end of the file."""
        start = mcap.summary_start(file)
        file.seek(start)
        try:
            while start and (record := mcap.read_head(file)) is not None and record.op != mcap.FOOTER:
                content = mcap.content_of(file, record)
                if record.op == mcap.STATISTICS:
                    self._statistics = mcap.statistics_of(content)
                elif record.op == mcap.CHUNK_INDEX:
                    self._known_chunks.append(mcap.chunk_start_of(content))
                else:
                    self._note(record.op, content)
        except Damage:
            # The records themselves are still to be read; they say the same.
            self._statistics = None

    def _walk(self, file: BinaryIO) -> None:
        """Find every chunk and message; beyond damage go on at the next chunk whose place is known."""
        file.seek(len(mcap.MAGIC))
        while True:
            begin = file.tell()
            try:
                if self._step(file):
                    return
            except Damage as damage:
                self._problem(str(damage))
                following = min((at for at in self._known_chunks if at > begin), default=None)
                if following is None:
                    return
                file.seek(following)

    def _step(self, file: BinaryIO) -> bool:
        """Take in one record; True after the last."""
        record = mcap.read_head(file)
        if record is None:
            raise Damage(f"cut off after {self._size} bytes: the end of the file is missing")
        if record.op in (mcap.DATA_END, mcap.FOOTER):
            file.seek(-len(mcap.MAGIC), io.SEEK_END)
            if file.read() != mcap.MAGIC:
                raise Damage(f"cut off after {self._size} bytes: the messages are there, the end of the file is not")
            return True
        if record.op == mcap.CHUNK:
            self._take_chunk(file, record)
        elif record.op == mcap.MESSAGE:
            self._take_message(file, record)
        elif record.op == mcap.MESSAGE_INDEX and self._parts:
            channel, count, first_ns = mcap.index_of(mcap.content_of(file, record))
            part = self._parts[-1]
            part.first_ns = min(part.first_ns, first_ns) if part.counts.total() else first_ns
            part.counts[channel] += count
        elif record.op in (mcap.SCHEMA, mcap.CHANNEL):
            self._note(record.op, mcap.content_of(file, record))
        file.seek(record.at + record.size)
        return False

    def _take_chunk(self, file: BinaryIO, record: mcap.Record) -> None:
        part = _Part(record, cut=record.at + record.size > self._size)
        self._parts.append(part)
        (part.first_ns,) = struct.unpack("<Q", mcap.content_of(file, record, 8))
        if part.cut:
            raise Damage(f"cut off after {self._size} bytes")

    def _take_message(self, file: BinaryIO, record: mcap.Record) -> None:
        if record.at + record.size > self._size:
            raise Damage(f"cut off after {self._size} bytes")
        message = mcap.message_of(memoryview(mcap.content_of(file, record, mcap.MESSAGE_HEAD)))
        self._parts.append(_Part(record, message.time_ns, Counter([message.channel])))

    def _note(self, op: int, content: bytes) -> None:
        if op == mcap.SCHEMA:
            key, schema = mcap.schema_of(content)
            self._schemas.setdefault(key, schema)
        elif op == mcap.CHANNEL:
            key, channel = mcap.channel_of(content)
            known = self._channels.setdefault(key, channel)
            if (known.topic, known.encoding) != (channel.topic, channel.encoding):
                self._problem(f"channel {key} is both {known.topic} and {channel.topic}: taken for the first")

    def _load(self, file: BinaryIO, part: _Part) -> list[mcap.Message]:
        """The messages of a chunk by time, or the one outside of chunks."""
        try:
            content = mcap.content_of(file, part.record, self._size - part.record.at if part.cut else None)
            if part.record.op == mcap.MESSAGE:
                return [mcap.message_of(memoryview(content))]
            return self._in_chunk(mcap.unpack_chunk(content, cut=part.cut), part)
        except Damage as damage:
            left_out = f", {part.counts.total()} messages left out" if part.counts else ""
            self._problem(f"damaged chunk at byte {part.record.at} ({damage}){left_out}")
            part.counts.clear()
            return []

    def _in_chunk(self, data: memoryview, part: _Part) -> list[mcap.Message]:
        at, found = 0, []
        while at + mcap.HEAD <= len(data):
            op, size = struct.unpack_from("<BQ", data, at)
            at += mcap.HEAD + size
            if at > len(data):
                if part.cut:
                    break
                raise Damage(f"a record of {size} bytes in it")
            content = data[at - size : at]
            if op == mcap.MESSAGE:
                found.append(mcap.message_of(content))
            else:
                self._note(op, bytes(content) if op in (mcap.SCHEMA, mcap.CHANNEL) else b"")
        if any(message.time_ns > LATEST_NS for message in found):
            raise Damage("times of recording that cannot be")
        # Recorders sort a chunk by nothing but arrival.
        return sorted(found, key=lambda message: message.time_ns)

    def _adds_up(self) -> bool:
        if self._statistics is None:
            return False
        counts = sum((part.counts for part in self._parts), Counter[int]())
        said = Counter({key: count for key, count in self._statistics.counts.items() if count})
        return counts == said and counts.total() == self._statistics.total and set(counts) <= set(self._channels)

    def _describe(self) -> None:
        counts: Counter[int] = Counter()
        for part in self._parts:
            counts.update(part.counts)
        self.total = counts.total()
        self.first_ns = min((part.first_ns for part in self._parts if part.counts), default=None)
        self.topics = merged(self._topic(channel, counts[key]) for key, channel in self._channels.items())
        unknown = sum(count for key, count in counts.items() if key not in self._channels)
        if unknown and self._counted:
            self._problem(f"{unknown} messages of channels that are not described are left out")

    def _topic(self, channel: mcap.Channel, total: int) -> BagTopic:
        schema = self._schemas.get(channel.schema, mcap.Schema("", "", ""))
        qos = qos_of(dict(channel.pairs).get("offered_qos_profiles", ""))
        definition = definition_of(schema.form, schema.text)
        return BagTopic(channel.topic, self._kind(channel), definition, qos, total, channel.encoding)

    def _kind(self, channel: mcap.Channel) -> str:
        schema = self._schemas.get(channel.schema)
        return kind_of(schema.name) if schema is not None and schema.name else NO_KIND

    def _compare(self) -> None:
        """What the file says it holds, beside what was counted in it."""
        if self._statistics is None:
            return
        counts = sum((part.counts for part in self._parts), Counter[int]())
        for key, said in self._statistics.counts.items():
            topic = self._channels[key].topic if key in self._channels else f"channel {key}"
            if said > counts[key]:
                self._problem(f"its statistics say {said} messages on {topic}, {counts[key]} can be read")
        if self._statistics.total > max(self.total, sum(self._statistics.counts.values())):
            self._problem(f"its statistics say {self._statistics.total} messages, {self.total} can be read")

    def _note_lost(self, parts: list[_Part], topics: Collection[int], given: Counter[int]) -> None:
        for key in topics:
            listed = sum(part.counts[key] for part in parts)
            if listed > given[key]:
                topic = self._channels[key].topic
                self._problem(f"its index lists {listed} messages on {topic}, {given[key]} can be read")

    def _problem(self, text: str) -> None:
        self._problems[f"{self.name}: {text}"] = None
