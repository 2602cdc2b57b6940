"""Which topics of a bag are cameras: decided by what their first messages hold, each camera once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from dannet_ros.replay.bag_reading import COMPRESSED, IMAGE, PICTURES, Bag, BagError
from dannet_ros.replay.ground_truth import DEFAULT_TOPIC
from dannet_ros.replay.picture_content import Content, content_of
from dannet_ros.replay.scanned import CDR
from dannet_ros.replay.transports import ZSTD, base_of

OUTPUTS: Final = ("label", "color", "overlay")
"""Topics that `evaluate_bag` and the node write for a camera."""
NODE: Final = "night_seg"
_NODE_OUTPUTS: Final = (*OUTPUTS, "relit", "confidence")
_STREAMS: Final = ("theora_image_transport/msg/Packet", "ffmpeg_image_transport_msgs/msg/FFMPEGPacket",
                   "foxglove_msgs/msg/CompressedVideo")  # fmt: skip
_ENOUGH: Final = 0.9
"""Share of the fullest transport's messages with which a better one is preferred."""


def camera_topics(bag: Bag, wanted: Sequence[str], labels: Collection[str], option: str = "--topics") -> list[str]:
    """The image topics to label: ``wanted``, or one of every camera. What is left out is noted in ``bag``.

    Args:
        bag: the bag.
        wanted: topics that are taken whatever they hold.
        labels: topics that are ground truth.
        option: how a user names topics.

    Raises:
        BagError: no such topic, one of another type, or no camera.
    """
    if wanted:
        return bag.image_topics(list(dict.fromkeys(wanted)))
    truths = {*labels, DEFAULT_TOPIC}
    topics = [topic for topic in _image_topics(bag) if topic not in truths and base_of(topic) not in truths]
    left_out = {topic: why for topic in topics if (why := _output_of(topic, bag))}
    contents = {topic: content_of(bag, topic) for topic in topics if topic not in left_out}
    left_out |= {topic: content.words for topic, content in contents.items() if not content.camera}
    cameras = _without_grey([topic for topic, content in contents.items() if content.camera], contents, left_out)
    chosen = _one_each(bag, cameras, left_out)
    left_out |= _streams(bag)
    if not chosen:
        raise BagError(_no_camera(bag, left_out, option))
    for topic, why in left_out.items():
        bag.notes.append(f"{topic} left out: {why}" + (f"; {option} takes it" if bag.count(topic, PICTURES) else ""))
    if grey := [topic for topic in chosen if contents[topic].grey]:
        bag.notes.append(f"{', '.join(grey)}: grey pictures, taken for cameras: infrared looks the same")
    return chosen


def _image_topics(bag: Bag) -> list[str]:
    return [topic for topic, kind in bag.kinds.items() if kind in PICTURES]


def _output_of(topic: str, bag: Bag) -> str:
    """Why a topic is what a node like ours has written; empty for all others, whatever they are called."""
    node, _, last = base_of(topic).rpartition("/")
    if last not in _NODE_OUTPUTS:
        return ""
    siblings = [f"{node}/{output}" for output in (*_NODE_OUTPUTS, "label_info") if f"{node}/{output}" in bag.kinds]
    is_node = node.rpartition("/")[2].startswith(NODE)
    return f"an output of {node or '/'}" if is_node or (len(siblings) > 1 and f"{node}/label" in siblings) else ""


def _one_each(bag: Bag, topics: Sequence[str], left_out: dict[str, str]) -> list[str]:
    """The best transport of every camera, in the order of the topics."""
    cameras: dict[str, list[str]] = {}
    for topic in topics:
        cameras.setdefault(base_of(topic), []).append(topic)
    chosen = []
    for transports in cameras.values():
        counts = {topic: bag.count(topic, PICTURES) for topic in transports}
        full = [topic for topic in transports if counts[topic] >= _ENOUGH * max(counts.values())]
        best = min(full, key=lambda topic: _rank(topic, bag.kinds))
        chosen.append(best)
        left_out |= {topic: f"the same camera as {best} ({counts[topic]} messages, that has {counts[best]})"
                     for topic in transports if topic != best}  # fmt: skip
    return chosen


def _rank(topic: str, kinds: Mapping[str, str]) -> int:
    """Raw first; then what the node can be sent live; then the rest."""
    if kinds[topic] == IMAGE:
        return 0
    return 2 if topic.endswith(f"/{ZSTD}") else 1


def _without_grey(topics: Sequence[str], contents: Mapping[str, Content], left_out: dict[str, str]) -> list[str]:
    """Without grey pictures where others have colours: those of infrared look like a grey camera's."""
    if all(contents[topic].grey is not False for topic in topics):
        return list(topics)
    why = "beside a camera with colours: infrared, labels or a copy as a rule, which the pixels do not tell"
    left_out |= {topic: f"{contents[topic].words} {why}" for topic in topics if contents[topic].grey}
    return [topic for topic in topics if not contents[topic].grey]


def _streams(bag: Bag) -> dict[str, str]:
    """Video streams, which no option makes readable."""
    return {
        topic.name: f"{topic.kind}{'' if topic.encoding == CDR else f' as {topic.encoding}'}, a video stream: record "
        f"{IMAGE} or {COMPRESSED} with JPEG or PNG"
        for topic in bag.topics
        if topic.kind in _STREAMS
    }


def _no_camera(bag: Bag, left_out: Mapping[str, str], option: str) -> str:
    if not left_out:
        return f"{bag.path}: no image topic: it holds {bag.holds()}{_because(bag)}"
    every = "; ".join(f"{topic}: {why}" for topic, why in left_out.items())
    choice = any(bag.count(topic, PICTURES) for topic in left_out)
    override = f": name one with {option} to take it all the same" if choice else ""
    return f"{bag.path}: no camera topic: {every}{override}{_because(bag)}"


def _because(bag: Bag) -> str:
    return f" ({'; '.join(bag.problems)})" if bag.problems else ""
