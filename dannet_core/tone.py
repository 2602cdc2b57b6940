"""Samples of 9 to 16 bits to the 8 that networks are trained on: how many bits they have, and the curve.

A camera with a high dynamic range sends what its sensor counted, mostly in proportion to light; the pictures that
networks learn from carry the curve of sRGB. `ToneMapper` holds what was learned of one camera from frame to frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError, SettingsError

Table = npt.NDArray[np.uint8]
"""(65536,) uint8: what becomes of each sample."""
Samples = npt.NDArray[np.uint16]
"""Samples of any shape and either byte order."""

LEVELS: Final = 1 << 16
TONES: Final = ("gamma", "linear", "log", "percentile")
"""gamma: the curve of sRGB, for samples in proportion to light. linear: the upper 8 bits. log: stronger in the dark.
percentile: as gamma, but between the darkest and the brightest percent, followed slowly."""
DEFAULT_TONE: Final = "gamma"
MIN_DEPTH: Final = 9
MAX_DEPTH: Final = 16
FIRST_FRAMES: Final = 10
"""Frames whose largest sample tells the depth; a later one that is larger raises it."""

_USUAL_DEPTHS: Final = (10, 12, 14, 16)
_LOG_SCALE: Final = 255.0
_PERCENTILES: Final = (0.01, 0.99)
_FOLLOWED: Final = 0.05
"""Share of the way to a frame's own percentiles that the limits go with it: 20 frames."""
_DEAD_BAND: Final = 1 / 64
"""Share of the span that the limits have to move by before there is another table: noise alone changes nothing."""
_LEAST_SPAN: Final = 1 / 32
"""Share of full scale that black and white are apart at least: the noise of a covered lens is not made a picture."""
_GRID: Final = 13
_SWAPPED_LOW: Final = 0x3F
_SWAPPED_HIGH: Final = 0x80


@dataclass(frozen=True)
class ToneSettings:
    """How samples become bytes.

    Attributes:
        tone: one of `TONES`.
        bit_depth: significant bits of a sample, at its lower end, 9 to 16; 0 = found from the first frames.

    Raises:
        SettingsError: on construction, naming what is wrong.
    """

    tone: str = DEFAULT_TONE
    bit_depth: int = 0

    def __post_init__(self) -> None:
        if self.tone not in TONES:
            raise SettingsError(f"tone: got '{self.tone}', expected one of {', '.join(TONES)}")
        if problem := depth_problem(self.bit_depth):
            raise SettingsError(f"bit_depth: {problem}")


def depth_problem(bit_depth: int) -> str | None:
    """Why that is no depth of a sample; None where it is one, or 0."""
    if bit_depth == 0 or MIN_DEPTH <= bit_depth <= MAX_DEPTH:
        return None
    return f"got {bit_depth}, expected {MIN_DEPTH} to {MAX_DEPTH} bits, or 0 where it is not known"


def _say_nothing(_line: str) -> None:
    pass


class ToneMapper:
    """The tables of one camera; used by one thread.

    Attributes:
        tone: one of `TONES`; another thread may set it between frames.
        frames: how many pictures it has seen.
        not_light: why grey samples of this camera are refused; empty = they are taken for light.
    """

    def __init__(
        self,
        settings: ToneSettings | None = None,
        announce: Callable[[str], None] = _say_nothing,
        not_light: str = "",
    ) -> None:
        """Start with nothing learned.

        Args:
            settings: None = the defaults.
            announce: is told in one line how many bits were found, and where that changes.
            not_light: see the attribute.
        """
        settings = settings or ToneSettings()
        self.tone = settings.tone
        self.frames = 0
        self.not_light = not_light
        self._given = settings.bit_depth
        self._announce = announce
        self._highest = 0
        self._depth = settings.bit_depth or _USUAL_DEPTHS[0]
        self._limits: tuple[float, float] | None = None
        self._drawn: tuple[float, float, Table] | None = None

    def table(self, samples: Samples) -> Table:
        """The table for one picture, after learning from it.

        Raises:
            ImageError: a sample is larger than the given depth allows, or the bytes of all are swapped.
        """
        self._learn(samples)
        if self.tone != "percentile":
            return curve(self.tone, self._depth)
        return self._followed(samples)

    def map(self, samples: Samples) -> npt.NDArray[np.uint8]:
        """One picture, mapped; see `table`."""
        native = samples.astype(np.uint16, copy=False)
        return look_up(self.table(native), native)

    @property
    def described(self) -> str:
        """What is done to the samples, in words; empty while there were none."""
        found = "given" if self._given else f"found: samples end at {self._highest}"
        return f"{self._depth} bits ({found}), tone {self.tone}" if self.frames else ""

    def _learn(self, samples: Samples) -> None:
        highest = int(samples.max())
        if self._given:
            if highest >> self._given:
                raise ImageError(_too_large(highest, self._given))
        elif highest > self._highest or self.frames < FIRST_FRAMES:
            self._find_depth(samples, max(highest, self._highest))
        self.frames += 1
        if not self._given and self.frames == FIRST_FRAMES:
            self._announce(
                f"samples: {self.described}, taken for light; set bit_depth where the camera has another number of bits"
            )

    def _find_depth(self, samples: Samples, highest: int) -> None:
        depth = next(depth for depth in _USUAL_DEPTHS if highest < 1 << depth)
        if depth == MAX_DEPTH:
            _refuse_swapped(samples)
        before, self._depth, self._highest = self._depth, depth, highest
        if depth != before and self.frames >= FIRST_FRAMES:
            self._announce(f"samples: {self.described}, {before} bits until now; set bit_depth to hold it")

    def _followed(self, samples: Samples) -> Table:
        """Between black and white points that go with the picture, but slowly, and not at all with its noise."""
        darkest, brightest = _limits(samples)
        if self._limits is None:
            self._limits = darkest, brightest
        else:
            black, white = self._limits
            self._limits = black + _FOLLOWED * (darkest - black), white + _FOLLOWED * (brightest - white)
        black, white = self._limits
        span = max(white - black, _LEAST_SPAN * (1 << self._depth))
        if self._drawn is not None:
            drawn_black, drawn_span, table = self._drawn
            if max(abs(black - drawn_black), abs(black + span - drawn_black - drawn_span)) <= _DEAD_BAND * drawn_span:
                return table
        table = _read_only(_bytes_of(_srgb(np.clip((np.arange(LEVELS) - black) / span, 0, 1))))
        self._drawn = black, span, table
        return table


