"""One frame of a bag, decoded, with its ground truth."""

from __future__ import annotations

from dataclasses import dataclass

from dannet_core.pixels import Labels, Rgb


@dataclass(frozen=True)
class BagFrame:
    """One frame of the bag.

    Attributes:
        index: its number among the messages of the evaluated topics.
        topic: where it was recorded.
        rgb: H x W x 3 uint8 RGB.
        truth: H x W uint8 train ids; None without ground truth.
        decode_ms: milliseconds from message to picture.
    """

    index: int
    topic: str
    rgb: Rgb
    truth: Labels | None
    decode_ms: float
