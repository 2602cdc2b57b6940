"""What a camera sends: bytes, an encoding and a row step. Turned into RGB here, or on the GPU by the kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError
from dannet_core.pixels import MAX_SIDE, MIN_SIDE, Rgb, check_rgb
from dannet_core.tone import LEVELS, Samples, Table, ToneMapper, byte_swapped, look_up


class Encoding(NamedTuple):
    """How an encoding lies in memory.

    Attributes:
        bytes_per_pixel: in the first plane.
        to_rgb: OpenCV's conversion; None = it is RGB already.
        even_width, even_height: whether the side must be even.
        rows_per_row: rows of ``step`` bytes per row of pixels; above 1 where a plane of colours follows the grey one.
        rows_in_last: rows of ``step`` bytes that the last row of the last plane takes.
    """

    bytes_per_pixel: int
    to_rgb: int | None
    even_width: bool = False
    even_height: bool = False
    rows_per_row: float = 1.0
    rows_in_last: int = 1


# OpenCV's old two-letter Bayer names start at the second row; its four-letter names mean what ROS means.
ENCODINGS: Final = MappingProxyType(
    {
        "rgb8": Encoding(3, None),
        "bgr8": Encoding(3, cv2.COLOR_BGR2RGB),
        "rgba8": Encoding(4, cv2.COLOR_RGBA2RGB),
        "bgra8": Encoding(4, cv2.COLOR_BGRA2RGB),
        "mono8": Encoding(1, cv2.COLOR_GRAY2RGB),
        "bayer_rggb8": Encoding(1, cv2.COLOR_BayerRGGB2RGB),
        "bayer_bggr8": Encoding(1, cv2.COLOR_BayerBGGR2RGB),
        "bayer_gbrg8": Encoding(1, cv2.COLOR_BayerGBRG2RGB),
        "bayer_grbg8": Encoding(1, cv2.COLOR_BayerGRBG2RGB),
        "uyvy": Encoding(2, cv2.COLOR_YUV2RGB_UYVY, even_width=True),
        "yuyv": Encoding(2, cv2.COLOR_YUV2RGB_YUY2, even_width=True),
        "nv12": Encoding(1, cv2.COLOR_YUV2RGB_NV12, even_width=True, even_height=True, rows_per_row=1.5),
        "nv21": Encoding(1, cv2.COLOR_YUV2RGB_NV21, even_width=True, even_height=True, rows_per_row=1.5),
        # Here each pixel has a colour of its own, so a row of colours is two rows long. OpenCV has no such conversion.
        "nv24": Encoding(1, cv2.COLOR_YUV2RGB_UYVY, rows_per_row=3.0, rows_in_last=2),
    }
)
"""Of 8 bits a sample, by name; the order is that of the kernels' encoding numbers. YUV is BT.601, 16..235."""
DEEP_ENCODINGS: Final = MappingProxyType(
    {
        f"{name[:-1]}16": name
        for name in (
            *("rgb8", "bgr8", "rgba8", "bgra8", "mono8"),
            *("bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"),
        )
    }
)
"""Of two bytes a sample, by name: what they are once a table made one byte of each; numbered behind `ENCODINGS`."""
_KINDS: Final = MappingProxyType(
    {
        **ENCODINGS,
        **{
            deep: ENCODINGS[same]._replace(bytes_per_pixel=2 * ENCODINGS[same].bytes_per_pixel)
            for deep, same in DEEP_ENCODINGS.items()
        },
    }
)
_LUMA: Final = MappingProxyType({"uyvy": 1, "yuyv": 0, "nv12": 0, "nv21": 0, "nv24": 0})
_GRID: Final = 7
_PAGE: Final = 4096
_PADDED_TO: Final = 16
_DEEP_GREY: Final = "mono16"


def bytes_of_picture(encoding: str, height: int, width: int, step: int) -> int:
    """Bytes from the first pixel to the last one; the arguments as in `CameraImage`."""
    kind = _KINDS[encoding]
    last = kind.rows_in_last
    return step * (int(height * kind.rows_per_row) - last) + width * kind.bytes_per_pixel * last


