"""`ros2 run dannet_ros pair_drives DAY_BAG NIGHT_BAG --out TARGET`: day-night pairs of two drives, to train on."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from dannet_core.atomic_files import require_new_folder, whole_folder
from dannet_core.errors import SettingsError
from dannet_core.settings import option
from dannet_ros.replay.bag_reading import Bag, BagError, open_bag, refuse_ros1
from dannet_ros.replay.cameras import camera_topics
from dannet_ros.replay.pairs.drive import Drive, locate, plane_of, read_drive, times_s
from dannet_ros.replay.pairs.fixes import FixRules, NoChainError, open_reader
from dannet_ros.replay.pairs.matching import DayFrames, Match, MatchRules, match, match_in_order
from dannet_ros.replay.pairs.pair_files import SHEET_NAME, FramePair, PairFiles
from dannet_ros.replay.pairs.pair_report import RECORD_NAME, nothing_near, summary, write_record
from dannet_ros.replay.pairs.sources import KINDS, ODOMETRY, ORDER, TF, Source, choose_source
from dannet_ros.replay.pairs.track import TrackRules
from dannet_ros.replay.transports import base_of

DESCRIPTION = (
    "Pairs every night frame with the nearest day frame of like heading, and writes the pairs as Dark Zurich is laid "
    "out, for `dannet train --data.target OUT`, with a contact sheet to look at first. Needs no ROS installation."
)
ORDER_STEP_S: Final = 1.0
"""Between kept night frames where no distance is known; Dark Zurich has one frame a second."""


@dataclass(frozen=True)
class Settings:
    """Options of `pair_drives`."""

    out: Path = option("folder to write; new or empty")
    bags: list[Path] = option(
        "DAY_BAG NIGHT_BAG, in this order; for more drives --day and --night", [], positional=True
    )
    day: list[Path] = option("bags by day, instead of the two above", [])
    night: list[Path] = option("bags by night, likewise", [])
    topics: list[str] = option("image topic: one for all bags, or several of which each bag has one; unset: the only "
                               "camera there is", [])  # fmt: skip
    positions: str = option("where positions come from; auto: the first kind that all bags have, else order, by the "
                            "share of the drive that has passed", "auto", choices=("auto", *KINDS, ORDER))  # fmt: skip
    position_topics: list[str] = option("topic of NavSatFix or Odometry: one for all bags, or several of which each "
                                        "bag has one", [])  # fmt: skip
    map_frame: str = option(
        "tf: the frame that stays; unset: the first of map, world, earth, utm, or odom at the top", ""
    )
    base_frame: str = option("tf: the vehicle's frame; unset: base_link, else base_footprint", "")
    max_distance: float = option("metres between the places of a pair", 10.0, limits=(0.01, 1000))
    max_angle: float = option("degrees between the directions of travel of a pair", 30.0, limits=(0, 180))
    min_distance: float = option("metres between a kept night frame and the next; thins standstills", 5.0,
                                 limits=(0, 10_000))  # fmt: skip
    max_gap: float = option("seconds between two positions, above which frames in between are left out", 2.5,
                            limits=(0.01, 3600))  # fmt: skip
    max_speed: float = option("metres a second between two positions, above which they jumped", 70.0,
                              limits=(0.1, 10_000))  # fmt: skip
    max_error: float = option("metres of standard deviation above which a position that says it is left out", 10.0,
                              limits=(0.001, 10_000))  # fmt: skip
    min_motion: float = option("metres over which the direction of travel is measured", 3.0, limits=(0.01, 1000))
    sheet: int = option("pairs on the contact sheet", 24, limits=(0, 200))

    @property
    def match_rules(self) -> MatchRules:
        """What makes a pair."""
        return MatchRules(self.max_distance, self.max_angle, self.min_distance)


def run(settings: Settings) -> int:
    """Read the drives, match, write everything or nothing, say what came out."""
    days, nights = _roles(settings)
    require_new_folder(settings.out)
    with ExitStack() as stack:
        bags = [stack.enter_context(open_bag(path, lenient=True)) for path in (*days, *nights)]
        cameras = _cameras(bags, settings.topics)
        source, drives = _read_drives(bags, cameras, len(days), settings)
        pairs = _match_all(drives, source, settings)
        warnings = _warnings(source, drives)
        with whole_folder(settings.out) as folder:
            files = PairFiles(folder, drives, settings.sheet)
            records = files.write(pairs)
            warnings += _too_bright(files, drives)
            write_record(folder, settings, source.kind, drives, (records, warnings))
        for line in warnings:
            print(f"warning: {line}", file=sys.stderr)
        print(summary(settings.out, source, drives, records))
    names = [RECORD_NAME, *([SHEET_NAME] if settings.sheet else [])]
    print(f"wrote {', '.join(str(settings.out / name) for name in names)}: look before you train")
    return 0


def _roles(settings: Settings) -> tuple[list[Path], list[Path]]:
    """The bags by day and by night: told, never guessed."""
    days, nights = settings.day, settings.night
    if settings.bags and (days or nights):
        raise SettingsError(f"bags: got {settings.bags[0]} beside --day or --night, expected one way of naming them")
    if settings.bags and len(settings.bags) != 2:
        raise SettingsError(f"bags: got {len(settings.bags)}, expected DAY_BAG NIGHT_BAG; for more: "
                            "--day BAG... --night BAG...")  # fmt: skip
    if settings.bags:
        days, nights = settings.bags[:1], settings.bags[1:]
    if not (days and nights):
        raise SettingsError("DAY_BAG NIGHT_BAG are required, or --day BAG... and --night BAG...")
    seen: dict[Path, Path] = {}
    for path in (*days, *nights):
        refuse_ros1(path)
        real = path.resolve()
        same = next((one for one in seen if _one_recording(one, real)), None)
        if same is not None:
            other = seen[same]
            also = "" if other == path else f", as {other} too"
            raise SettingsError(f"bags: got {path} twice{also}, expected different drives")
        seen[real] = path
    return days, nights


def _one_recording(one: Path, other: Path) -> bool:
    """A bag's storage file is the same recording as the folder it lies in."""
    return one == other or (one.is_file() and one.parent == other) or (other.is_file() and other.parent == one)


