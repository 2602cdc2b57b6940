"""What `pair_drives` says of its pairs: in the terminal and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dannet_core.atomic_files import write_whole
from dannet_core.settings import to_plain
from dannet_ros.replay.pairs.drive import Drive, words
from dannet_ros.replay.pairs.sources import ORDER, Source

RECORD_NAME: Final = "pair_drives.json"
_ENOUGH: Final = 2000
"""Places that are compared to say how far two drives are apart."""


def summary(out: Path, source: Source, drives: Sequence[Drive], records: Sequence[dict[str, Any]]) -> str:
    """How many pairs, how far apart, and what was left out for which reason."""
    lines = [_of_drive(drive, source.kind) for drive in drives]
    days = len({record["day"] for record in records})
    nights = sum(drive.total for drive in drives if drive.night)
    line = f"{out}: {len(records)} pairs of {nights} night frames, with {days} day pictures"
    if source.kind != ORDER:
        figures = _spread(records)
        line += (
            f"; apart: {figures['distance_m']['median']:.2f} m median, {figures['distance_m']['max']:.2f} m at most, "
            f"headings {figures['angle_deg']['max']:.0f} degrees at most"
        )
    return "\n".join([*lines, line])


def write_record(
    folder: Path,
    settings: Any,
    kind: str,
    drives: Sequence[Drive],
    found: tuple[Sequence[dict[str, Any]], Sequence[str]],
) -> None:
    """Write `pair_drives.json`.

    Args:
        folder: where.
        settings: of the verb.
        kind: of the positions.
        drives: all.
        found: the pairs' records, and warnings.

    Raises:
        OutputError: the folder cannot be written to.
    """
    records, warnings = found
    content = {
        "positions": kind,
        "settings": to_plain(settings),
        "warnings": list(warnings),
        "drives": [_plain(drive) for drive in drives],
        **({} if kind == ORDER else _spread(records)),
        "pairs": list(records),
    }
    write_whole(folder / RECORD_NAME, (json.dumps(content, indent=1) + "\n").encode())


def nothing_near(night: npt.NDArray[np.float64], day: npt.NDArray[np.float64]) -> str:
    """How far the drives are apart at least, about, in words; empty where a place is missing."""
    if not (len(night) and len(day)):
        return ""
    night, day = (places[:: max(1, len(places) // _ENOUGH)] for places in (night, day))
    nearest = min(float(np.linalg.norm(day - place, axis=1).min()) for place in night)
    return f" (the drives come within about {nearest:.0f} m)"


def _spread(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    values = {key: np.array([record[key] for record in records]) for key in ("distance_m", "angle_deg")}
    return {key: {"median": float(np.median(of)), "max": float(of.max())} for key, of in values.items()}


def _of_drive(drive: Drive, kind: str) -> str:
    line = f"{drive.bag.path}: {drive.when}, {drive.total} frames on {drive.topic}"
    if drive.fixes is not None:
        line += f", {len(drive.fixes.values)} of {drive.fixes.total} positions ({kind})"
        if +drive.fixes.left_out:
            line += f", positions left out: {words(drive.fixes.left_out)}"
    return f"{line}; frames left out: {words(drive.left_out)}"


def _plain(drive: Drive) -> dict[str, Any]:
    fixes = None
    if drive.fixes is not None:
        used, frame = len(drive.fixes.values), drive.fixes.frame
        fixes = {"used": used, "total": drive.fixes.total, "frame": frame, "left_out": dict(+drive.fixes.left_out)}
    return {
        "bag": str(drive.bag.path),
        "when": drive.when,
        "topic": drive.topic,
        "frames": drive.total,
        "left_out": dict(+drive.left_out),
        "positions": fixes,
    }
