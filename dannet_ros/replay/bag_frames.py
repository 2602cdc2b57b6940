"""`ros2 run dannet_ros bag_frames BAG --out FOLDER`: pictures of a recorded drive as PNG files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dannet_core.errors import ImageError, OutputError
from dannet_core.pixels import write_png
from dannet_core.settings import option
from dannet_core.tone import DEFAULT_TONE, MAX_DEPTH, TONES, ToneSettings
from dannet_ros.replay.bag_reading import PICTURES, Bag, BagError, BagImage, open_bag
from dannet_ros.replay.cameras import camera_topics

DESCRIPTION = "Writes evenly picked pictures of a rosbag2 as PNG, named by stamp: frames for `dannet quantize`."


@dataclass(frozen=True)
class Settings:
    """Options of `bag_frames`."""

    bag: Path = option("folder of a rosbag2, or one of its files", positional=True)
    out: Path = option("folder for STAMP_IN_NANOSECONDS.png, or STAMP_messageN.png of a stamp that was there; empty")
    topic: str = option("Image or CompressedImage topic; unset: the only camera there is", "")
    tone: str = option("samples of 16 bits to 8, as the node's", DEFAULT_TONE, choices=TONES)
    bit_depth: int = option("of their bits, how many count, 9 to 16; 0 = found as they come", 0, limits=(0, MAX_DEPTH))
    most: int = option("pictures at most, evenly picked; 0 = all", 64, limits=(0, 10_000_000))


def run(settings: Settings) -> int:
    """Write them; says how many, and what of the bag could not be read."""
    out, damaged = settings.out, 0
    written: set[str] = set()
    with open_bag(settings.bag, lenient=True, tone=ToneSettings(settings.tone, settings.bit_depth)) as bag:
        topic = _topic(bag, settings.topic)
        _make_empty(out)
        for index, picture in _picked(bag, topic, settings.most):
            if isinstance(picture, ImageError):
                damaged += 1
                tqdm.write(f"left out: {picture}", file=sys.stderr)
                continue
            name = _name(picture.stamp_ns, index, written)
            write_png(out / name, picture.rgb)
            written.add(name)
        for line in (*bag.problems, *bag.notes, *bag.tones()):
            print(f"{settings.bag}: {line}", file=sys.stderr)
        total = bag.count(topic, PICTURES)
    if not written:
        raise BagError(f"{settings.bag}: no readable picture on {topic}")
    repeated = sum("_" in name for name in written)
    words = f"{len(written)} pictures of {total or 'an unknown number'} on {topic}"
    words += f", {damaged} left out" if damaged else ""
    words += f"; {repeated} have a stamp that was there: named STAMP_messageN.png" if repeated else ""
    print(f"{out}: {words}")
    return 0


def _name(stamp_ns: int, index: int, taken: set[str]) -> str:
    """Stamps may repeat or stand still; the number of a message does not."""
    name = f"{stamp_ns}.png"
    return name if name not in taken else f"{stamp_ns}_message{index}.png"


def _topic(bag: Bag, wanted: str) -> str:
    topics = camera_topics(bag, [wanted] if wanted else [], (), "--topic")
    if len(topics) > 1:
        raise BagError(f"{bag.path}: got several cameras, expected one: pass --topic, of {', '.join(topics)}")
    return topics[0]


def _make_empty(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise OutputError(f"{folder}: not empty, expected a new folder: name another one")
    except OSError as error:
        raise OutputError(f"{folder}: cannot make the folder: {error.strerror}") from error


def _picked(bag: Bag, topic: str, most: int) -> Iterator[tuple[int, BagImage | ImageError]]:
    """The pictures by number, or what is wrong with one; where fewer come than were counted, fewer are picked."""
    total = bag.count(topic, PICTURES)
    wanted = set(np.linspace(0, total - 1, most).round().astype(int)) if 0 < most < total else None
    raw = enumerate(tqdm(bag.pictures([topic]), total=total or None, unit="frame", leave=False, disable=None))
    given = 0
    for index, message in raw:
        if wanted is not None and index not in wanted:
            continue
        if 0 < most <= given:
            return
        given += 1
        try:
            yield index, bag.image(message)
        except ImageError as error:
            yield index, error
