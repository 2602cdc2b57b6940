"""The message types of a bag: from its own definitions, each by itself, so that a bad one costs its own topic only."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from dannet_ros.replay.scanned import CDR, BagTopic, Bytes, Definition

_IDL_PART: Final = "=" * 80 + "\nIDL: "


class MessageTypes:
    """Type stores by message type."""

    def __init__(self, topics: Iterable[BagTopic]) -> None:
        self._definitions: dict[str, dict[Definition, None]] = {}
        for topic in topics:
            if topic.encoding == CDR and topic.definition.text:
                known = self._definitions.setdefault(topic.kind, {})
                known.update(dict.fromkeys((topic.definition, *topic.others)))
        self._stores: dict[str, Any] = {}
        self._reasons: dict[str, str] = {}

    def store(self, kind: str) -> Any:
        """A rosbags type store that reads and describes ``kind``; None when there is none, see `reason`.

        A type without a usable definition is that of ROS 2 Jazzy, where that has it: bags of Humble hold none.
        """
        if kind not in self._stores:
            self._stores[kind] = self._make(kind)
        return self._stores[kind]

    def reason(self, kind: str) -> str:
        """Why there is no store for ``kind``."""
        return self._reasons.get(kind, "")

    def decode(self, data: Bytes, kind: str) -> Any:
        """A message as rosbags makes it.

        Raises:
            Exception: whatever rosbags' generated parsers raise on bytes that are not of the type.
            ValueError: the type is not known.
        """
        # Those of ROS 2 first: a bag may describe them wrongly, and the fields of pictures have never changed.
        store = standard if kind in (standard := _standard()).types else self.store(kind)
        if store is None:
            raise ValueError(self.reason(kind))
        return store.deserialize_cdr(data, kind)

    def _make(self, kind: str) -> Any:
        definitions, standard = self._definitions.get(kind, {}), _standard()
        self._reasons[kind] = f"no definition of {kind} in the bag"
        stores = [store for definition in definitions if (store := self._from(kind, definition)) is not None]
        if any(fields_in(store, kind) != fields_in(stores[0], kind) for store in stores[1:]):
            self._reasons[kind] = f"the bag describes {kind} in two ways"
            return None
        return stores[0] if stores else standard if kind in standard.types else None

    def _from(self, kind: str, definition: Definition) -> Any:
        # The second time with ROS 2's own types, for a definition that leaves out what everybody has.
        for base in ({}, dict(_standard().fielddefs)):
            try:
                return _checked(kind, definition, base)
            except Exception as error:  # noqa: BLE001  rosbags' parser and generated code raise anything
                self._reasons[kind] = f"no usable definition of {kind} in the bag: {_one_line(error)}"
        return None


@cache
def _standard() -> Any:
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_JAZZY)


def _checked(kind: str, definition: Definition, base: Any) -> Any:
    """A store of one definition and ``base``; raises unless it is whole, and is read again as it is written."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.EMPTY)
    store.register({**base, **_parsed(kind, definition)})
    text, _ = store.generate_msgdef(kind, ros_version=2)
    store.hash_rihs01(kind)
    again = get_types_from_msg(text, kind)
    if {name: _own(content[1]) for name, content in again.items()} != fields_in(store, kind):
        raise ValueError("it changes when it is written")
    return store


def fields_in(store: Any, kind: str) -> dict[str, list[Any]]:
    """Names and types of the fields of ``kind`` and of all types in it, from a rosbags type store."""
    inside: dict[str, tuple[str, str]] = {}
    store.gendefhash(kind, inside, ros_version=2)
    return {name: _own(store.fielddefs[name][1]) for name in (kind, *inside)}


def _own(fields: Any) -> list[Any]:
    """Without the one that stands in an empty message, and is not written."""
    return [field for field in fields if field[0] != "structure_needs_at_least_one_member"]


def _parsed(kind: str, definition: Definition) -> Any:
    from rosbags.typesys import get_types_from_idl, get_types_from_msg

    form, text = definition
    if form == "ros2msg":
        return get_types_from_msg(text, kind)
    if form != "ros2idl":
        raise ValueError(f"it is written as {form or 'nothing known'}")
    if not text.startswith(_IDL_PART):
        return get_types_from_idl(text)
    types: dict[str, Any] = {}
    for part in text.split("=" * 80 + "\n")[1:]:
        types.update(get_types_from_idl(part.partition("\n")[2]))
    return types


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__} {' '.join(str(error).split())[:120]}".strip()
