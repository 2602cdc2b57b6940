"""Reads a rosbag2 SQLite file row by row; its indices, which may be damaged or missing, are not used."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from dannet_ros.replay.scanned import (
    CDR,
    LATEST_NS,
    BagTopic,
    Damage,
    Definition,
    RawMessage,
    definition_of,
    kind_of,
    merged,
    qos_of,
)

MAGIC: Final = b"SQLite format 3\x00"
_HEADER: Final = 100


class SqliteScan:
    """The messages of one file, see `dannet_ros.replay.scanned.Scan`."""

    def __init__(self, path: Path, name: str = "") -> None:
        """Open the file, read its topics and find its rows.

        Args:
            path: the file.
            name: what it is called in problems.

        Raises:
            Damage: not even the topics can be read.
        """
        self._path, self.name = path, name or path.name
        self._problems: dict[str, None] = {}
        self._unread: tuple[set[int], str] = set(), ""
        self._check_size()
        # A recorder that was killed leaves a write-ahead log, which SQLite reads unless told that nothing can change.
        log, journal = (path.with_name(path.name + end) for end in ("-wal", "-journal"))
        if journal.is_file() and journal.stat().st_size:
            self._problem(
                f"the recorder was ended while it wrote, as {journal.name} shows: the last messages may be missing"
            )
        mode = "mode=ro" if log.is_file() and log.stat().st_size else "immutable=1"
        try:
            self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, check_same_thread=False)
            self._connection.text_factory = lambda data: data.decode(errors="replace")
            # Without this SQLite refuses a file that is shorter than its header says.
            self._connection.execute("PRAGMA writable_schema=ON")
            self._topics = self._read_topics()
        except sqlite3.Error as error:
            raise Damage(f"{self.name}: {error}") from error
        self._rows = self._read_rows()
        counts = Counter(self._rows[:, 2].tolist())
        self.total, self.first_ns = len(self._rows), int(self._rows[0, 0]) if len(self._rows) else None
        self.topics = merged(topic._replace(total=counts[key]) for key, topic in self._topics.items())
        unknown = sum(count for key, count in counts.items() if key not in self._topics)
        if unknown:
            self._problem(f"{unknown} messages of topics that are not described are left out")

    @property
    def problems(self) -> list[str]:
        """What could not be read so far."""
        rows, why = self._unread
        lost = [f"{self.name}: {len(rows)} messages cannot be read, cut off or damaged ({why})"] if rows else []
        return [*self._problems, *lost]

    def count_all(self) -> None:
        """Every row was looked at when the file was opened."""

    def messages(self, names: Collection[str]) -> Iterator[RawMessage]:
        """Messages of the topics called ``names`` by time; of equal times in the order of their rows."""
        wanted = {key for key, topic in self._topics.items() if topic.name in names and topic.encoding == CDR}
        for time_ns, row, key in self._rows.tolist():
            if key in wanted and (data := self._data(row)) is not None:
                yield RawMessage(self._topics[key].name, self._topics[key].kind, time_ns, data)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _data(self, row: int) -> bytes | None:
        try:
            (data,) = self._connection.execute("SELECT data FROM messages WHERE rowid = ?", (row,)).fetchone()
        except (sqlite3.Error, TypeError) as error:
            self._lose(row, str(error))
            return None
        if not isinstance(data, bytes):
            self._lose(row, f"{type(data).__name__} instead of bytes")
            return None
        return data

    def _problem(self, text: str) -> None:
        self._problems[f"{self.name}: {text}"] = None

    def _lose(self, row: int, why: str) -> None:
        rows, first = self._unread
        rows.add(row)
        self._unread = rows, first or why

    def _check_size(self) -> None:
        """A cut file may open all the same, and lack nothing but the end of its last message."""
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            header = file.read(_HEADER)
        if len(header) < _HEADER or not header.startswith(MAGIC):
            raise Damage(f"{self.name}: {'not an SQLite file' if size else 'an empty file'}")
        page = int.from_bytes(header[16:18], "big")
        said = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
        # The number of pages counts only where whoever wrote last has written it too.
        if size < said and header[24:28] == header[92:96]:
            self._problem(f"cut off after {size} of {said} bytes")

    def _read_rows(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Time, row and topic of every message, by time; from the end too, where there is damage in between."""
        query = "SELECT rowid, topic_id, timestamp FROM messages NOT INDEXED ORDER BY rowid"
        found, why = self._walk(query, None)
        if why:
            rest, _ = self._walk(f"{query} DESC", found[-1][1] if found else None)
            self._problem(f"cut off or damaged after {len(found)} messages ({why})")
            found += reversed(rest)
        rows = np.array(found, dtype=np.int64).reshape(-1, 3)
        return rows[np.argsort(rows[:, 0], kind="stable")]

    def _walk(self, query: str, last: int | None) -> tuple[list[tuple[int, int, int]], str]:
        """Rows until the first damage or the row ``last``; what the damage is."""
        found: list[tuple[int, int, int]] = []
        try:
            for row, key, time_ns in self._connection.execute(query):
                if row == last:
                    break
                if type(key) is not int or type(time_ns) is not int or not 0 <= time_ns <= LATEST_NS:
                    self._lose(row, "no topic or time of recording")
                    continue
                found.append((time_ns, row, key))
        except sqlite3.Error as error:
            return found, str(error)
        return found, ""

    def _read_topics(self) -> dict[int, BagTopic]:
        definitions: dict[str, Definition] = {}
        if self._has("message_definitions", "encoded_message_definition"):
            rows = self._connection.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            )
            definitions = {str(kind): definition_of(str(form), str(text or "")) for kind, form, text in rows}
        qos = "offered_qos_profiles" if self._has("topics", "offered_qos_profiles") else "''"
        query = f"SELECT id, name, type, serialization_format, {qos} FROM topics ORDER BY id"  # noqa: S608
        topics: dict[int, BagTopic] = {}
        for key, name, kind, encoding, profiles in self._connection.execute(query):
            definition = definitions.get(str(kind), Definition("", ""))
            topics[key] = BagTopic(str(name), kind_of(str(kind)), definition, qos_of(profiles), 0, str(encoding))
        return topics

    def _has(self, table: str, column: str) -> bool:
        return any(row[1] == column for row in self._connection.execute(f"PRAGMA table_info({table})"))
