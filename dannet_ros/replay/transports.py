"""Names of a camera's topics: image_transport makes several of one camera."""

from __future__ import annotations

from typing import Final

ZSTD: Final = "zstd"
TRANSPORTS: Final = ("compressed", ZSTD, "compressedDepth", "theora", "ffmpeg", "foxglove", "cloudini")
"""Last parts of the names that image_transport makes of a camera's topic."""


def base_of(topic: str) -> str:
    """A camera's own topic, of which image_transport makes the others."""
    base, _, last = topic.rpartition("/")
    return base if last in TRANSPORTS and base else topic
