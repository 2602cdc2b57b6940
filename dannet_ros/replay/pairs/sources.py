"""Which topics of the drives say where the vehicle was: the same kind in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dannet_ros.replay.bag_reading import Bag, BagError

NAVSAT: Final = "navsat"
ODOMETRY: Final = "odometry"
TF: Final = "tf"
ORDER: Final = "order"
KINDS: Final = {
    NAVSAT: "sensor_msgs/msg/NavSatFix",
    ODOMETRY: "nav_msgs/msg/Odometry",
    TF: "tf2_msgs/msg/TFMessage",
}
"""Message type by kind, in the order of preference."""


@dataclass(frozen=True)
class Source:
    """Where positions come from.

    Attributes:
        kind: a key of `KINDS`, or ``order``: from nowhere.
        topics: of each bag.
        warning: what a user has to know; empty without.
    """

    kind: str
    topics: tuple[tuple[str, ...], ...]
    warning: str = ""


def choose_source(bags: Sequence[Bag], kind: str, named: Sequence[str]) -> Source:
    """Choose.

    Args:
        bags: the drives.
        kind: a key of `KINDS`, ``order``, or ``auto`` for the first kind that every drive has.
        named: topics to take; each bag has to have one of them.

    Raises:
        BagError: a drive lacks what was asked for, or has several topics of a kind.
    """
    if named:
        return _named(bags, named)
    if kind == ORDER:
        return Source(ORDER, ((),) * len(bags))
    for one in KINDS if kind == "auto" else (kind,):
        topics = [_topics(bag, one) for bag in bags]
        if all(topics):
            return Source(one, tuple(_unambiguous(bag, one, of) for bag, of in zip(bags, topics, strict=True)))
    if kind != "auto":
        without = next(bag for bag in bags if not _topics(bag, kind))
        raise BagError(f"{without.path}: no {KINDS[kind]}: it holds {without.holds()}")
    have = "; ".join(f"{bag.path}: {', '.join(one for one in KINDS if _topics(bag, one)) or 'none'}" for bag in bags)
    return Source(ORDER, ((),) * len(bags), f"no kind of position that every drive has ({have})")


def _topics(bag: Bag, kind: str) -> tuple[str, ...]:
    return tuple(topic for topic, of in bag.kinds.items() if of == KINDS[kind] and bag.count(topic))


def _unambiguous(bag: Bag, kind: str, topics: tuple[str, ...]) -> tuple[str, ...]:
    if kind != TF and len(topics) > 1:
        raise BagError(f"{bag.path}: got several topics of {KINDS[kind]}, expected one: pass --position-topics, "
                       f"of {', '.join(topics)}")  # fmt: skip
    return topics


def _named(bags: Sequence[Bag], named: Sequence[str]) -> Source:
    by_type = {message: kind for kind, message in KINDS.items() if kind != TF}
    chosen, kinds = [], set()
    for bag in bags:
        there = [topic for topic in dict.fromkeys(named) if topic in bag.kinds]
        if len(there) != 1:
            raise BagError(f"{bag.path}: got {len(there)} of the position topics {', '.join(named)}, expected one: "
                           f"it holds {bag.holds()}")  # fmt: skip
        if bag.kinds[there[0]] not in by_type:
            raise BagError(f"{bag.path}: topic {there[0]} holds {bag.kinds[there[0]]}, expected {' or '.join(by_type)}")
        chosen.append((there[0],))
        kinds.add(by_type[bag.kinds[there[0]]])
    if len(kinds) > 1:
        raise BagError(f"position_topics: got {' and '.join(sorted(kinds))}, expected one kind: their metres differ")
    return Source(kinds.pop(), tuple(chosen))
