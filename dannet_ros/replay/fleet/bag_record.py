"""What lies beside a bag's result and says what it is the result of; without it nothing is taken for one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from dannet_core.atomic_files import write_whole
from dannet_ros.replay.bag_report import JSON_NAME, write_json
from dannet_ros.replay.fleet.fingerprint import Plain, differences, file_hash
from dannet_ros.replay.frame_scores import ModelScore
from dannet_ros.replay.one_bag import BAG_NAME, REPORT_NAME

RECORD_NAME: Final = "done.json"
FORMAT: Final = "dannet_ros evaluate_bag done 1"
_PICTURES: Final = "worst"
_SUFFIXES: Final = ((b"\x89PNG", ".png"), (b"RIFF", ".webp"), (b"", ".jpg"))


@dataclass(frozen=True)
class BagRecord:
    """A result's record.

    Attributes:
        bag: the path as it was given.
        bag_sha256: see `dannet_ros.replay.fleet.fingerprint.bag_hash`.
        bag_files: see `dannet_ros.replay.fleet.fingerprint.bag_files`.
        fingerprint: see `dannet_ros.replay.fleet.fingerprint.fingerprint`.
        files: SHA-256 of the result's files by name.
        worst: of each model its worst frames: ``index``, ``score``, and ``pictures``, files by title.
        ran: how: ``seconds``, ``machine`` (its name) and ``threads``.
    """

    bag: str
    bag_sha256: str
    bag_files: list[list[Any]]
    fingerprint: Plain
    files: dict[str, str] = field(default_factory=dict)
    worst: dict[str, list[Plain]] = field(default_factory=dict)
    ran: Plain = field(default_factory=dict)

    def of_folder(self, folder: Path) -> BagRecord:
        """The same, of the files that lie in ``folder``."""
        files = [folder / name for name in (JSON_NAME, REPORT_NAME)]
        return replace(self, files={file.name: file_hash(file) for file in files if file.is_file()})

    def write(self, folder: Path) -> None:
        """Put it beside the result; it appears whole or not at all."""
        write_json(folder / RECORD_NAME, {"format": FORMAT, **asdict(self)})

    def problem(self, folder: Path) -> str:
        """What of the result is no longer there or no longer as it was written; empty where all is."""
        for name, sha256 in self.files.items():
            try:
                if file_hash(folder / name) != sha256:
                    return f"{name} was changed"
            except OSError:
                return f"{name} is gone"
        wanted = self.fingerprint["settings"]["write_bag"] != "none"
        if wanted and not (folder / BAG_NAME / "metadata.yaml").is_file():
            return f"{BAG_NAME}/ is gone"
        missing = [file for frames in self.worst.values() for one in frames for file in one["pictures"].values()
                   if not (folder / file).is_file()]  # fmt: skip
        return f"{missing[0]} is gone" if missing else ""

    def why_not(self, folder: Path, bag: str, expected: Mapping[str, Any]) -> str:
        """Why it is not the result of ``bag`` with the fingerprint ``expected``, its bytes aside; empty if it is."""
        if self.bag != bag:
            return f"it is of {self.bag}"
        return "; ".join(differences(self.fingerprint, expected)) or self.problem(folder)


def read_record(folder: Path) -> BagRecord | None:
    """The record of a result; None where there is none that can be read."""
    try:
        content = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            return None
        record = BagRecord(**content)
        return record if _sound(record) else None
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return None


def is_free(folder: Path) -> bool:
    """Whether a result may be put there: nothing is, or a result."""
    if not folder.is_dir():
        return not folder.exists()
    return (folder / RECORD_NAME).is_file() or not any(folder.iterdir())


def write_pictures(folder: Path, models: Sequence[ModelScore]) -> dict[str, list[Plain]]:
    """Write the worst frames' pictures as files; gives `BagRecord.worst`."""
    (folder / _PICTURES).mkdir(exist_ok=True)
    return {
        model.name: [
            {"index": one.index, "score": one.score,
             "pictures": {title.text: _write_picture(folder, f"{number}_{one.index}_{place}", data)
                          for place, (title, data) in enumerate(one.pictures.items())}}
            for one in model.worst
        ]
        for number, model in enumerate(models)
    }  # fmt: skip


def _write_picture(folder: Path, name: str, data: bytes) -> str:
    suffix = next(suffix for magic, suffix in _SUFFIXES if data.startswith(magic))
    write_whole(folder / _PICTURES / f"{name}{suffix}", data)
    return f"{_PICTURES}/{name}{suffix}"


def _sound(record: BagRecord) -> bool:
    """Whether the values are of the types that are relied on."""
    return (
        isinstance(record.bag, str)
        and isinstance(record.ran, dict)
        and isinstance(record.fingerprint.get("settings"), dict)
        and JSON_NAME in record.files
        and all(isinstance(frame["pictures"], dict) for frames in record.worst.values() for frame in frames)
    )