def _cameras(bags: Sequence[Bag], wanted: Sequence[str]) -> list[str]:
    """The camera of each bag.

    Raises:
        BagError: none or several in a bag, or not the same camera in all.
    """
    cameras = []
    for bag in bags:
        named = [topic for topic in dict.fromkeys(wanted) if topic in bag.kinds]
        if wanted and not named:
            raise BagError(f"{bag.path}: no topic {' or '.join(wanted)}: it holds {bag.holds()}")
        found = camera_topics(bag, named, ())
        if len(found) > 1:
            raise BagError(f"{bag.path}: got several cameras, expected one: pass --topics, of {', '.join(found)}")
        cameras += found
    names = list(dict.fromkeys(map(base_of, cameras)))
    if len(names) > 1 and not wanted:
        raise BagError(f"bags: got the cameras {', '.join(names)}, expected one name in all: pass --topics "
                       f"{' '.join(dict.fromkeys(cameras))} if they look the same way")  # fmt: skip
    return cameras


def _read_drives(
    bags: Sequence[Bag], cameras: Sequence[str], days: int, settings: Settings
) -> tuple[Source, list[Drive]]:
    source = choose_source(bags, settings.positions, settings.position_topics)
    try:
        return source, _read(bags, cameras, days, source, settings)
    except NoChainError as error:
        if settings.positions != "auto" or settings.map_frame or settings.base_frame:
            raise
        # Most bags have transforms, of the sensors' places on the vehicle if of nothing else.
        source = Source(ORDER, ((),) * len(bags), str(error))
        return source, _read(bags, cameras, days, source, settings)


