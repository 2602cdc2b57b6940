"""Positions to pack beside frames: a CSV of seconds since the first frame, latitude and longitude in degrees."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, NamedTuple

from dannet_core.errors import SettingsError

HEADER: Final = ("time_s", "latitude", "longitude")


class Position(NamedTuple):
    """One line: nanoseconds since the first frame, degrees, degrees."""

    time_ns: int
    latitude: float
    longitude: float


def read_positions(file: Path) -> list[Position]:
    """Read and check all lines.

    Raises:
        SettingsError: the file is missing, has another header, no line, or a line that is not a later position.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise SettingsError(f"{file}: cannot read the positions: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: not a text file, expected lines {','.join(HEADER)}") from error
    if not lines or tuple(name.strip() for name in lines[0].split(",")) != HEADER:
        got = lines[0][:80] if lines else "an empty file"
        raise SettingsError(f"{file}: got '{got}', expected the header {','.join(HEADER)}")
    positions: list[Position] = []
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            position = _position(line)
            if position is None or (positions and position.time_ns <= positions[-1].time_ns):
                raise SettingsError(f"{file} line {number}: got '{line[:80]}', expected {','.join(HEADER)}, in seconds "
                                    "later than the line before and degrees within 90 and 180")  # fmt: skip
            positions.append(position)
    if not positions:
        raise SettingsError(f"{file}: no position, expected lines {','.join(HEADER)}")
    return positions


def _position(line: str) -> Position | None:
    try:
        time_s, latitude, longitude = (float(part) for part in line.split(","))
    except ValueError:
        return None
    if not (math.isfinite(time_s) and abs(time_s) < 1e9 and abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    return Position(round(time_s * 1e9), latitude, longitude)
