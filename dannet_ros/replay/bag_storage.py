"""The storage files of a bag, read by their records, and what its metadata promises beside what is there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from dannet_ros.replay import mcap_records, sqlite_scan, zstandard
from dannet_ros.replay.bag_metadata import NAME, BagMetadata, file_name, read_metadata
from dannet_ros.replay.mcap_scan import McapScan
from dannet_ros.replay.scanned import LATEST_NS, BagTopic, Damage, RawMessage, Scan, merged
from dannet_ros.replay.sqlite_scan import SqliteScan

SUFFIXES: Final = (".mcap", ".db3")
PACKED: Final = ".zstd"
_MAX_MESSAGE: Final = 1 << 30
"""Bytes of the largest message that is unpacked."""


class StoredBag:
    """The storage files of a bag, one after the other, each as far as it goes.

    Attributes:
        topics: what they hold, and what the metadata lists beside.
        notes: what was put right without a loss, one line each.
    """

    def __init__(self, path: Path) -> None:
        """Open what can be opened of ``path``, a bag's folder or one storage file.

        Raises:
            Damage: nothing can.
        """
        self._scratch = TemporaryDirectory(prefix="dannet_bag_")
        self._scans: list[Scan] = []
        self._problems: list[str] = []
        self.notes: list[str] = []
        metadata = BagMetadata()
        if path.is_dir() and (path / NAME).is_file():
            metadata = read_metadata(path)
            self._problems += metadata.problems
        elif path.is_dir():
            self._problems.append(f"not whole: no {NAME}; read record by record")
        for file in self._files(path, metadata):
            try:
                self._scans.append(self._scan(file))
            except (OSError, Damage) as damage:
                self._problems.append(str(damage))
        if not self._scans:
            self.close()
            raise Damage("; ".join(self._problems) or "no storage file (.mcap, .db3) in it")
        # The files of a bag follow one another; a list that was edited may say otherwise.
        self._scans.sort(key=lambda scan: LATEST_NS if scan.first_ns is None else scan.first_ns)
        self._compare(metadata)

    @property
    def problems(self) -> list[str]:
        """What is missing or could not be read so far."""
        return [*self._problems, *(problem for scan in self._scans for problem in scan.problems)]

    def messages(self, names: Collection[str]) -> Iterator[RawMessage]:
        """CDR messages of the topics called ``names``, file by file in the order of recording."""
        for scan in self._scans:
            for message in scan.messages(names):
                yield _unpacked(message) if message.data[:4] == zstandard.MAGIC else message

    def close(self) -> None:
        """Close the files."""
        for scan in self._scans:
            scan.close()
        self._scratch.cleanup()

    def _files(self, path: Path, metadata: BagMetadata) -> list[Path]:
        if not path.is_dir():
            return [path]
        there = sorted((file for file in path.iterdir() if is_storage(file)), key=lambda file: _numbers(file.name))
        if not metadata.files:
            return there
        placed = [_placed(path, name) for name in metadata.files]
        missing = [file_name(name) for name, file in zip(metadata.files, placed, strict=True) if file is None]
        found = [file for file in placed if file is not None]
        others = [file for file in there if file.resolve() not in {one.resolve() for one in found}]
        if missing:
            instead = f"; read instead: {_names(others)}" if others else ""
            self._problems.append(f"not whole: {NAME} lists {', '.join(missing)}, not there{instead}")
            return [*found, *others]
        if others:
            self._problems.append(f"{_names(others)} left out: {NAME} does not list what is in the folder beside it")
        return found

    def _scan(self, file: Path) -> Scan:
        """A reader that goes by what the file is, not by what it is called."""
        name, magic = file.name, _start_of(file)
        if magic.startswith(zstandard.MAGIC):
            file = self._unpacked_file(file)
            magic = _start_of(file)
        is_mcap = magic.startswith(mcap_records.MAGIC) or (
            not magic.startswith(sqlite_scan.MAGIC) and ".mcap" in file.suffixes
        )
        return McapScan(file, name) if is_mcap else SqliteScan(file, name)

    def _unpacked_file(self, file: Path) -> Path:
        target = Path(self._scratch.name) / f"{len(self._scans)}_{file.name.removesuffix(PACKED)}"
        with file.open("rb") as packed, target.open("wb") as out:
            problem = zstandard.unpack_file(packed, out)
        if problem:
            self._problems.append(f"{file.name}: {problem}")
        return target

    def _compare(self, metadata: BagMetadata) -> None:
        """Name what the metadata promises and the files do not hold, after reading them record by record."""
        if self._shortfalls(metadata):
            for scan in self._scans:
                scan.count_all()
        self._problems += self._shortfalls(metadata)
        held = [topic for scan in self._scans for topic in scan.topics]
        qos = {(topic.name, topic.kind): topic.qos for topic in metadata.topics}
        names = {topic.name for topic in held}
        listed = [topic._replace(total=0) for topic in metadata.topics if topic.name not in names]
        topics = merged([*held, *listed])
        self.topics = [topic._replace(qos=topic.qos or qos.get((topic.name, topic.kind), [])) for topic in topics]
        promised, there = _counts(metadata.topics), _counts(held)
        more = [name for name, count in there.items() if metadata.topics and count > promised[name]]
        if more:
            self.notes.append(f"more messages than {NAME} promises on {', '.join(more)}: all are read")

    def _shortfalls(self, metadata: BagMetadata) -> list[str]:
        there = _counts([topic for scan in self._scans for topic in scan.topics])
        short = [f"{NAME} promises {count} messages on {name}, {there[name]} can be read"
                 for name, count in _counts(metadata.topics).items() if count > there[name]]  # fmt: skip
        total = sum(scan.total for scan in self._scans)
        if not short and metadata.total is not None and metadata.total > total:
            short.append(f"{NAME} promises {metadata.total} messages, {total} can be read")
        if not short and sum(metadata.file_counts.values()) > total:
            short += [f"{NAME} promises {count} messages in {name}, {self._in_file(name)} can be read"
                      for name, count in metadata.file_counts.items() if count > self._in_file(name)]  # fmt: skip
        return short

    def _in_file(self, name: str) -> int:
        wanted = name.removesuffix(PACKED)
        return sum(scan.total for scan in self._scans if scan.name.removesuffix(PACKED) == wanted)


def _counts(topics: list[BagTopic]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for topic in topics:
        counts[topic.name] += topic.total
    return counts


def _unpacked(message: RawMessage) -> RawMessage:
    """A message of a bag that was compressed message by message; what cannot be unpacked is refused as a picture."""
    try:
        return message._replace(data=zstandard.decompress(message.data, _MAX_MESSAGE))
    except ValueError:
        return message


def _start_of(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(max(len(mcap_records.MAGIC), len(sqlite_scan.MAGIC)))


def is_storage(file: Path) -> bool:
    """Whether a file is called as the storage files of a bag are."""
    return file.name.removesuffix(PACKED).endswith(SUFFIXES) and not file.name.startswith(".")


def _placed(folder: Path, listed: str) -> Path | None:
    """The file of a listed path: old bags' begin with the folder's name, and compression adds or takes a suffix."""
    name = file_name(listed)
    inside = [] if Path(listed).is_absolute() or ".." in Path(listed).parts else [listed]
    names = (name, name + PACKED, name.removesuffix(PACKED), *inside)
    return next((folder / one for one in names if one and _is_file(folder / one)), None)


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # a name that is too long for a file
        return False


def _numbers(name: str) -> list[tuple[int, str]]:
    """Recorders number the files of a bag: ..._9.mcap comes before ..._10.mcap."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _names(files: list[Path]) -> str:
    return ", ".join(file.name for file in files)
