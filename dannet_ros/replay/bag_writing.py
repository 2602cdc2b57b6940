"""Writes camera frames as a rosbag2 that appears whole or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.atomic_files import replaced_folder
from dannet_core.errors import ImageError, OutputError, require
from dannet_core.pixels import Labels, Rgb

INSTALL_ROSBAGS: Final = "pip install 'dannet_ros[ros]'"
BAG_VERSION: Final = 9
"""rosbag2 metadata version: what ROS 2 Jazzy and later write."""


@dataclass(frozen=True)
class Topics:
    """Where frames go.

    Attributes:
        image: sensor_msgs/Image; with ``/compressed`` appended, sensor_msgs/CompressedImage.
        camera_info: sensor_msgs/CameraInfo.
        label: sensor_msgs/Image, mono8 train ids.
        frame_id: of all headers.
        position: sensor_msgs/NavSatFix.
    """

    image: str = "/camera/image"
    camera_info: str = "/camera/camera_info"
    label: str = "/ground_truth/label"
    frame_id: str = "camera"
    position: str = "/gps/fix"


@dataclass(frozen=True)
class Encoding:
    """How frames are stored.

    Attributes:
        storage: ``mcap`` or ``sqlite3``.
        jpeg_quality: 1..100 for CompressedImage; None for raw rgb8.
        focal_px: focal length in pixels for CameraInfo; 0 = an uncalibrated camera.
    """

    storage: str = "mcap"
    jpeg_quality: int | None = None
    focal_px: float = 0.0


class BagWriter:
    """Adds frames to an open bag; made by `new_bag`."""

    def __init__(self, writer: Any, topics: Topics, encoding: Encoding) -> None:
        from rosbags.typesys import Stores, get_typestore

        self._writer, self._topics, self._encoding = writer, topics, encoding
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._connections: dict[str, Any] = {}
        self.frames = 0

    def add(self, rgb: Rgb, labels: Labels | None, stamp_ns: int) -> None:
        """Write one frame (H x W x 3 uint8 RGB), its camera info and, if there are, its labels, under one stamp."""
        image_topic = self._topics.image
        if self._encoding.jpeg_quality is None:
            self._write(image_topic, self._image(rgb, "rgb8", stamp_ns), stamp_ns)
        else:
            self._write(f"{image_topic}/compressed", self._jpeg(rgb, stamp_ns), stamp_ns)
        self._write(self._topics.camera_info, self._camera_info(rgb.shape[:2], stamp_ns), stamp_ns)
        if labels is not None:
            self._write(self._topics.label, self._image(labels, "mono8", stamp_ns), stamp_ns)
        self.frames += 1

    def add_position(self, latitude: float, longitude: float, stamp_ns: int) -> None:
        """Write where the camera was, in degrees; neither its height nor how exact it is are said."""
        status = self._make("sensor_msgs/msg/NavSatStatus", 0, 1)
        unknown = np.zeros(9), 0
        fix = self._make("sensor_msgs/msg/NavSatFix", self._header(stamp_ns), status, latitude, longitude, np.nan,
                         *unknown)  # fmt: skip
        self._write(self._topics.position, fix, stamp_ns)

    def _write(self, topic: str, message: Any, stamp_ns: int) -> None:
        kind = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self._store, offered_qos_profiles=[reliable()]
            )
        self._writer.write(self._connections[topic], stamp_ns, self._store.serialize_cdr(message, kind))

    def _make(self, name: str, *values: Any) -> Any:
        return self._store.types[name](*values)

    def _header(self, stamp_ns: int) -> Any:
        stamp = self._make("builtin_interfaces/msg/Time", stamp_ns // 10**9, stamp_ns % 10**9)
        return self._make("std_msgs/msg/Header", stamp, self._topics.frame_id)

    def _image(self, pixels: npt.NDArray[np.uint8], encoding: str, stamp_ns: int) -> Any:
        height, width = pixels.shape[:2]
        data = np.ascontiguousarray(pixels).reshape(-1)
        header = self._header(stamp_ns)
        return self._make("sensor_msgs/msg/Image", header, height, width, encoding, 0, data.size // height, data)

    def _jpeg(self, rgb: Rgb, stamp_ns: int) -> Any:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(self._encoding.jpeg_quality or 95)]
        ok, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
        if not ok:
            raise ImageError(f"frame {self.frames}: cannot encode {rgb.shape[1]}x{rgb.shape[0]} pixels as JPEG")
        name = "sensor_msgs/msg/CompressedImage"
        return self._make(name, self._header(stamp_ns), "rgb8; jpeg compressed bgr8", data.reshape(-1))

    def _camera_info(self, size: tuple[int, ...], stamp_ns: int) -> Any:
        height, width = size
        focal = self._encoding.focal_px
        # K[0] = 0 is how an uncalibrated camera is marked (REP 104).
        k, p, r = np.zeros(9), np.zeros(12), np.eye(3).reshape(-1)
        if focal > 0:
            k[[0, 2, 4, 5, 8]] = focal, width / 2, focal, height / 2, 1.0
            p[[0, 2, 5, 6, 10]] = focal, width / 2, focal, height / 2, 1.0
        region = self._make("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
        header, name = self._header(stamp_ns), "sensor_msgs/msg/CameraInfo"
        return self._make(name, header, height, width, "plumb_bob", np.zeros(5), k, r, p, 0, 0, region)


@contextmanager
def new_bag(path: Path, topics: Topics, encoding: Encoding, *, overwrite: bool = False) -> Iterator[BagWriter]:
    """Open a new bag; it takes its name when the block ends well, and leaves nothing behind otherwise.

    Args:
        path: folder of the bag.
        topics: where frames go.
        encoding: how they are stored.
        overwrite: replace an existing bag (only a folder with a ``metadata.yaml``).

    Raises:
        OutputError: the path is taken, or the folder cannot be written to.
        MissingPackageError: rosbags is not installed.
    """
    with new_bag_file(path, encoding.storage, overwrite=overwrite) as writer:
        bag = BagWriter(writer, topics, encoding)
        yield bag
        if bag.frames == 0:
            raise ImageError(f"{path}: no frames were given: nothing to write")


@contextmanager
def new_bag_file(path: Path, storage: str, *, overwrite: bool = False, packed: bool = False) -> Iterator[Any]:
    """Open a rosbags writer whose bag takes its name when the block ends well, and leaves nothing behind otherwise.

    Args:
        path: folder of the bag.
        storage: ``mcap`` or ``sqlite3``.
        overwrite: replace an existing bag.
        packed: compress the chunks of an mcap file (zstd), which every reader of mcap unpacks by itself.

    Raises:
        OutputError: the path is taken, or the folder cannot be written to.
        MissingPackageError: rosbags is not installed.
    """
    rosbag2 = require("rosbags.rosbag2", "write bags", INSTALL_ROSBAGS)
    target = Path(path)
    check_free(target, overwrite)
    # Inside a hidden folder the bag can carry its final name, which its data file repeats.
    with replaced_folder(target) as folder:
        plugin = rosbag2.StoragePlugin[storage.upper()]
        writer = rosbag2.Writer(folder, version=BAG_VERSION, storage_plugin=plugin)
        if packed and storage == "mcap":
            writer.set_compression(rosbag2.CompressionMode.STORAGE, rosbag2.CompressionFormat.ZSTD)
        try:
            with writer:
                yield writer
        except sqlite3.Error as error:  # readers turn theirs into errors of their own
            raise OutputError(f"{path}: cannot write: {error}") from error


def check_free(target: Path, overwrite: bool) -> None:
    """Refuse a path that is taken.

    Raises:
        OutputError: it exists and is not to be replaced, or is not a bag.
    """
    if not target.exists():
        return
    if not overwrite:
        raise OutputError(f"{target}: exists already: choose another name or add --overwrite")
    if not (target / "metadata.yaml").is_file():
        raise OutputError(f"{target}: exists and is not a bag (no metadata.yaml): choose another name")


def reliable() -> Any:
    """A rosbags QoS profile: what a camera driver offers by default: reliable, volatile, the last ten."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    forever = QosTime(9223372036, 854775807)
    return Qos(
        QosHistory.KEEP_LAST,
        10,
        QosReliability.RELIABLE,
        QosDurability.VOLATILE,
        forever,
        forever,
        QosLiveliness.AUTOMATIC,
        forever,
        avoid_ros_namespace_conventions=False,
    )
