"""What the readers of damaged bags hand out, and the message types that follow from it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, Protocol


class Damage(Exception):  # noqa: N818  not an error of the caller's: it ends a reading
    """The file cannot be read any further."""


class Definition(NamedTuple):
    """A message definition: `ros2msg` or `ros2idl`, or empty where the file has none."""

    form: str
    text: str


class BagTopic(NamedTuple):
    """A topic: name, message type, its definition, offered QoS profiles (rosbags' `Qos`), number of messages."""

    name: str
    kind: str
    definition: Definition
    qos: list[Any]
    total: int


class RawMessage(NamedTuple):
    """One serialised message: topic, type, time of recording in nanoseconds, CDR bytes."""

    topic: str
    kind: str
    time_ns: int
    data: bytes


class Scan(Protocol):
    """One storage file, read as far as it goes.

    Attributes:
        topics: what it holds.
        problem: what ended the reading; empty when nothing did.
    """

    topics: list[BagTopic]
    problem: str

    def messages(self, names: Collection[str]) -> Iterator[RawMessage]:
        """Messages of the topics called ``names`` in the order of recording."""

    def close(self) -> None:
        """Close the file."""


def definition_of(form: str, text: str) -> Definition:
    """A definition whose form is known; an empty one otherwise."""
    return Definition({"omgidl": "ros2idl"}.get(form, form), text) if text else Definition("", "")


def qos_of(text: str) -> list[Any]:
    """QoS profiles as rosbag2 writes them; none when they cannot be read."""
    from rosbags.rosbag2.metadata import parse_qos

    # The YAML of a damaged file raises anything; the messages are worth more than it.
    with suppress(Exception):
        return list(parse_qos(text)) if text else []
    return []


def typestore_of(topics: Iterable[BagTopic]) -> Any:
    """A rosbags type store of the topics' own definitions, or ROS 2 Jazzy's where there are none."""
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

    types: dict[str, Any] = {}
    for topic in topics:
        form, text = topic.definition
        # A definition that cannot be parsed costs its own topic only.
        with suppress(Exception):
            types.update(get_types_from_idl(text) if form == "ros2idl" else get_types_from_msg(text, topic.kind))
    if not types:
        return get_typestore(Stores.ROS2_JAZZY)
    store = get_typestore(Stores.EMPTY)
    store.register(types)
    return store