@lru_cache(maxsize=32)
def curve(tone: str, bit_depth: int) -> Table:
    """The table of a tone that does not depend on the picture; samples beyond the depth become white."""
    full = (1 << bit_depth) - 1
    samples = np.minimum(np.arange(LEVELS), full)
    if tone == "linear":
        return _read_only((samples >> (bit_depth - 8)).astype(np.uint8))
    share = samples / full
    bright = _srgb(share) if tone == "gamma" else np.log1p(_LOG_SCALE * share) / np.log1p(_LOG_SCALE)
    return _read_only(_bytes_of(bright))


def byte_swapped(table: Table) -> Table:
    """The same table for samples whose two bytes are the other way round."""
    return np.ascontiguousarray(table.reshape(256, 256).T).reshape(-1)


def look_up(table: Table, samples: Samples) -> npt.NDArray[np.uint8]:
    """Every sample's byte; ``samples`` in this machine's byte order, any strides."""
    samples = np.require(samples, np.uint16, ["C", "A"])
    if _opencv_reads_deep():
        return np.asarray(cv2.LUT(samples, table), np.uint8).reshape(samples.shape)
    return table.take(samples, mode="clip")


@lru_cache(maxsize=1)
def _opencv_reads_deep() -> bool:
    """OpenCV 5 looks up samples of 16 bits, five times as fast as NumPy; OpenCV 4 refuses them."""
    probe = np.array([[0, 1, 255, 256, LEVELS - 1]], np.uint16)
    table = (np.arange(LEVELS) % 251).astype(np.uint8)
    try:
        return np.array_equal(cv2.LUT(probe, table), table[probe])
    except cv2.error:
        return False


def _limits(samples: Samples) -> tuple[float, float]:
    # An odd distance meets every phase of a mosaic equally often.
    grid = samples[::_GRID, ::_GRID].astype(np.uint16).reshape(-1)
    low, high = (round(share * (grid.size - 1)) for share in _PERCENTILES)
    ordered = np.partition(grid, (low, high))
    return float(ordered[low]), float(ordered[high])


def _refuse_swapped(samples: Samples) -> None:
    """Swapped samples of 10 to 14 bits look like 16 bits whose lower bytes never use their upper bits."""
    bits = int(np.bitwise_or.reduce(samples, axis=None))
    low, high = bits & 255, bits >> 8
    if 0 < low <= _SWAPPED_LOW and high >= _SWAPPED_HIGH:
        raise ImageError(
            f"is_bigendian: samples of {8 + low.bit_length()} bits with their two bytes swapped, it seems, expected "
            "the byte order it names: correct the driver, or set bit_depth 16 if they are right"
        )


def _too_large(highest: int, given: int) -> str:
    swapped = (highest & 255) << 8 | highest >> 8
    hint = "; swapped it would fit: is is_bigendian right?" if not swapped >> given else ""
    return f"data: a sample of {highest}, expected at most {(1 << given) - 1} for bit_depth {given}: correct it{hint}"


def _srgb(share: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """IEC 61966-2-1: light in 0..1 to what a picture of 8 bits stores, 0..1."""
    return np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)


def _bytes_of(share: npt.NDArray[Any]) -> Table:
    return np.asarray(np.rint(255 * share), np.uint8)


def _read_only(table: Table) -> Table:
    table.setflags(write=False)
    return table
