"""PNG files byte by byte, of every form the standard has, for readers that have to tell them apart."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Sequence

import numpy as np

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def num_bytes(header: tuple[int, int, int, int], interlaced: bool) -> int:
    """How many bytes of rows a header (width, height, bits, colour) asks for."""
    width, height, bits, colour = header
    parts = (
        [(len(range(x, width, dx)), len(range(y, height, dy))) for x, y, dx, dy in PASSES]
        if interlaced
        else [header[:2]]
    )
    return sum(rows * (1 + (columns * bits * CHANNELS.get(colour, 1) + 7) // 8) for columns, rows in parts if columns)


def png(
    samples: np.ndarray,
    bits: int = 8,
    colour: int = 0,
    *,
    interlaced: bool = False,
    palette: Sequence[Sequence[int]] | None = None,
    transparency: bytes | None = None,
    filters: Sequence[int] = (0,),
    extra: bytes = b"",
    header: tuple[int, int, int, int] | None = None,
    idat: int = 8192,
) -> bytes:
    """Write H x W (x channels) samples as they are; ``header`` (width, height, bits, colour) may say something else."""
    samples = samples.reshape(*samples.shape[:2], CHANNELS[colour])
    parts = [samples[top::dy, left::dx] for left, top, dx, dy in PASSES] if interlaced else [samples]
    lines = itertools.cycle(filters)
    raw = b"".join(_filtered(_packed(part, bits), bits * CHANNELS[colour], lines) for part in parts if part.size)
    width, height, said_bits, said_colour = header or (samples.shape[1], samples.shape[0], bits, colour)
    data = zlib.compress(raw, 6)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, said_bits, said_colour, 0, 0, int(interlaced))),
            extra,
            b"" if palette is None else chunk(b"PLTE", bytes(np.array(palette, np.uint8).reshape(-1))),
            b"" if transparency is None else chunk(b"tRNS", transparency),
            *(chunk(b"IDAT", data[i : i + idat]) for i in range(0, len(data), idat)),
            chunk(b"IEND", b""),
        ]
    )


def _packed(samples: np.ndarray, bits: int) -> list[bytes]:
    if bits == 16:
        return [row.astype(">u2").tobytes() for row in samples]
    rows = samples.astype(np.uint8).reshape(samples.shape[0], -1)
    if bits == 8:
        return [row.tobytes() for row in rows]
    return [np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].reshape(-1)).tobytes() for row in rows]


def _filtered(rows: list[bytes], bits_per_pixel: int, kinds: itertools.cycle[int]) -> bytes:
    """Each row after its filter: 0 as it is, 1 minus the left, 2 the upper, 3 their mean, 4 Paeth's."""
    far = max(1, bits_per_pixel // 8)
    above, out = np.zeros(len(rows[0]) + far, int), []
    for row in rows:
        now, kind = np.concatenate([np.zeros(far, int), np.frombuffer(row, np.uint8).astype(int)]), next(kinds)
        left, up, corner = now[:-far], above[far:], above[:-far]
        guess = left + up - corner
        distances = np.stack([abs(guess - left), abs(guess - up), abs(guess - corner)])
        paeth = np.choose(distances.argmin(axis=0), [left, up, corner])
        minus = (0, left, up, (left + up) // 2, paeth)[kind]
        out.append(bytes([kind]) + ((now[far:] - minus) % 256).astype(np.uint8).tobytes())
        above = now
    return b"".join(out)
