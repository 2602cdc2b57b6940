"""Images of `zstd_image_transport`: CompressedImage messages that hold an Image's fields and its packed pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from dannet_core.errors import ImageError
from dannet_ros.replay import zstandard

FORMAT: Final = "zstd"
_FIELDS: Final = struct.Struct("<IIBII")
"""Height, width, byte order, step, bytes of the encoding's name, which follows; then the pixels."""
_MAX_BYTES: Final = 256_000_000
_ZLIB_STARTS: Final = (b"\x1f\x8b", b"\x78")


def is_packed(message: Any) -> bool:
    """Whether a CompressedImage is one, by its format or its first bytes."""
    return message.format.strip().lower() == FORMAT or bytes(message.data[:4]) == zstandard.MAGIC


def unpack_image(message: Any, decode_image: Callable[[bytes], Any]) -> Any:
    """The image in ``message``, with the fields of a sensor_msgs/Image.

    Args:
        message: a CompressedImage for which `is_packed` holds.
        decode_image: makes an Image of its serialised bytes.

    Raises:
        ImageError: damaged.
    """
    data = bytes(message.data)
    try:
        if data.startswith(zstandard.MAGIC):
            return decode_image(_whole(zstandard.decompress(data, _MAX_BYTES)))
        height, width, bigendian, step, length = _FIELDS.unpack_from(data)
        at = _FIELDS.size + length
        encoding, pixels = data[_FIELDS.size : at].decode("ascii"), _pixels(data[at:])
    except ImageError:
        raise
    except Exception as error:  # rosbags' generated parsers raise struct, value and index errors
        raise ImageError(f"data: damaged image of the zstd transport, {len(data)} bytes: {error}") from error
    return SimpleNamespace(
        header=message.header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=bigendian,
        step=step,
        data=pixels,
    )


def _pixels(packed: bytes) -> bytes:
    # Its first releases packed with zlib, in spite of the name.
    if packed.startswith(_ZLIB_STARTS):
        return _whole(zlib.decompressobj(wbits=47).decompress(packed, _MAX_BYTES + 1))
    return _whole(zstandard.decompress(packed, _MAX_BYTES))


def _whole(data: bytes) -> bytes:
    if len(data) > _MAX_BYTES:
        raise ImageError(f"data: unpacks to more than {_MAX_BYTES // 1_000_000} MB")
    return data
