"""Reads the image messages of a rosbag2 (or a ROS 1 bag) without a ROS installation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from dannet_core.errors import DannetError, ImageError, require
from dannet_core.pixels import Rgb
from dannet_core.tone import ToneMapper, ToneSettings
from dannet_ros.depth_topics import why_not_light
from dannet_ros.replay.bag_metadata import NAME
from dannet_ros.replay.bag_storage import StoredBag
from dannet_ros.replay.message_types import MessageTypes
from dannet_ros.replay.packed_image import is_packed, unpack_image
from dannet_ros.replay.scanned import CDR, BagTopic, Damage, Definition, RawMessage

IMAGE: Final = "sensor_msgs/msg/Image"
COMPRESSED: Final = "sensor_msgs/msg/CompressedImage"
PICTURES: Final = (IMAGE, COMPRESSED)
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
        problems: what is missing or could not be read, one line each; grows while messages are read.
        notes: what else a reader of the results should know, one line each.
        types: its message types.
    """

    def __init__(self, source: _Source, path: Path, lenient: bool, tone: ToneSettings | None = None) -> None:
        self._tone, self._tones = tone, dict[str, ToneMapper]()
        self.path, self.types = path, MessageTypes(source.topics)
        self.notes: list[str] = list(source.notes)
        self._source, self._lenient = source, lenient
        self._problems: list[str] = []

    @property
    def problems(self) -> list[str]:
        """What is missing or could not be read so far, one line each, whatever names the bag has."""
        return [_one_line(problem) for problem in (*self._source.problems, *self._problems)]

    @property
    def topics(self) -> list[BagTopic]:
        """What the bag holds: an entry for each message type of each topic."""
        return self._source.topics

    @property
    def kinds(self) -> dict[str, str]:
        """Message type by topic; of a topic with several types the pictures', or the first."""
        found: dict[str, str] = {}
        for topic in self._cdr():
            if found.get(topic.name) not in PICTURES and (topic.kind in PICTURES or topic.name not in found):
                found[topic.name] = topic.kind
        return found

    def count(self, topic: str, kinds: Collection[str] = ()) -> int:
        """Number of messages on ``topic``, all or those of ``kinds``."""
        return sum(one.total for one in self._cdr() if one.name == topic and (not kinds or one.kind in kinds))

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
            except Exception as error:  # noqa: BLE001  parsers raise whatever they like: sqlite3, struct, zstd errors
                self._damaged(_one_line(error), error)
                return
            if not self._lenient and self.problems:
                self._damaged(self.problems[0], None)
            if message is None:
                return
            yield message

    def pictures(self, topics: Sequence[str]) -> Iterator[RawMessage]:
        """The Image and CompressedImage messages among `raw`."""
        return (message for message in self.raw(topics) if message.kind in PICTURES)

    def image(self, message: RawMessage) -> BagImage:
        """Decode one Image or CompressedImage, also one of the zstd transport.

        Raises:
            ImageError: a damaged picture.
        """
        from dannet_ros.conversions import compressed_to_rgb, image_to_rgb

        try:
            decoded = self.decode(message)
            tone = self._tone_of(message.topic)
            if message.kind == COMPRESSED and not is_packed(decoded):
                rgb = compressed_to_rgb(decoded, tone)
            else:
                rgb = image_to_rgb(self.unpacked(decoded, message.kind), tone)
        except ImageError as error:
            raise ImageError(f"{self.path}: {message.topic} at {message.time_ns} ns: {error}") from error
        return BagImage(message.topic, stamp_ns(decoded.header), decoded.header, rgb)

    def _tone_of(self, topic: str) -> ToneMapper:
        if topic not in self._tones:
            settings = self._tone or ToneSettings()
            self._tones[topic] = ToneMapper(settings, not_light=why_not_light(topic, settings))
        return self._tones[topic]

    def tones(self) -> list[str]:
        """What was done to samples of 16 bits so far, one line for each topic that has them."""
        return [f"{topic}: {tone.described}" for topic, tone in self._tones.items() if tone.described]

    def unpacked(self, decoded: Any, kind: str) -> Any:
        """A message's Image where the zstd transport packed one, or the message itself.

        Raises:
            ImageError: damaged.
        """
        if kind != COMPRESSED or not is_packed(decoded):
            return decoded
        return unpack_image(decoded, lambda data: self.types.decode(data, IMAGE))

    def decode(self, message: RawMessage) -> Any:
        """A message as rosbags makes it.

        Raises:
            ImageError: its bytes are not of its type.
        """
        try:
            return self._source.decode(message, self.types)
        except Exception as error:
            # rosbags' generated parsers raise struct, value and index errors on cut bytes.
            raise ImageError(f"damaged {message.kind} of {len(message.data)} bytes: {_one_line(error)}") from error

    def images(self, topics: Sequence[str] = ()) -> Iterator[BagImage]:
        """Pictures of ``topics`` (none: of every Image and CompressedImage topic) in the order of recording.

        Raises:
            BagError: no such topic, or a topic of another type.
            ImageError: a damaged picture.
        """
        for message in self.pictures(self.image_topics(topics)):
            yield self.image(message)

    def image_topics(self, topics: Sequence[str] = ()) -> list[str]:
        """``topics`` if they are all of pictures; without any, all that are.

        Raises:
            BagError: no such topic, a topic of another type, or no image topic at all.
        """
        self._check(topics)
        kinds = self.kinds
        for topic in topics:
            if kinds[topic] not in PICTURES:
                raise BagError(f"{self.path}: topic {topic} holds {kinds[topic]}, expected {IMAGE} or {COMPRESSED}")
        chosen = list(topics) or [topic for topic, kind in kinds.items() if kind in PICTURES]
        if not chosen:
            raise BagError(f"{self.path}: no image topic: it holds {self.holds()}")
        return chosen

    def holds(self) -> str:
        """Names of its topics, in words; with types where there is something else than CDR."""
        others = [f"{one.name} ({one.kind} as {one.encoding})" for one in self.topics if one.encoding != CDR]
        return ", ".join([*self.kinds, *others]) or "nothing"

    def _cdr(self) -> Iterator[BagTopic]:
        return (topic for topic in self._source.topics if topic.encoding == CDR)

    def _check(self, topics: Sequence[str]) -> None:
        kinds = self.kinds
        for topic in topics:
            if topic not in kinds:
                raise BagError(f"{self.path}: no topic {topic}: it holds {self.holds()}")

    def _damaged(self, why: str, error: Exception | None) -> None:
        problem = f"damaged: {why}"
        if not self._lenient:
            raise BagError(f"{self.path}: {problem}") from error
        self._problems.append(problem)


