"""`ros2 run dannet_ros make_bag FOLDER|VIDEO --out BAG`: frames and labels to a rosbag2."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from dannet_core.errors import SettingsError
from dannet_core.settings import option
from dannet_ros.replay.bag_writing import BagWriter, Encoding, Topics, new_bag
from dannet_ros.replay.frame_files import FrameFiles
from dannet_ros.replay.position_file import Position, read_positions

DESCRIPTION = "Packs a folder of images or a video, with labels and positions if there are, into a rosbag2."


@dataclass(frozen=True)
class Settings:
    """Options of `make_bag`."""

    frames: Path = option("a folder of images (packed in the order of their names) or a video", positional=True)
    out: Path = option("folder of the new bag")
    fps: float = option("frames a second, from which the stamps follow", 30.0, limits=(0.01, 1000))
    labels: Path | None = option("folder of 8-bit train-id images named like the frames", None)
    positions: Path | None = option(
        "CSV of positions, lines time_s,latitude,longitude: seconds since the first frame, degrees", None
    )
    start: float = option("stamp of the first frame in seconds since 1970", 1.7e9, limits=(0, 2**31 - 1))
    storage: str = option("file format", "mcap", choices=("mcap", "sqlite3"))
    compressed: bool = option("write CompressedImage (JPEG) on IMAGE_TOPIC/compressed; labels stay raw", False)
    jpeg_quality: int = option("for --compressed", 95, limits=(1, 100))
    focal: float = option("focal length in pixels for CameraInfo; 0 = uncalibrated", 0.0, limits=(0, 1e6))
    image_topic: str = option("sensor_msgs/Image rgb8", Topics.image)
    camera_info_topic: str = option("sensor_msgs/CameraInfo", Topics.camera_info)
    label_topic: str = option("sensor_msgs/Image mono8 with --labels", Topics.label)
    position_topic: str = option("sensor_msgs/NavSatFix with --positions", Topics.position)
    frame_id: str = option("frame_id of all headers", Topics.frame_id)
    overwrite: bool = option("replace an existing bag", False)


def run(settings: Settings) -> int:
    """Pack everything; prints what was written."""
    topics = Topics(
        settings.image_topic,
        settings.camera_info_topic,
        settings.label_topic,
        settings.frame_id,
        settings.position_topic,
    )
    names = (topics.image, f"{topics.image}/compressed", topics.camera_info, topics.label, topics.position)
    if len(set(names)) < len(names):
        raise SettingsError(f"topics: got {', '.join(names)}, expected a name of its own for each")
    quality = settings.jpeg_quality if settings.compressed else None
    encoding = Encoding(settings.storage, quality, settings.focal)
    frames = FrameFiles(settings.frames, settings.labels)
    positions = [] if settings.positions is None else read_positions(settings.positions)
    start_ns = round(settings.start * 1000) * 1_000_000
    with new_bag(settings.out, topics, encoding, overwrite=settings.overwrite) as bag:
        waiting = deque(positions)
        for index, frame in enumerate(
            tqdm(frames, total=len(frames) or None, desc="make_bag", unit="frame", leave=False, disable=None)
        ):
            time_ns = round(index * 1e9 / settings.fps)
            # In the order of time, as a recorder would write them.
            while waiting and waiting[0].time_ns <= time_ns:
                _add_position(bag, waiting.popleft(), start_ns)
            bag.add(frame.rgb, frame.labels, start_ns + time_ns)
        for position in waiting:
            _add_position(bag, position, start_ns)
    size_mb = sum(f.stat().st_size for f in settings.out.iterdir()) / 1e6
    with_labels = "" if settings.labels is None else " with labels"
    with_positions = f", {len(positions)} positions" if positions else ""
    print(
        f"{settings.out}: {bag.frames} frames{with_labels} at {settings.fps:g} Hz{with_positions}, {settings.storage}, "
        f"{size_mb:.1f} MB"
    )
    return 0


def _add_position(bag: BagWriter, position: Position, start_ns: int) -> None:
    stamp_ns = start_ns + position.time_ns
    if not 0 <= stamp_ns < 2**31 * 10**9:
        raise SettingsError(
            f"positions: got {position.time_ns / 1e9:g} s, expected a stamp from 1970 to 2038 with --start"
        )
    bag.add_position(position.latitude, position.longitude, stamp_ns)
