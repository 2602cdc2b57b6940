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
from dannet_ros.replay.bag_reading import Bag, BagError, BagImage, open_bag
from dannet_ros.replay.evaluate_bag import camera_topics

DESCRIPTION = "Writes evenly picked pictures of a rosbag2 as PNG, named by stamp: frames for `dannet quantize`."


@dataclass(frozen=True)
class Settings:
    """Options of `bag_frames`."""

    bag: Path = option("folder of a rosbag2, or one of its files", positional=True)
    out: Path = option("folder for STAMP_IN_NANOSECONDS.png; new or empty")
    topic: str = option("Image or CompressedImage topic; unset: the only camera there is", "")
    most: int = option("pictures at most, evenly picked; 0 = all", 64, limits=(0, 10_000_000))


def run(settings: Settings) -> int:
    """Write them; says how many, and what of the bag could not be read."""
    out, written, damaged = settings.out, 0, 0
    with open_bag(settings.bag, lenient=True) as bag:
        topic = _topic(bag, settings.topic)
        _make_empty(out)
        for picture in _picked(bag, topic, settings.most):
            if isinstance(picture, ImageError):
                damaged += 1
                tqdm.write(f"left out: {picture}", file=sys.stderr)
                continue
            write_png(out / f"{picture.stamp_ns}.png", picture.rgb)
            written += 1
        for problem in bag.problems:
            print(f"{settings.bag}: {problem}", file=sys.stderr)
        total = bag.count(topic)
    if not written:
        raise BagError(f"{settings.bag}: no readable picture on {topic}")
    left_out = f", {damaged} left out" if damaged else ""
    print(f"{out}: {written} pictures of {total or 'an unknown number'} on {topic}{left_out}")
    return 0


def _topic(bag: Bag, wanted: str) -> str:
    topics = camera_topics(bag, [wanted] if wanted else [], ())
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


def _picked(bag: Bag, topic: str, most: int) -> Iterator[BagImage | ImageError]:
    """The pictures, or what is wrong with one; a damaged bag that does not know how many it has gives the first."""
    total = bag.count(topic)
    wanted = set(np.linspace(0, total - 1, most).round().astype(int)) if 0 < most < total else None
    raw = enumerate(tqdm(bag.raw([topic]), total=total or None, unit="frame", leave=False, disable=None))
    given = 0
    for index, message in raw:
        if wanted is not None and index not in wanted:
            continue
        if 0 < most <= given:
            return
        given += 1
        try:
            yield bag.image(message)
        except ImageError as error:
            yield error
