"""What a bag's metadata.yaml promises. It is edited by hand and written by many: nothing in it is needed to read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from dannet_ros.replay.scanned import CDR, BagTopic, Definition, kind_of, qos_of

NAME: Final = "metadata.yaml"
_ROOT: Final = "rosbag2_bagfile_information"
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class BagMetadata:
    """What could be read of it.

    Attributes:
        files: names of the storage files, as listed.
        topics: their names, types, QoS profiles and numbers of messages.
        file_counts: messages by storage file.
        total: number of all messages; None where it is not said.
        problems: what is odd in it, one line each.
    """

    files: list[str] = field(default_factory=list)
    topics: list[BagTopic] = field(default_factory=list)
    file_counts: dict[str, int] = field(default_factory=dict)
    total: int | None = None
    problems: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add to `problems`."""
        self.problems.append(f"{NAME}: {text}")


def read_metadata(folder: Path) -> BagMetadata:
    """Metadata of a bag's folder, as far as it can be read."""
    metadata = BagMetadata()
    try:
        content = yaml.load((folder / NAME).read_text(encoding="utf-8"), _LOADER)  # noqa: S506  it is a safe one
    except Exception as error:  # noqa: BLE001  a damaged YAML file raises anything, RecursionError included
        metadata.note(f"cannot be read: {_one_line(error)}")
        return metadata
    information = content.get(_ROOT) if isinstance(content, dict) else None
    if not isinstance(information, dict):
        metadata.note(f"no {_ROOT} in it")
        return metadata
    _read_files(information, metadata)
    _read_counts(information, metadata)
    return metadata


def _read_files(information: dict[Any, Any], metadata: BagMetadata) -> None:
    listed = information.get("relative_file_paths")
    if not isinstance(listed, list) or not listed or not all(isinstance(path, str) and path for path in listed):
        metadata.note(f"relative_file_paths: got {_short(listed)}, expected a list of files")
        return
    metadata.files = list(dict.fromkeys(listed))


def _read_counts(information: dict[Any, Any], metadata: BagMetadata) -> None:
    metadata.total = _count(information.get("message_count"))
    listed = information.get("topics_with_message_count")
    entries = listed if isinstance(listed, list) else []
    topics = [topic for entry in entries if (topic := _topic(entry)) is not None]
    metadata.topics = topics
    counted = isinstance(listed, list) and len(topics) == len(entries)
    if metadata.total is None and not counted:
        metadata.note("it does not say how many messages there are: what was read cannot be compared with it")
    for entry in information.get("files") or [] if isinstance(information.get("files"), list) else []:
        if isinstance(entry, dict) and (count := _count(entry.get("message_count"))) is not None:
            metadata.file_counts[file_name(str(entry.get("path")))] = count


def _topic(entry: object) -> BagTopic | None:
    details = entry.get("topic_metadata") if isinstance(entry, dict) else None
    count = _count(entry.get("message_count")) if isinstance(entry, dict) else None
    if not isinstance(details, dict) or not isinstance(details.get("name"), str) or count is None:
        return None
    kind, encoding = kind_of(str(details.get("type"))), str(details.get("serialization_format") or CDR)
    qos = qos_of(details.get("offered_qos_profiles"))
    return BagTopic(details["name"], kind, Definition("", ""), qos, count, encoding)


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def file_name(path: str) -> str:
    """The last part of a path of this or another system."""
    return re.split(r"[/\\]", path)[-1]


def _short(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:60] + "..."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
