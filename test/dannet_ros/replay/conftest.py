"""Small bags with known frames, labels and stamps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from dannet_ros.replay.bag_reading import COMPRESSED, IMAGE, open_bag

START_NS = 1_700_000_000 * 10**9
STEP_NS = 50_000_000
HEIGHT, WIDTH = 80, 112


class Recorder:
    """Writes messages to a bag; every frame i is stamped START_NS + i * STEP_NS, unless ``stamp_ns`` is given."""

    def __init__(self, writer: Any) -> None:
        from rosbags.typesys import Stores, get_typestore

        self._writer, self._store, self._connections = writer, get_typestore(Stores.ROS2_JAZZY), {}

    def image(self, topic: str, index: int, pixels: np.ndarray, **more: Any) -> None:
        data = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
        encoding = more.get("encoding", "mono8" if pixels.ndim == 2 else "rgb8")
        height, width = pixels.shape[:2]
        header = self._header(index, more.get("frame_id", "camera"), more.get("stamp_ns"))
        message = self._store.types[IMAGE](header, height, width, encoding, 0, data.size // height, data)
        self._write(topic, IMAGE, index, message)

    def compressed(self, topic: str, index: int, data: bytes, form: str = "png") -> None:
        content = np.frombuffer(data, np.uint8)
        message = self._store.types[COMPRESSED](self._header(index, "camera"), form, content)
        self._write(topic, COMPRESSED, index, message)

    def serialised(self, pixels: np.ndarray, encoding: str) -> bytes:
        """An Image as the bytes of its message."""
        data = np.ascontiguousarray(pixels).reshape(-1)
        height, width = pixels.shape[:2]
        message = self._store.types[IMAGE](self._header(0, ""), height, width, encoding, 0, data.size // height, data)
        return bytes(self._store.serialize_cdr(message, IMAGE))

    def bytes(self, topic: str, index: int, data: bytes) -> None:
        """What no serialiser made, on a topic that has messages already."""
        (connection,) = (one for (name, _), one in self._connections.items() if name == topic)
        self._writer.write(connection, START_NS + index * STEP_NS + 8_000_000, data)

    def text(self, topic: str, index: int, text: str) -> None:
        self._write(topic, "std_msgs/msg/String", index, self._store.types["std_msgs/msg/String"](text))

    def _header(self, index: int, frame_id: str, stamp_ns: int | None = None) -> Any:
        seconds, nanoseconds = divmod(START_NS + index * STEP_NS if stamp_ns is None else stamp_ns, 10**9)
        stamp = self._store.types["builtin_interfaces/msg/Time"](seconds, nanoseconds)
        return self._store.types["std_msgs/msg/Header"](stamp, frame_id)

    def _write(self, topic: str, kind: str, index: int, message: Any) -> None:
        key = topic, kind
        if key not in self._connections:
            self._connections[key] = self._writer.add_connection(topic, kind, typestore=self._store)
        # Recorded 7 ms after the stamp, as by a recorder.
        time_ns = START_NS + index * STEP_NS + 7_000_000
        self._writer.write(self._connections[key], time_ns, self._store.serialize_cdr(message, kind))


def record(path: Path, storage: str = "mcap", compression: str = "NONE") -> Any:
    """An open rosbags writer as a context manager."""
    rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="rosbags writes and reads bags")
    writer = rosbag2.Writer(path, version=9, storage_plugin=rosbag2.StoragePlugin[storage.upper()])
    writer.set_compression(rosbag2.CompressionMode[compression], rosbag2.CompressionFormat.ZSTD)
    return writer


def frames(count: int, seed: int = 5) -> list[np.ndarray]:
    """Night-like pictures that differ from one another: smooth noise with lamps."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        picture = cv2.resize(rng.integers(0, 120, (6, 8, 3)).astype(np.float32), (WIDTH, HEIGHT))
        y, x = rng.integers(10, HEIGHT - 10), rng.integers(10, WIDTH - 10)
        picture[y - 6 : y + 6, x - 6 : x + 6] = 235
        pictures.append(picture.astype(np.uint8))
    return pictures


def labels(count: int, seed: int = 6) -> list[np.ndarray]:
    """Train ids in blocks, some unlabelled."""
    rng = np.random.default_rng(seed)
    choices = np.array([*range(19), 255], np.uint8)
    blocks = [choices[rng.integers(0, 20, (5, 7))] for _ in range(count)]
    return [np.kron(block, np.ones((16, 16), np.uint8)) for block in blocks]


def write_bag(
    path: Path,
    pictures: Sequence[np.ndarray],
    truths: Sequence[np.ndarray] = (),
    storage: str = "mcap",
    compression: str = "NONE",
) -> Path:
    """One camera, its ground truth, and a topic that is none of it."""
    with record(path, storage, compression) as writer:
        recorder = Recorder(writer)
        for index, picture in enumerate(pictures):
            recorder.image("/camera/image", index, picture)
            if truths:
                recorder.image("/ground_truth/label", index, truths[index])
            recorder.text("/note", index, f"note {index}")
    return path


def read_bag(bag: Path) -> tuple[list[np.ndarray], list[str]]:
    """Pictures of the camera, and the problems."""
    with open_bag(bag, lenient=True) as opened:
        return [image.rgb for image in opened.images(["/camera/image"])], opened.problems


@pytest.fixture
def bags() -> SimpleNamespace:
    """What makes bags, for test modules, which cannot import this file."""
    return SimpleNamespace(
        record=record,
        Recorder=Recorder,
        frames=frames,
        labels=labels,
        write=write_bag,
        read=read_bag,
        START_NS=START_NS,
        STEP_NS=STEP_NS,
    )
