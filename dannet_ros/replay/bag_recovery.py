"""Reads what is left of a bag: cut off by a full disk or a power failure, without metadata, or with a damaged index."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml

from dannet_ros.replay.mcap_scan import McapScan
from dannet_ros.replay.scanned import BagTopic, Damage, RawMessage, Scan, typestore_of
from dannet_ros.replay.sqlite_scan import SqliteScan

SUFFIXES: Final = (".mcap", ".db3")
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_BLOCK: Final = 1 << 20


class RecoveredBag:
    """The storage files of a bag, one after the other, each as far as it goes.

    Attributes:
        topics: what they hold.
        typestore: rosbags' type store of the bag's own message definitions.
    """

    def __init__(self, path: Path) -> None:
        """Open what can be opened of ``path``, a bag's folder or one storage file.

        Raises:
            Damage: nothing can.
        """
        self._scratch = TemporaryDirectory(prefix="dannet_bag_")
        self._scans: list[Scan] = []
        self._closed_problems: list[str] = []
        for file in _storage_files(path):
            try:
                self._scans.append(self._scan(file))
            except Damage as damage:
                self._closed_problems.append(str(damage))
        self.topics = _merged([topic for scan in self._scans for topic in scan.topics])
        if not self.topics:
            self.close()
            raise Damage("; ".join(self.problems) or "no storage file (.mcap, .db3) in it")
        self.typestore = typestore_of(self.topics)

    @property
    def problems(self) -> list[str]:
        """What could not be read, one line a file."""
        return [*self._closed_problems, *(scan.problem for scan in self._scans if scan.problem)]

    def messages(self, names: Collection[str]) -> Iterator[RawMessage]:
        """Messages of the topics called ``names``, file by file in the order of recording."""
        for scan in self._scans:
            for message in scan.messages(names):
                packed = message.data.startswith(_ZSTD_MAGIC)
                yield message._replace(data=_zstd().decompress(message.data)) if packed else message

    def close(self) -> None:
        """Close the files."""
        for scan in self._scans:
            scan.close()
        self._scratch.cleanup()

    def _scan(self, file: Path) -> Scan:
        if file.suffix == ".zstd":
            file = self._unpacked(file)
        return McapScan(file) if file.suffix == ".mcap" else SqliteScan(file)

    def _unpacked(self, file: Path) -> Path:
        target = Path(self._scratch.name) / file.stem
        unpack = _zstd().ZstdDecompressor()
        with file.open("rb") as packed, target.open("wb") as out:
            try:
                while not unpack.eof and (block := packed.read(_BLOCK)):
                    out.write(unpack.decompress(block))
            except _zstd().ZstdError as error:
                self._closed_problems.append(f"{file.name}: {error}")
        if not unpack.eof:
            self._closed_problems.append(f"{file.name}: cut off after {file.stat().st_size} bytes")
        return target


def _merged(topics: list[BagTopic]) -> list[BagTopic]:
    by_name: dict[str, BagTopic] = {}
    for topic in topics:
        known = by_name.get(topic.name)
        by_name[topic.name] = topic if known is None else known._replace(total=known.total + topic.total)
    return list(by_name.values())


def _storage_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [file for file in path.iterdir() if file.name.removesuffix(".zstd").endswith(SUFFIXES)]
    listed = [path / name for name in _listed(path / "metadata.yaml")]
    if listed and all(file in found for file in listed):
        return listed
    # Recorders number the files of a bag: ..._9.mcap comes before ..._10.mcap.
    return sorted(found, key=lambda file: [int(part) if part.isdigit() else part for part in _parts(file.name)])


def _parts(name: str) -> list[str]:
    return re.split(r"(\d+)", name)


def _listed(metadata: Path) -> list[str]:
    try:
        content = yaml.safe_load(metadata.read_text(encoding="utf-8"))
        return [Path(name).name for name in content["rosbag2_bagfile_information"]["relative_file_paths"]]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return []


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
