"""Reads the image messages of a rosbag2 (or a ROS 1 bag) without a ROS installation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from dannet_core.errors import DannetError, ImageError, require
from dannet_core.pixels import Rgb

IMAGE: Final = "sensor_msgs/msg/Image"
COMPRESSED: Final = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO: Final = "sensor_msgs/msg/CameraInfo"
INSTALL_ROSBAGS: Final = "pip install 'dannet_ros[ros]'"


class BagError(DannetError):
    """A bag is missing or damaged, or does not hold what is asked of it."""


class BagImage(NamedTuple):
    """One picture of a bag.

    Attributes:
        topic: where it was recorded.
        stamp_ns: of its header, nanoseconds.
        header: std_msgs/Header as rosbags makes it.
        rgb: H x W x 3 uint8 RGB.
    """

    topic: str
    stamp_ns: int
    header: Any
    rgb: Rgb


class RawMessage(NamedTuple):
    """One serialised message: topic, type, time of recording in nanoseconds, CDR bytes."""

    topic: str
    kind: str
    time_ns: int
    data: bytes


class Bag:
    """An open bag; made by `open_bag`."""

    def __init__(self, reader: Any, path: Path) -> None:
        self._reader, self._path = reader, path

    @property
    def kinds(self) -> dict[str, str]:
        """Message type by topic."""
        return {connection.topic: connection.msgtype for connection in self._reader.connections}

    def count(self, topic: str) -> int:
        """Number of messages on ``topic``."""
        return sum(c.msgcount for c in self._reader.connections if c.topic == topic)

    def raw(self, topics: Sequence[str]) -> Iterator[RawMessage]:
        """Serialised messages of ``topics`` in the order of recording."""
        for connection, time_ns, data in self._reader.messages(self._connections(topics)):
            yield RawMessage(connection.topic, connection.msgtype, time_ns, data)

    def images(self, topics: Sequence[str] = ()) -> Iterator[BagImage]:
        """Pictures of ``topics`` (none: of every Image and CompressedImage topic) in the order of recording.

        Raises:
            BagError: no such topic, or a topic of another type.
        ImageError: a damaged picture.
        """
        from dannet_ros.conversions import compressed_to_rgb, image_to_rgb

        chosen = list(topics) or [topic for topic, kind in self.kinds.items() if kind in (IMAGE, COMPRESSED)]
        for topic in chosen:
            kind = self.kinds.get(topic)
            if kind is not None and kind not in (IMAGE, COMPRESSED):
                raise BagError(f"{self._path}: topic {topic} holds {kind}, expected {IMAGE} or {COMPRESSED}")
        if not chosen:
            raise BagError(f"{self._path}: no image topic: it holds {', '.join(self.kinds) or 'nothing'}")
        for connection, time_ns, data in self._reader.messages(self._connections(chosen)):
            message = self._reader.deserialize(data, connection.msgtype)
            stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            try:
                rgb = (compressed_to_rgb if connection.msgtype == COMPRESSED else image_to_rgb)(message)
            except ImageError as error:
                raise ImageError(f"{self._path}: {connection.topic} at {time_ns} ns: {error}") from error
            yield BagImage(connection.topic, stamp_ns, message.header, rgb)

    def _connections(self, topics: Sequence[str]) -> list[Any]:
        for topic in topics:
            if topic not in self.kinds:
                raise BagError(f"{self._path}: no topic {topic}: it holds {', '.join(self.kinds) or 'nothing'}")
        return [connection for connection in self._reader.connections if connection.topic in topics]


@contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Open a bag for reading.

    Raises:
        BagError: there is no bag, or it is damaged.
        MissingPackageError: rosbags is not installed.
    """
    highlevel = require("rosbags.highlevel", "read bags", INSTALL_ROSBAGS)
    path = Path(path)
    if not path.exists():
        raise BagError(f"{path}: no such bag")
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        raise BagError(f"{path}: not a bag: expected a folder with metadata.yaml, as `ros2 bag record` writes it")
    try:
        reader = highlevel.AnyReader([path])
        reader.open()
    except Exception as error:
        # Storage plugins raise whatever their format's parser raises: sqlite3, struct, yaml, zstd errors.
        raise BagError(
            f"{path}: damaged or not a bag: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error
    try:
        yield Bag(reader, path)
    finally:
        reader.close()


def read_images(path: Path, topics: Sequence[str] = ()) -> Iterator[BagImage]:
    """Pictures of a bag, see `Bag.images`; the bag is open while the iterator lives."""
    with open_bag(path) as bag:
        yield from bag.images(topics)
