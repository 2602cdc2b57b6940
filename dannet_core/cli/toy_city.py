"""`dannet toy_city`: a procedural street by day and night with labels, for machines without a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dannet_core.data.toy_city import DataSetCounts, Trip, write_data_set, write_trip
from dannet_core.settings import option

DESCRIPTION = (
    "Writes OUT/cityscapes and OUT/dark_zurich, laid out as the real ones; with --drive a video-like drive instead: "
    "OUT/frames/*.png, OUT/labels/*.png (train ids), OUT/positions.csv, OUT/drive.json."
)


@dataclass(frozen=True)
class Settings:
    """Options of `dannet toy_city`."""

    out: Path = option("folder to write to")
    seed: int = option("the same seed gives the same pictures", 0, limits=(0, 2**31 - 1))
    size: tuple[int, int] = option("height and width in pixels", (270, 480))
    source: int = option("labelled day images to train on", 200, limits=(1, 100_000))
    pairs: int = option("day-night pairs to train on", 100, limits=(1, 100_000))
    validation: int = option("labelled images to validate on, of day and of night each", 40, limits=(1, 100_000))
    drive: float | None = option("seconds of a drive to write instead of a data set", None, limits=(0.1, 3600))
    fps: float = option("frames a second of the drive", 10.0, limits=(0.1, 120))
    trip: int = option(
        "0 = the steady drive; others are the same street at other speeds, with stops and other traffic", 0,
        limits=(0, 1000),
    )  # fmt: skip
    night: bool = option("the drive by night; --no-night for the same one by day", True)


def run(settings: Settings) -> int:
    """Write the data set or the drive."""
    if settings.drive is not None:
        trip = Trip(settings.seed, settings.trip)
        print(write_trip(settings.out, trip, settings.drive, settings.fps, settings.size, settings.night))
        return 0
    counts = DataSetCounts(settings.source, settings.validation, settings.pairs, settings.validation)
    written = write_data_set(settings.out, settings.seed, settings.size, counts)
    print(f"{settings.out}: " + ", ".join(f"{count} {name}" for name, count in written.items()))
    return 0
