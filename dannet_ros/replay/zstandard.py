"""Zstandard, as the Python library has it from 3.14 on and rosbags brings it before."""

from __future__ import annotations

import sys
from typing import Any, BinaryIO, Final

MAGIC: Final = b"\x28\xb5\x2f\xfd"
"""First bytes of a frame."""
_BLOCK: Final = 1 << 20


def zstd() -> Any:
    """The module."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def decompress(packed: bytes | memoryview, most: int, *, cut: bool = False) -> bytes:
    """Unpack all frames, at most ``most`` bytes and one more, so that a caller sees that there are too many.

    Args:
        packed: one frame or several.
        most: bytes expected.
        cut: the end is missing: return what there is.

    Raises:
        ValueError: damaged or, unless ``cut``, incomplete.
    """
    if most and not packed and not cut:
        raise ValueError("zstd: nothing to unpack")
    library, parts, room = zstd(), [], most + 1
    while packed and room > 0:
        unpack = library.ZstdDecompressor()
        try:
            part = unpack.decompress(packed, max_length=room)
        except library.ZstdError as error:
            raise ValueError(f"zstd: {error}") from error
        parts.append(part)
        room -= len(part)
        if not unpack.eof:
            if room > 0 and not cut:
                raise ValueError("zstd: cut off")
            break
        packed = unpack.unused_data
    return b"".join(parts)


def unpack_file(packed: BinaryIO, out: BinaryIO) -> str:
    """Unpack a file of one frame or several as far as it goes; what ended it early, empty when nothing did."""
    library, block = zstd(), b""
    unpack = library.ZstdDecompressor()
    fresh = True
    while block := block or packed.read(_BLOCK):
        try:
            out.write(unpack.decompress(block))
        except library.ZstdError as error:
            return str(error)
        fresh, block = unpack.eof, unpack.unused_data if unpack.eof else b""
        if fresh:
            unpack = library.ZstdDecompressor()
    return "" if fresh else f"cut off after {packed.tell()} bytes"
