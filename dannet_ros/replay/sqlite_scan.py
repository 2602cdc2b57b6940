"""Reads a rosbag2 SQLite file row by row, without its index, up to the first damage."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

from dannet_ros.replay.scanned import BagTopic, Damage, Definition, RawMessage, definition_of, qos_of


class SqliteScan:
    """The messages of one file in the order of recording.

    Attributes:
        topics: what the file holds; the number of messages is not counted (0), which would take a reading of its own.
        problem: what ended the reading before the last row; empty when nothing did.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and read its topics.

        Raises:
            Damage: not even the topics can be read.
        """
        self._path = path
        self.problem = ""
        # A recorder that was killed leaves a write-ahead log, which SQLite reads unless told that nothing can change.
        log = path.with_name(path.name + "-wal")
        mode = "mode=ro" if log.is_file() and log.stat().st_size else "immutable=1"
        try:
            self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, check_same_thread=False)
            # Without this SQLite refuses a file that is shorter than its header says.
            self._connection.execute("PRAGMA writable_schema=ON")
            self._topics = self._read_topics()
        except sqlite3.Error as error:
            raise Damage(f"{path.name}: {error}") from error
        self.topics = list(self._topics.values())

    def messages(self, names: Collection[str]) -> Iterator[RawMessage]:
        """Messages of the topics called ``names``."""
        self.problem = ""
        wanted = {key: topic for key, topic in self._topics.items() if topic.name in names}
        count = 0
        try:
            for key, time_ns, data in self._connection.execute(
                "SELECT topic_id, timestamp, data FROM messages ORDER BY id"
            ):
                count += 1
                if key in wanted:
                    yield RawMessage(wanted[key].name, wanted[key].kind, time_ns, data)
        except sqlite3.Error as error:
            self.problem = f"{self._path.name}: cut off or damaged after {count} messages ({error})"

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _read_topics(self) -> dict[int, BagTopic]:
        definitions: dict[str, Definition] = {}
        if self._has("message_definitions", "encoded_message_definition"):
            rows = self._connection.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            )
            definitions = {kind: definition_of(form, text) for kind, form, text in rows}
        qos = "offered_qos_profiles" if self._has("topics", "offered_qos_profiles") else "''"
        query = f"SELECT id, name, type, {qos} FROM topics WHERE serialization_format = 'cdr' ORDER BY id"  # noqa: S608
        return {
            key: BagTopic(name, kind, definitions.get(kind, Definition("", "")), qos_of(text), 0)
            for key, name, kind, text in self._connection.execute(query)
        }

    def _has(self, table: str, column: str) -> bool:
        return any(row[1] == column for row in self._connection.execute(f"PRAGMA table_info({table})"))
