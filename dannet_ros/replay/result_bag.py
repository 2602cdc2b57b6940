"""The evaluated bag with labels, colours and overlays beside the originals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.inference.prediction import Prediction
from dannet_core.pixels import colorize
from dannet_ros.replay.bag_reading import IMAGE, Bag, BagImage
from dannet_ros.replay.bag_writing import reliable
from dannet_ros.replay.cameras import NODE, OUTPUTS
from dannet_ros.replay.message_types import fields_in
from dannet_ros.replay.scanned import CDR, NO_KIND, BagTopic, RawMessage
from dannet_ros.replay.transports import base_of


class ResultBag:
    """Writes messages and predictions; what is written has the stamp and frame_id of its frame.

    Attributes:
        topics: names of the written outputs by image topic and model.
        copies: whether the bag's own messages are written too.
        notes: what is not copied, one line each.
    """

    def __init__(
        self, writer: Any, bag: Bag, image_topics: Sequence[str], models: Sequence[str], *, copies: bool = True
    ) -> None:
        """Plan the topics.

        Args:
            writer: an open rosbags writer.
            bag: the bag that is evaluated.
            image_topics: the evaluated ones.
            models: names of the models, the first of which gets the node's own topic names.
            copies: write the bag's own messages too.
        """
        from rosbags.typesys import Stores, get_typestore

        self._writer, self._bag, self.copies = writer, bag, copies
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._connections: dict[tuple[str, str], Any] = {}
        self._qos = {(topic.name, topic.kind): topic.qos for topic in bag.topics}
        self._stores: dict[str, Any] = {}
        self.notes = self._plan_copies(bag) if copies else []
        taken = set(bag.kinds) if copies else set()
        self.topics: dict[str, dict[str, str]] = {}
        for topic in image_topics:
            self.topics[topic] = {}
            for model in models:
                base = _base(topic, model, image_topics, models, taken)
                self.topics[topic][model] = base
                taken |= {f"{base}/{output}" for output in OUTPUTS}

    def _plan_copies(self, bag: Bag) -> list[str]:
        """Find the types that can be written; what is left out, and why.

        A reader puts all definitions of a bag together, so that two types that disagree about a third spoil the bag.
        """
        notes, fields = [], fields_in(self._store, IMAGE)
        for topic in bag.topics:
            why = _unreadable(topic)
            if not why and topic.kind not in self._stores:
                store = bag.types.store(topic.kind)
                own = {} if store is None else fields_in(store, topic.kind)
                odd = next((name for name, content in own.items() if fields.get(name, content) != content), "")
                if store is None:
                    why = bag.types.reason(topic.kind)
                elif odd:
                    why = f"its definition of {odd} is not that of the other topics"
                else:
                    self._stores[topic.kind] = store
                    fields |= own
            if why and topic.total:
                notes.append(f"{topic.name} ({topic.total} messages) not copied: {why}")
        return notes

    def copy(self, message: RawMessage) -> None:
        """Write a message of the bag as it is."""
        if self.copies and message.kind in self._stores:
            self._write(message.topic, message.kind, message.time_ns, message.data, self._stores[message.kind])

    def add(self, message: RawMessage, image: BagImage, model: str, prediction: Prediction, alpha: float) -> None:
        """Write a prediction; ``alpha`` is the opacity of the overlay's colours, 0..1."""
        colors = colorize(np.ascontiguousarray(prediction.labels), colormap=prediction.colormap)
        blended = np.asarray(cv2.addWeighted(image.rgb, 1.0 - alpha, colors, alpha, 0.0), dtype=np.uint8)
        pictures = {"label": prediction.labels, "color": colors, "overlay": blended}
        for output, pixels in pictures.items():
            data = self._store.serialize_cdr(self._image(pixels, image), IMAGE)
            topic = f"{self.topics[message.topic][model]}/{output}"
            self._write(topic, IMAGE, message.time_ns, data, self._store)

    def _image(self, pixels: npt.NDArray[np.uint8], image: BagImage) -> Any:
        types, (height, width) = self._store.types, pixels.shape[:2]
        stamp = types["builtin_interfaces/msg/Time"](image.header.stamp.sec, image.header.stamp.nanosec)
        header = types["std_msgs/msg/Header"](stamp, image.header.frame_id)
        data = np.ascontiguousarray(pixels).reshape(-1)
        encoding = "mono8" if pixels.ndim == 2 else "rgb8"
        return types[IMAGE](header, height, width, encoding, 0, data.size // height, data)

    def _write(self, topic: str, kind: str, time_ns: int, data: Any, store: Any) -> None:
        key = topic, kind
        if key not in self._connections:
            qos = self._qos.get(key, [reliable()])
            self._connections[key] = self._writer.add_connection(topic, kind, typestore=store, offered_qos_profiles=qos)
        self._writer.write(self._connections[key], time_ns, data)


def _unreadable(topic: BagTopic) -> str:
    if topic.encoding != CDR:
        return f"its messages are {topic.encoding or 'of no known encoding'}, not CDR"
    return "it has no message type" if topic.kind == NO_KIND else ""


def _base(topic: str, model: str, topics: Sequence[str], models: Sequence[str], taken: set[str]) -> str:
    """The node's own name for one camera and model, so that its RViz configuration fits; a longer one otherwise."""
    node = NODE if model == models[0] else f"{NODE}_{_word(model)}"
    camera = str(PurePosixPath(base_of(topic)).parent).rstrip("/")
    candidates = [f"/{node}"] if len(topics) == 1 else [f"{camera}/{node}"]
    candidates += [f"{topic}/{node}", *(f"{topic}/{node}_{number}" for number in range(2, 100))]
    return next(name for name in candidates if not any(f"{name}/{output}" in taken for output in OUTPUTS))


def _word(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)
