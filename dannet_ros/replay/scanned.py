"""What the readers of storage files hand out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

Bytes: TypeAlias = bytes | memoryview
CDR: Final = "cdr"
"""How ROS 2 serialises; what is serialised otherwise (JSON, Protobuf, ROS 1) is counted, but not read."""
NO_KIND: Final = "no message type"
"""What stands for the type of a channel that names none."""
LATEST_NS: Final = 2**63 - 1
"""Times of recording beyond it, or before 1970, are damage."""


class Damage(Exception):  # noqa: N818  not an error of the caller's: it ends a reading
    """The file cannot be read any further."""


class Definition(NamedTuple):
    """A message definition: `ros2msg`, `ros2idl` or a form that is not read; empty where the file has none."""

    form: str
    text: str


class BagTopic(NamedTuple):
    """One message type on one topic.

    Attributes:
        name: of the topic.
        kind: message type; a topic may have several, each in an entry of its own.
        definition: of the message type.
        qos: offered profiles (rosbags' `Qos`).
        total: number of messages.
        encoding: how they are serialised.
        others: definitions of the same type that read otherwise, from other files or channels.
    """

    name: str
    kind: str
    definition: Definition
    qos: list[Any]
    total: int
    encoding: str = CDR
    others: tuple[Definition, ...] = ()


class RawMessage(NamedTuple):
    """One serialised message: topic, type, time of recording in nanoseconds, CDR bytes, which may be a view."""

    topic: str
    kind: str
    time_ns: int
    data: Bytes


class Scan(Protocol):
    """One storage file, read as far as it goes.

    Attributes:
        name: of the file.
        topics: what it holds.
        total: number of messages, also of topics that are not described.
        first_ns: time of the first message; None without messages.
    """

    name: str
    topics: list[BagTopic]
    total: int
    first_ns: int | None

    @property
    def problems(self) -> list[str]:
        """What could not be read so far, one line each."""

    def count_all(self) -> None:
        """Read record by record whatever was believed from an index."""

    def messages(self, names: Collection[str]) -> Iterator[RawMessage]:
        """CDR messages of the topics called ``names`` in the order of recording."""

    def close(self) -> None:
        """Close the file."""


def definition_of(form: str, text: str) -> Definition:
    """A definition whose form is known; an empty one otherwise."""
    return Definition({"omgidl": "ros2idl"}.get(form, form), text) if text else Definition("", "")


def kind_of(name: str) -> str:
    """A message type as ROS 2 spells it: ``pkg/msg/Name``, also of ``pkg/Name`` and ``pkg::msg::Name``."""
    parts = name.replace("::", "/").split("/")
    return "/".join([parts[0], "msg", parts[1]] if len(parts) == 2 else parts)


def merged(topics: Iterable[BagTopic]) -> list[BagTopic]:
    """One entry for each name, type and encoding, in the order of their first; messages are added up."""
    found: dict[tuple[str, str, str], BagTopic] = {}
    for topic in topics:
        key = topic.name, topic.kind, topic.encoding
        known = found.get(key)
        if known is None:
            found[key] = topic
            continue
        definitions = [one for one in (known.definition, *known.others, topic.definition, *topic.others) if one.text]
        first, *others = dict.fromkeys(definitions) or [known.definition]
        found[key] = known._replace(
            total=known.total + topic.total, qos=known.qos or topic.qos, definition=first, others=tuple(others)
        )
    return list(found.values())


def qos_of(profiles: object) -> list[Any]:
    """QoS profiles as rosbag2 writes them, text or YAML values; none when they cannot be read."""
    from rosbags.rosbag2.metadata import parse_qos

    try:
        found = list(parse_qos(profiles)) if profiles else []  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  edited YAML raises anything; the messages are worth more than it
        return []
    return found if all(_writable(one) for one in found) else []


def _writable(qos: Any) -> bool:
    times = (qos.deadline, qos.lifespan, qos.liveliness_lease_duration)
    numbers = [qos.depth, *(value for time in times for value in (time.sec, time.nsec))]
    return all(type(value) is int for value in numbers) and isinstance(qos.avoid_ros_namespace_conventions, bool)
