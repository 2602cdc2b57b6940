"""Images of the zstd transport, in the layouts that exist."""

import gzip
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dannet_core.errors import ImageError
from dannet_ros.replay.bag_reading import open_bag
from dannet_ros.replay.packed_image import is_packed, unpack_image
from dannet_ros.replay.zstandard import zstd

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")


def with_fields(picture: np.ndarray, packed: bytes, encoding: str = "rgb8") -> bytes:
    height, width = picture.shape[:2]
    return struct.pack("<IIBII", height, width, 0, width * 3, len(encoding)) + encoding.encode() + packed


@pytest.mark.parametrize("layout", ["zstd", "zlib", "gzip", "message"])
def test_every_layout_gives_the_pixels_to_the_bit(bags: Any, tmp_path: Path, layout: str) -> None:
    picture = bags.frames(1)[0]
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        data = {
            "zstd": lambda: with_fields(picture, zstd().compress(picture.tobytes())),
            "zlib": lambda: with_fields(picture, zlib.compress(picture.tobytes())),
            "gzip": lambda: with_fields(picture, gzip.compress(picture.tobytes())),
            "message": lambda: zstd().compress(recorder.serialised(picture, "rgb8")),
        }[layout]()
        recorder.compressed("/cam/zstd", 3, data, "zstd")
    with open_bag(tmp_path / "bag") as bag:
        (image,) = bag.images()
    np.testing.assert_array_equal(image.rgb, picture)
    assert image.stamp_ns == bags.START_NS + 3 * bags.STEP_NS


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 10, b"\0" * 30, struct.pack("<IIBII", 80, 112, 0, 336, 2**31) + b"rgb8", b"\x28\xb5\x2f\xfd1234567"],
)
def test_damage_is_an_image_error(data: bytes) -> None:
    message = SimpleNamespace(format="zstd", data=np.frombuffer(data, np.uint8), header=None)
    assert is_packed(message)
    with pytest.raises(ImageError):
        unpack_image(message, lambda _: None)


def test_cut_pixels_are_refused(bags: Any, tmp_path: Path) -> None:
    picture = bags.frames(1)[0]
    whole = [with_fields(picture, pack(picture.tobytes())) for pack in (zstd().compress, zlib.compress)]
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        for index, data in enumerate(whole):
            recorder.compressed("/cam/zstd", index, data[: len(data) * 2 // 3], "zstd")
    with open_bag(tmp_path / "bag") as bag:
        for message in bag.raw(["/cam/zstd"]):
            with pytest.raises(ImageError):
                bag.image(message)


def test_a_picture_that_unpacks_without_end_is_refused() -> None:
    packed = zstd().compress(bytes(300_000_000))
    message = SimpleNamespace(format="zstd", data=np.frombuffer(packed, np.uint8), header=None)
    with pytest.raises(ImageError, match="unpacks to more than 256 MB"):
        unpack_image(message, lambda _: None)
