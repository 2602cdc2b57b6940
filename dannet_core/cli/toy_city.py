"""`dannet toy_city`: a procedural night drive with labels, for machines without a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dannet_core.data.toy_city import write_drive
from dannet_core.settings import option

DESCRIPTION = "Writes OUT/frames/*.png, OUT/labels/*.png (train ids) and OUT/drive.json."


@dataclass(frozen=True)
class Settings:
    """Options of `dannet toy_city`."""

    out: Path = option("folder to write to")
    drive: float = option("length of the drive in seconds", 10.0, limits=(0.1, 3600))
    fps: float = option("frames a second", 10.0, limits=(0.1, 120))
    seed: int = option("the same seed gives the same drive", 0, limits=(0, 2**31 - 1))
    size: tuple[int, int] = option("height and width in pixels", (540, 960))
    night: bool = option("night; --no-night for the same drive by day", True)


def run(settings: Settings) -> int:
    """Write the drive."""
    summary = write_drive(
        settings.out, settings.drive, settings.fps, settings.size, settings.seed, night=settings.night
    )
    print(summary)
    return 0
