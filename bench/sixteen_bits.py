"""Cameras of 16 bits: labels of every encoding and tone against those of the same picture's 8-bit JPEG.

    python bench/sixteen_bits.py --model dannet_core/models/demo.onnx --picture NIGHT.png --out F.json

The picture, of 8 bits, is turned into what a sensor with samples in proportion to light would have sent, in --bits
bits; a mosaic is compared with the 8-bit mosaic of the same picture, grey with grey. Sent to a running node over DDS as
raw and as compressed pictures, and read from a bag.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from processes import machine
from running_node import ROOT, RunningNode

ENCODINGS = ("rgb16", "bgr16", "mono16", "bayer_rggb16", "bayer_bggr16", "bayer_gbrg16", "bayer_grbg16")
COMPRESSED = ("rgb16", "mono16", "bayer_rggb16")


def linear(rgb: np.ndarray, bits: int) -> np.ndarray:
    """Inverse of sRGB's curve, in whole samples."""
    share = rgb / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.rint(light * ((1 << bits) - 1)), np.uint16)


def as_camera(rgb: np.ndarray, encoding: str) -> np.ndarray:
    """H x W x samples, of whatever type the picture has, in an encoding's order."""
    if encoding.startswith("bayer"):
        mosaic = np.empty((*rgb.shape[:2], 1), rgb.dtype)
        for at, letter in enumerate(encoding[6:10]):
            mosaic[at // 2 :: 2, at % 2 :: 2, 0] = rgb[at // 2 :: 2, at % 2 :: 2, "rgb".index(letter)]
        return mosaic
    return np.ascontiguousarray(rgb[:, :, {"rgb16": [0, 1, 2], "bgr16": [2, 1, 0], "mono16": [1]}[encoding]])


def message(samples: np.ndarray, encoding: str, big_endian: bool = False) -> Any:
    """The raw message."""
    from sensor_msgs.msg import Image

    order = (">" if big_endian else "<") + samples.dtype.str[1:]
    rows = samples.reshape(len(samples), -1).astype(order).view(np.uint8)
    out = Image(height=samples.shape[0], width=samples.shape[1], encoding=encoding, step=rows.shape[1])
    out.is_bigendian, out.data = int(big_endian), array.array("B", rows.tobytes())
    return out


def packed(samples: np.ndarray, encoding: str) -> Any:
    """The compressed message, as image_transport's plugin writes it."""
    from sensor_msgs.msg import CompressedImage

    stored = np.ascontiguousarray(samples[:, :, ::-1] if encoding == "rgb16" else samples)
    return CompressedImage(format=f"{encoding}; png compressed ", data=cv2.imencode(".png", stored)[1].tobytes())


class Labels:
    """Labels of a model by this process."""

    def __init__(self, model: Path) -> None:
        from dannet_core import NightSegmenter

        self._segmenter = NightSegmenter.load(model, threads=1)

    def of(self, rgb: np.ndarray) -> np.ndarray:
        """Train ids of one picture."""
        return self._segmenter.segment(rgb).labels


def share(labels: np.ndarray, reference: np.ndarray) -> float:
    """Of the pixels that agree, percent."""
    return round(100 * float((labels == reference).mean()), 3)


def tones(labels: Labels, rgb: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """Every tone and depth against the JPEG's labels."""
    from dannet_core.tone import TONES, ToneMapper, ToneSettings

    found: dict[str, Any] = {}
    for bits in (10, 12, 14, 16):
        samples = linear(rgb, bits)
        found[f"{bits} bits"] = {
            tone: share(labels.of(ToneMapper(ToneSettings(tone)).map(samples)), reference) for tone in TONES
        }
    return found


def over_dds(model: Path, wanted: dict[str, Any], transport: str) -> dict[str, np.ndarray]:
    """Labels of a running node, by name; it is told nothing of the samples."""
    from sensor_msgs.msg import CompressedImage, Image

    node = RunningNode(model, f"image_transport:={transport}")
    try:
        node.until_state("active")
        node.listen()
        kind, topic = (Image, "image") if transport == "raw" else (CompressedImage, "image/compressed")
        publisher = node.client.create_publisher(kind, topic, 1)
        node.until(lambda: publisher.get_subscription_count() > 0, "the node listens to the camera")
        found = {}
        for name, sent in wanted.items():
            found[name] = _labelled(node, publisher, name, sent)
        print(node.value("samples of 16 bits"), *(line for line in node.log().splitlines() if "samples: " in line))
        return found
    finally:
        node.close()


def _labelled(node: RunningNode, publisher: Any, name: str, sent: Any) -> np.ndarray:
    node.labels.clear()
    sent.header.frame_id = name
    due = [0.0]

    def send() -> None:
        if time.monotonic() >= due[0]:
            sent.header.stamp = node.client.get_clock().now().to_msg()
            publisher.publish(sent)
            due[0] = time.monotonic() + 1.0

    node.until(lambda: any(label.header.frame_id == name for label in node.labels), f"labels of {name}", send)
    label = next(label for label in node.labels if label.header.frame_id == name)
    return np.frombuffer(label.data, np.uint8).reshape(label.height, label.width)


def from_bag(model: Path, wanted: dict[str, Any]) -> dict[str, np.ndarray]:
    """Labels that `evaluate_bag` writes, by name; a topic for each."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    from dannet_ros.replay.__main__ import main as replay
    from dannet_ros.replay.bag_reading import open_bag

    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    with tempfile.TemporaryDirectory() as folder:
        bag, out = Path(folder) / "bag", Path(folder) / "out"
        with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            for second, (name, sent) in enumerate(wanted.items(), 1):
                header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](second, 0), name)
                kind = "sensor_msgs/msg/Image" if hasattr(sent, "encoding") else "sensor_msgs/msg/CompressedImage"
                fields = {
                    field: getattr(sent, field) for field in sent.get_fields_and_field_types() if field != "header"
                }
                fields["data"] = np.frombuffer(sent.data, np.uint8)
                connection = writer.add_connection(f"/{name}", kind, typestore=store)
                writer.write(connection, second, store.serialize_cdr(types[kind](header, **fields), kind))
        command = ["evaluate_bag", str(bag), "--model", str(model), "--out", str(out), "--threads", "1"]
        assert replay([*command, "--write-bag", "outputs", "--topics", *(f"/{name}" for name in wanted)]) == 0
        with open_bag(out / "bag") as opened:
            return {
                image.header.frame_id: image.rgb[:, :, 0]
                for image in opened.images([topic for topic in opened.kinds if topic.endswith("/label")])
            }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--bits", type=int, default=12)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds.xml"))
    import rclpy

    from dannet_core.pixels import read_rgb
    from dannet_ros.conversions import to_rgb

    rgb = read_rgb(arguments.picture)
    jpeg = cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    labels, samples = Labels(arguments.model), linear(rgb, arguments.bits)
    reference = labels.of(np.ascontiguousarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[:, :, ::-1]))
    raw = {name: message(as_camera(samples, name), name) for name in ENCODINGS}
    raw |= {f"{name}_big": message(as_camera(samples, name), name, big_endian=True) for name in COMPRESSED}
    compressed = {f"{name}_png": packed(as_camera(samples, name), name) for name in COMPRESSED}
    plain = {name: message(as_camera(rgb, name), f"{name[:-2]}8") for name in ENCODINGS}
    of_8_bits = {name: labels.of(to_rgb(sent)) for name, sent in plain.items()}
    rclpy.init()
    came = {"dds": over_dds(arguments.model, raw, "raw") | over_dds(arguments.model, compressed, "compressed")}
    rclpy.shutdown()
    came["bag"] = from_bag(arguments.model, raw | compressed)
    result: dict[str, Any] = {
        "machine": machine(),
        "model": arguments.model.name,
        "size": list(rgb.shape[:2]),
        "8-bit picture against its JPEG": share(labels.of(rgb), reference),
        "tones against the JPEG": tones(labels, rgb, reference),
        "bits": arguments.bits,
        "against the same encoding of 8 bits": {
            way: {
                name: share(found, of_8_bits[name.removesuffix("_big").removesuffix("_png")])
                for name, found in by.items()
            }
            for way, by in came.items()
        },
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