@dataclass(frozen=True)
class CameraImage:
    """One picture as it came, not yet RGB.

    Attributes:
        data: 1-D uint8: the rows, ``step`` bytes apart; the last one may end after its pixels. A view, not a copy.
        height, width: in pixels, 64 to 16384.
        step: bytes from one row to the next.
        encoding: one of `ENCODINGS` or `DEEP_ENCODINGS`.
        table: what becomes of each sample of two bytes, the lower one first, see `toned`; None for `ENCODINGS`.

    Raises:
        ImageError: on construction, when the fields contradict each other.
    """

    data: npt.NDArray[np.uint8]
    height: int
    width: int
    step: int
    encoding: str
    table: Table | None = None

    def __post_init__(self) -> None:
        encoding = _KINDS.get(self.encoding)
        if encoding is None:
            raise ImageError(f"encoding: got '{self.encoding[:40]}', expected one of {', '.join(_KINDS)}")
        if not all(MIN_SIDE <= side <= MAX_SIDE for side in (self.height, self.width)):
            raise ImageError(f"width, height: got {self.width}x{self.height}, expected {MIN_SIDE} to {MAX_SIDE} pixels")
        if (encoding.even_width and self.width % 2) or (encoding.even_height and self.height % 2):
            raise ImageError(f"width, height: got {self.width}x{self.height}, expected even ones for {self.encoding}")
        row = self.width * encoding.bytes_per_pixel
        if self.step < row:
            raise ImageError(f"step: got {self.step}, expected at least {row} bytes for {self.width} pixels")
        self._check_data()

    def _check_data(self) -> None:
        if self.data.ndim != 1 or self.data.dtype != np.uint8 or not self.data.flags.c_contiguous:
            raise ImageError(f"data: got {self.data.ndim}-D {self.data.dtype}, expected contiguous 1-D uint8")
        if self.data.size < self.num_bytes:
            raise ImageError(f"data: got {self.data.size} bytes, expected {self.num_bytes} for {self._rows_said()}")
        if _KINDS[self.encoding].rows_per_row > 1 and not self._ends_where_it_should():
            raise ImageError(
                f"data: got {self.data.size} bytes, expected {self.step * self.num_rows} for {self._rows_said()}: "
                "rows between the two planes cannot be told from rows behind them"
            )
        if self.is_deep and self.step % 2 == 0 and self.data.size % 2:
            raise ImageError(f"data: got {self.data.size} bytes, expected an even number: {self.encoding} has two each")

    @property
    def num_rows(self) -> int:
        """Rows of ``step`` bytes: the height, half as many again for nv12 and nv21, three times as many for nv24."""
        return int(self.height * _KINDS[self.encoding].rows_per_row)

    @property
    def num_bytes(self) -> int:
        """Bytes from the first pixel to the last one."""
        return bytes_of_picture(self.encoding, self.height, self.width, self.step)

    @property
    def is_deep(self) -> bool:
        """Whether samples have two bytes."""
        return self.encoding in DEEP_ENCODINGS

    def _rows_said(self) -> str:
        if self.num_rows == self.height:
            return f"{self.height} rows"
        said = f"{self.height} rows of grey and {self.num_rows - self.height} of colour, {self.step} bytes each"
        return f"{said} (does height count the rows of colour?)" if self.data.size == self.step * self.height else said

    def _ends_where_it_should(self) -> bool:
        """Whether what lies behind the last row, if anything, cannot be the padding of a plane's height."""
        whole = self.step * self.num_rows
        whole_pages = -(-whole // _PAGE) * _PAGE
        return self.data.size < whole + self.step or (self.data.size == whole_pages and self.height % _PADDED_TO == 0)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width

    @classmethod
    def from_rgb(cls, rgb: Rgb) -> CameraImage:
        """An H x W x 3 uint8 RGB array as a camera picture; rows may be any distance apart, copied only where they
        do not run forward or a row's pixels are not next to each other.

        Raises:
            ImageError: it is not such an array.
        """
        rgb = check_rgb(rgb)
        height, width = rgb.shape[:2]
        if rgb.strides[1:] != (3, 1) or rgb.strides[0] < width * 3:
            rgb = np.ascontiguousarray(rgb)
        num_bytes = rgb.strides[0] * (height - 1) + width * 3
        flat = np.lib.stride_tricks.as_strided(rgb, (num_bytes,), (1,), writeable=False)
        return cls(flat, height, width, rgb.strides[0], "rgb8")

    @classmethod
    def from_samples(cls, samples: Samples, tone: ToneMapper, encoding: str = "") -> CameraImage:
        """H x W (grey) or H x W x 3 (red first) uint16 as a camera picture, mapped by ``tone``.

        ``encoding`` is that of a mosaic in H x W; empty = there is none.

        Raises:
            ImageError: a size, or samples, that are refused.
        """
        data = np.ascontiguousarray(samples, "<u2").view(np.uint8)
        height, width = samples.shape[:2]
        name = encoding or (_DEEP_GREY if samples.ndim == 2 else "rgb16")
        return cls(data.reshape(-1), height, width, data[0].size, name).toned(tone)

    def toned(self, tone: ToneMapper, *, big_endian: bool = False) -> CameraImage:
        """The same picture with the table that ``tone`` has for it; nothing changes where samples have one byte.

        Raises:
            ImageError: samples that are refused.
        """
        if not self.is_deep:
            return self
        if self.encoding == _DEEP_GREY and tone.not_light:
            raise ImageError(tone.not_light)
        colors = self._samples(">u2" if big_endian else "<u2")[:, :, :3]  # alpha is not looked at, nor learned from
        table = tone.table(colors)
        return replace(self, table=byte_swapped(table) if big_endian else table)

    def mean_intensity(self) -> float:
        """Mean of red, green and blue on a sparse grid, 0 black to 255 white, without converting the picture.

        Of YUV it is the luma, stretched from 16..235; in a mosaic green counts twice.
        """
        # An odd distance meets every phase of a mosaic equally often.
        if self.is_deep:
            return float(look_up(self._table(), self._samples()[::_GRID, ::_GRID, :3]).mean())
        grid = self._pixels()[: self.height : _GRID, ::_GRID]
        if self.encoding in _LUMA:
            return float(np.clip((grid[:, :, _LUMA[self.encoding]].mean() - 16) * 255 / 219, 0, 255))
        return float(grid[:, :, :3].mean())

    def to_rgb(self) -> Rgb:
        """H x W x 3 uint8 RGB, on the CPU; ``rgb8`` comes back as a view."""
        if self.is_deep:
            return self._in_bytes().to_rgb()
        to_rgb, pixels = ENCODINGS[self.encoding].to_rgb, self._pixels()
        if self.encoding == "nv24":
            return self._nv24_to_rgb()
        if to_rgb is None:
            return pixels
        return np.asarray(cv2.cvtColor(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, to_rgb), dtype=np.uint8)

    def _in_bytes(self) -> CameraImage:
        """The picture that the camera would have sent with a byte a sample."""
        mapped = look_up(self._table(), self._samples())
        return CameraImage(mapped.reshape(-1), self.height, self.width, mapped[0].size, DEEP_ENCODINGS[self.encoding])

    def _table(self) -> Table:
        if self.table is None or self.table.shape != (LEVELS,):
            raise ImageError(
                f"encoding: {self.encoding} without a table, expected one byte for each sample: call toned"
            )
        return self.table

    def _samples(self, kind: str = "<u2") -> Samples:
        """Rows x columns x samples of a pixel; a view, whatever the step."""
        channels = _KINDS[self.encoding].bytes_per_pixel // 2
        shape, strides = (self.height, self.width, channels), (self.step, 2 * channels, 2)
        samples: Samples = np.ndarray(shape, kind, buffer=self.data, strides=strides)
        return samples

    def _pixels(self) -> npt.NDArray[np.uint8]:
        """Rows x columns x bytes of a pixel, a read-only view; of nv24 the grey plane alone."""
        encoding = ENCODINGS[self.encoding]
        channels = encoding.bytes_per_pixel
        rows = self.num_rows if encoding.rows_in_last == 1 else self.height
        shape, strides = (rows, self.width, channels), (self.step, channels, 1)
        return np.lib.stride_tricks.as_strided(self.data, shape, strides, writeable=False)

    def _nv24_to_rgb(self) -> Rgb:
        """By way of a UYVY picture in which each pixel stands twice, so that the arithmetic is that of the others."""
        colors = np.lib.stride_tricks.as_strided(
            self.data[self.step * self.height :], (self.height, self.width, 2), (2 * self.step, 2, 1), writeable=False
        )
        twice = np.empty((self.height, self.width, 4), np.uint8)
        twice[:, :, 0::2] = colors
        twice[:, :, 1::2] = self._pixels()
        rgb = cv2.cvtColor(twice.reshape(self.height, 2 * self.width, 2), ENCODINGS["nv24"].to_rgb or 0)
        return np.ascontiguousarray(rgb[:, ::2], dtype=np.uint8)
