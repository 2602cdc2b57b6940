"""Reads the image messages of a rosbag2 (or a ROS 1 bag) without a ROS installation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from dannet_core.errors import DannetError, ImageError, require
from dannet_core.pixels import Rgb
from dannet_ros.replay.bag_recovery import RecoveredBag
from dannet_ros.replay.scanned import BagTopic, Damage, Definition, RawMessage

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


class Bag:
    """An open bag; made by `open_bag`.

    Attributes:
        path: its folder, or its one storage file.
        problems: what could not be read, one line each; grows while messages are read.
        typestore: rosbags' store of the bag's own message definitions.
    """

    def __init__(self, source: _Source, path: Path, lenient: bool) -> None:
        self.path, self.typestore = path, source.typestore
        self._source, self._lenient = source, lenient
        self._problems: list[str] = []

    @property
    def problems(self) -> list[str]:
        """What could not be read so far."""
        return [*self._problems, *self._source.problems]

    @property
    def kinds(self) -> dict[str, str]:
        """Message type by topic."""
        return {topic.name: topic.kind for topic in self._source.topics}

    @property
    def topics(self) -> list[BagTopic]:
        """The topics with their QoS profiles."""
        return self._source.topics

    def note(self, problem: str) -> None:
        """Add to `problems`."""
        self._problems.append(problem)

    def count(self, topic: str) -> int:
        """Number of messages on ``topic``; 0 where a damaged bag does not tell."""
        return sum(one.total for one in self._source.topics if one.name == topic)

    def raw(self, topics: Sequence[str]) -> Iterator[RawMessage]:
        """Serialised messages of ``topics`` in the order of recording.

        Raises:
            BagError: no such topic, or, unless the bag was opened leniently, damage.
        """
        self._check(topics)
        messages = self._source.messages(topics)
        while True:
            try:
                message = next(messages, None)
            except Exception as error:
                # Storage plugins raise whatever their format's parser raises: sqlite3, struct, zstd errors.
                problem = f"damaged: {_one_line(error)}"
                if not self._lenient:
                    raise BagError(f"{self.path}: {problem}") from error
                self._problems.append(problem)
                return
            if message is None:
                return
            yield message

    def image(self, message: RawMessage) -> BagImage:
        """Decode one message of an Image or CompressedImage topic.

        Raises:
            ImageError: a damaged picture.
        """
        from dannet_ros.conversions import compressed_to_rgb, image_to_rgb

        try:
            decoded = self.decode(message)
            rgb = (compressed_to_rgb if message.kind == COMPRESSED else image_to_rgb)(decoded)
        except ImageError as error:
            raise ImageError(f"{self.path}: {message.topic} at {message.time_ns} ns: {error}") from error
        return BagImage(message.topic, stamp_ns(decoded.header), decoded.header, rgb)

    def decode(self, message: RawMessage) -> Any:
        """A message as rosbags makes it.

        Raises:
            ImageError: its bytes are not of its type.
        """
        try:
            return self._source.decode(message)
        except Exception as error:
            # rosbags' generated parsers raise struct, value and index errors on cut bytes.
            raise ImageError(f"damaged {message.kind} of {len(message.data)} bytes: {_one_line(error)}") from error

    def images(self, topics: Sequence[str] = ()) -> Iterator[BagImage]:
        """Pictures of ``topics`` (none: of every Image and CompressedImage topic) in the order of recording.

        Raises:
            BagError: no such topic, or a topic of another type.
            ImageError: a damaged picture.
        """
        for message in self.raw(self.image_topics(topics)):
            yield self.image(message)

    def image_topics(self, topics: Sequence[str] = ()) -> list[str]:
        """``topics`` if they are all of pictures; without any, all that are.

        Raises:
            BagError: no such topic, a topic of another type, or no image topic at all.
        """
        self._check(topics)
        for topic in topics:
            if self.kinds[topic] not in (IMAGE, COMPRESSED):
                raise BagError(
                    f"{self.path}: topic {topic} holds {self.kinds[topic]}, expected {IMAGE} or {COMPRESSED}"
                )
        chosen = list(topics) or [topic for topic, kind in self.kinds.items() if kind in (IMAGE, COMPRESSED)]
        if not chosen:
            raise BagError(f"{self.path}: no image topic: it holds {', '.join(self.kinds) or 'nothing'}")
        return chosen

    def _check(self, topics: Sequence[str]) -> None:
        for topic in topics:
            if topic not in self.kinds:
                raise BagError(f"{self.path}: no topic {topic}: it holds {', '.join(self.kinds) or 'nothing'}")


class _Source(Protocol):
    """Where messages come from."""

    typestore: Any
    topics: list[BagTopic]

    @property
    def problems(self) -> list[str]:
        """What could not be read so far."""

    def messages(self, names: Sequence[str]) -> Iterator[RawMessage]:
        """Serialised messages of the topics called ``names``."""

    def decode(self, message: RawMessage) -> Any:
        """Deserialise."""

    def close(self) -> None:
        """Close all files."""


class _Indexed:
    """A whole bag, through rosbags."""

    def __init__(self, path: Path) -> None:
        from rosbags.typesys import Stores, get_typestore

        highlevel = require("rosbags.highlevel", "read bags", INSTALL_ROSBAGS)
        # Bags of ROS 2 Humble hold no message definitions.
        self._reader = highlevel.AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
        self._reader.open()
        self.typestore = self._reader.typestore
        self.topics = [
            BagTopic(c.topic, c.msgtype, Definition("", ""), getattr(c.ext, "offered_qos_profiles", []), c.msgcount)
            for c in self._reader.connections
        ]

    @property
    def problems(self) -> list[str]:
        return []

    def messages(self, names: Sequence[str]) -> Iterator[RawMessage]:
        connections = [connection for connection in self._reader.connections if connection.topic in names]
        if connections:
            for connection, time_ns, data in self._reader.messages(connections):
                yield RawMessage(connection.topic, connection.msgtype, time_ns, data)

    def decode(self, message: RawMessage) -> Any:
        return self._reader.deserialize(message.data, message.kind)

    def close(self) -> None:
        self._reader.close()


class _Recovered(RecoveredBag):
    def decode(self, message: RawMessage) -> Any:
        return self.typestore.deserialize_cdr(message.data, message.kind)


@contextmanager
def open_bag(path: Path, *, lenient: bool = False) -> Iterator[Bag]:
    """Open a bag for reading: a folder as `ros2 bag record` writes it, or one storage file.

    Args:
        path: the bag.
        lenient: read a damaged bag as far as it goes; `Bag.problems` then says what is missing.

    Raises:
        BagError: there is no bag, or it is damaged; leniently, only when nothing at all can be read.
        MissingPackageError: rosbags is not installed.
    """
    require("rosbags.highlevel", "read bags", INSTALL_ROSBAGS)
    path = Path(path)
    if not path.exists():
        raise BagError(f"{path}: no such bag")
    source, problem = _open(path, lenient)
    try:
        bag = Bag(source, path, lenient)
        if problem:
            bag.note(problem)
        yield bag
    finally:
        source.close()


def _open(path: Path, lenient: bool) -> tuple[_Source, str]:
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        reason = "no metadata.yaml"
        failure = BagError(f"{path}: not a bag: expected a folder with metadata.yaml, as `ros2 bag record` writes it")
    else:
        try:
            return _Indexed(path), ""
        except Exception as error:  # noqa: BLE001  storage plugins raise whatever their format's parser raises
            reason = _one_line(error)
            failure = BagError(f"{path}: damaged or not a bag: {reason}")
    if not lenient:
        raise failure
    try:
        return _Recovered(path), f"not whole: {reason}; read record by record"
    except Damage:
        raise failure from None


def stamp_ns(header: Any) -> int:
    """A header's stamp in nanoseconds."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def read_images(path: Path, topics: Sequence[str] = ()) -> Iterator[BagImage]:
    """Pictures of a bag, see `Bag.images`; the bag is open while the iterator lives."""
    with open_bag(path) as bag:
        yield from bag.images(topics)