def _read(bags: Sequence[Bag], cameras: Sequence[str], days: int, source: Source, settings: Settings) -> list[Drive]:
    rules = FixRules(settings.max_error, settings.max_gap, settings.map_frame, settings.base_frame)
    drives = []
    for number, (bag, camera, topics) in enumerate(zip(bags, cameras, source.topics, strict=True)):
        reader = None if source.kind == ORDER else open_reader(bag, source.kind, rules)
        drives.append(read_drive(bag, camera, number >= days, topics, reader))
    if source.kind == ORDER:
        return drives
    track = TrackRules(settings.max_gap, settings.max_speed, settings.min_motion)
    plane = plane_of(drives, source.kind)
    for drive in drives:
        locate(drive, plane, track)
    _require_one_frame(drives)
    return drives


def _require_one_frame(drives: Sequence[Drive]) -> None:
    frames = {drive.fixes.frame: drive.bag.path for drive in drives if drive.fixes is not None}
    if len(frames) > 1:
        where = ", ".join(f"'{frame}' ({path})" for frame, path in frames.items())
        raise BagError(f"positions: got the frames {where}, expected one for all drives: their metres differ")


def _match_all(drives: Sequence[Drive], source: Source, settings: Settings) -> list[FramePair]:
    days, nights = ([drive for drive in drives if drive.night is night] for night in (False, True))
    if source.kind == ORDER:
        return _in_order(days, nights, source)
    owners = [(drive, at) for drive in days for at in range(len(drive.numbers))]
    if not owners:
        raise BagError(f"{days[0].bag.path}: no day frame has a place: {_why(days)}")
    places = np.concatenate([drive.points for drive in days])
    day = DayFrames(places, np.concatenate([drive.headings for drive in days]), settings.match_rules)
    pairs = []
    for night in nights:
        found, left_out = match(night.points, night.headings, day, settings.match_rules)
        night.left_out += left_out
        if not found:
            raise BagError(f"{night.bag.path}: no pair among {night.total} night frames: {_why([night])}"
                           f"{nothing_near(night.points, places)}")  # fmt: skip
        pairs += [_pair(night, *owners[one.day], one) for one in found]
    return pairs


def _in_order(days: Sequence[Drive], nights: Sequence[Drive], source: Source) -> list[FramePair]:
    if len(days) != 1 or len(nights) != 1:
        why = f": {source.warning}" if source.warning else ""
        raise BagError(f"positions: order pairs one day with one night bag, got {len(days)} and {len(nights)}{why}")
    found, left_out = match_in_order(times_s(nights[0]), times_s(days[0]), ORDER_STEP_S)
    nights[0].left_out += left_out
    return [_pair(nights[0], days[0], one.day, one) for one in found]


def _pair(night: Drive, day: Drive, day_at: int, found: Match) -> FramePair:
    return FramePair(night, found.night, day, day_at, found.distance_m, found.angle_deg)


def _why(drives: Sequence[Drive]) -> str:
    counts: Counter[str] = sum((drive.left_out for drive in drives), Counter())
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common() if count)


def _warnings(source: Source, drives: Sequence[Drive]) -> list[str]:
    lines = [f"{drive.bag.path}: {line}" for drive in drives for line in (*drive.bag.problems, *drive.bag.notes)]
    lines += [line for drive in drives for line in drive.notes]
    if source.kind == ORDER:
        why = f"{source.warning}: " if source.warning else ""
        lines.append(f"{why}paired by the share of each drive's time that has passed: only right if both went the same "
                     "way at the same pace; distances are not known, standstills not thinned")  # fmt: skip
    frames = {drive.fixes.frame for drive in drives if drive.fixes is not None}
    if source.kind in (ODOMETRY, TF) and any("odom" in frame for frame in frames):
        lines.append(f"positions are in the frame '{', '.join(frames)}', which as a rule begins anew with every start "
                     "(REP 105): pairs are only right if all drives began at one place and drifted little")  # fmt: skip
    return lines


def _too_bright(files: PairFiles, drives: Sequence[Drive]) -> list[str]:
    day, night = (files.brightness(which, drives) for which in (False, True))
    if day >= night:
        return []
    return [f"the day's pictures are darker ({day:.0f} of 255) than the night's ({night:.0f}): are the bags swapped?"]