class _Source(Protocol):
    """Where messages come from."""

    topics: list[BagTopic]
    notes: list[str]

    @property
    def problems(self) -> list[str]:
        """What is missing or could not be read so far."""

    def messages(self, names: Sequence[str]) -> Iterator[RawMessage]:
        """Serialised messages of the topics called ``names``."""

    def decode(self, message: RawMessage, types: MessageTypes) -> Any:
        """Deserialise."""

    def close(self) -> None:
        """Close all files."""


class _Ros1:
    """A bag of ROS 1, through rosbags."""

    def __init__(self, path: Path) -> None:
        highlevel = require("rosbags.highlevel", "read bags", INSTALL_ROSBAGS)
        self._reader = highlevel.AnyReader([path])
        self._reader.open()
        self.notes: list[str] = []
        self.topics = [
            BagTopic(c.topic, c.msgtype, Definition("", ""), [], c.msgcount) for c in self._reader.connections
        ]

    @property
    def problems(self) -> list[str]:
        return []

    def messages(self, names: Sequence[str]) -> Iterator[RawMessage]:
        connections = [connection for connection in self._reader.connections if connection.topic in names]
        if connections:
            for connection, time_ns, data in self._reader.messages(connections):
                yield RawMessage(connection.topic, connection.msgtype, time_ns, data)

    def decode(self, message: RawMessage, types: MessageTypes) -> Any:  # noqa: ARG002  it has its own
        return self._reader.deserialize(message.data, message.kind)

    def close(self) -> None:
        self._reader.close()


class _Stored(StoredBag):
    def decode(self, message: RawMessage, types: MessageTypes) -> Any:
        return types.decode(message.data, message.kind)


@contextmanager
def open_bag(path: Path, *, lenient: bool = False, tone: ToneSettings | None = None) -> Iterator[Bag]:
    """Open a bag for reading: a folder as `ros2 bag record` writes it, or one storage file.

    Args:
        path: the bag.
        lenient: read a damaged bag as far as it goes; `Bag.problems` then says what is missing.
        tone: what becomes of samples of 16 bits, topic by topic; None = the defaults.

    Raises:
        BagError: there is no bag, or it is damaged; leniently, only when nothing at all can be read.
        MissingPackageError: rosbags is not installed.
    """
    require("rosbags.highlevel", "read bags", INSTALL_ROSBAGS)
    path = Path(path)
    if not path.exists():
        raise BagError(f"{path}: no such bag")
    source = _open(path)
    try:
        if source.problems and not lenient:
            raise _failure(path, _one_line("; ".join(source.problems)))
        yield Bag(source, path, lenient, tone)
    finally:
        source.close()


def refuse_ros1(path: Path) -> None:
    """Refuse a bag of ROS 1, whose messages are serialised otherwise.

    Raises:
        BagError: it is one.
    """
    if path.suffix == ".bag":
        raise BagError(f"{path}: a ROS 1 bag: convert it: rosbags-convert --src {path} --dst NEW_BAG")


def _open(path: Path) -> _Source:
    try:
        return _Ros1(path) if path.suffix == ".bag" and path.is_file() else _Stored(path)
    except Damage as damage:
        raise _failure(path, _one_line(damage)) from None
    except Exception as error:
        # The parsers of a format raise whatever they like: sqlite3, struct, zstd errors.
        raise _failure(path, _one_line(error)) from error


def _failure(path: Path, reason: str) -> BagError:
    if path.is_dir() and not (path / NAME).is_file():
        return BagError(f"{path}: not a bag: expected a folder with {NAME}, as `ros2 bag record` writes it ({reason})")
    return BagError(f"{path}: damaged or not a bag: {reason}")


def stamp_ns(header: Any) -> int:
    """A header's stamp in nanoseconds."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def _one_line(said: Exception | str) -> str:
    return " ".join(str(said).split()) or type(said).__name__


def read_images(path: Path, topics: Sequence[str] = ()) -> Iterator[BagImage]:
    """Pictures of a bag, see `Bag.images`; the bag is open while the iterator lives."""
    with open_bag(path) as bag:
        yield from bag.images(topics)
