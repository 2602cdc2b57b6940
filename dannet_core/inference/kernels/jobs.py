"""Arguments of the two kernels: structures as `frame_math.cuh` has them, look-up tables, grids and shared memory."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dannet_core.inference.camera_image import DEEP_ENCODINGS, ENCODINGS, bytes_of_picture
from dannet_core.inference.postprocess import axis_positions
from dannet_core.inference.taps import Taps, resize_taps
from dannet_core.pixels import COLORMAP, IMAGENET_MEAN, IMAGENET_STD, Colormap
from dannet_core.tone import LEVELS

BLOCK_COLUMNS: Final = 32
BLOCK_ROWS: Final = 8
SHARED_BYTES: Final = 48 * 1024
"""What every GPU gives a block without being asked for more."""
ENCODING_NUMBERS: Final = {name: number for number, name in enumerate((*ENCODINGS, *DEEP_ENCODINGS))}

Tables = dict[str, npt.NDArray[Any]]
"""Arrays that a kernel reads besides the frame's own, by the name of the job's field."""
Pointers = Mapping[str, int]
"""Addresses by the name of the job's field."""


class CameraStruct(ctypes.Structure):
    """``struct Camera``."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("table", ctypes.c_void_p),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("step", ctypes.c_int32),
        ("encoding", ctypes.c_int32),
    ]


class CameraJob(ctypes.Structure):
    """``struct CameraJob``."""

    _fields_ = [
        ("camera", CameraStruct),
        *(
            (name, ctypes.c_void_p)
            for name in ("network", "first_row", "row_weights", "first_column", "column_weights", "not_finite")
        ),
        *((name, ctypes.c_int32) for name in ("out_height", "out_width", "row_taps", "column_taps", "half_output")),
        *((name, ctypes.c_int32) for name in ("round_rows", "stage_height", "stage_width")),
        ("scale", ctypes.c_float * 3),
        ("offset", ctypes.c_float * 3),
    ]


class LabelJob(ctypes.Structure):
    """``struct LabelJob``."""

    _fields_ = [
        ("camera", CameraStruct),
        *((name, ctypes.c_void_p) for name in ("logits", "factor", "offset", "low_row", "row_fraction")),
        *((name, ctypes.c_void_p) for name in ("low_column", "column_fraction", "colors")),
        *((name, ctypes.c_void_p) for name in ("labels", "confidence", "confidence_bytes", "color", "overlay")),
        ("not_finite", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("classes", "stride_height", "stride_width", "half_logits")),
        *((name, ctypes.c_int32) for name in ("stage_rows", "stage_columns")),
        ("min_confidence", ctypes.c_float),
        ("alpha", ctypes.c_float),
    ]


class CameraFormat(NamedTuple):
    """A camera picture without its pixels: what stays the same from frame to frame."""

    height: int
    width: int
    step: int
    encoding: str

    @property
    def pixel_bytes(self) -> int:
        """Bytes from the first pixel to the last one."""
        return bytes_of_picture(self.encoding, self.height, self.width, self.step)

    @property
    def table_bytes(self) -> int:
        """Bytes of the table of samples, which follows the pixels; 0 where they have none."""
        return LEVELS if self.encoding in DEEP_ENCODINGS else 0

    def struct(self, data: int) -> CameraStruct:
        """``struct Camera`` of the pixels at address ``data``, their table behind them."""
        table = data + self.pixel_bytes if self.table_bytes else None
        return CameraStruct(data, table, self.height, self.width, self.step, ENCODING_NUMBERS[self.encoding])


@dataclass(frozen=True)
class Launch:
    """How a kernel is launched.

    Attributes:
        grid: blocks in x and y.
        shared_bytes: dynamic shared memory of a block.
        tables: to be copied to the device once.
    """

    grid: tuple[int, int]
    shared_bytes: int
    tables: Tables


@dataclass(frozen=True)
class CameraLaunch(Launch):
    """`camera_to_network` for one camera format and network input.

    Attributes:
        camera: format of the pictures.
        shape: (height, width) of the network's input.
        half: whether it is float16 instead of float32.
        round_rows: whether the filter rounds between its two passes.
        stage: rows and columns of camera pixels in shared memory; (0, 0) = they do not fit.
    """

    camera: CameraFormat
    shape: tuple[int, int]
    half: bool
    round_rows: bool
    stage: tuple[int, int]

    def job(self, camera: int, network: int, tables: Pointers, not_finite: int = 0) -> CameraJob:
        """The kernel's argument, given the addresses of the pixels, of the network's input and of the tables.

        ``not_finite`` is that of an int32 that this kernel clears, and that `logits_to_outputs` sets where a score is
        NaN, infinite or beyond ``LARGEST_SCORE``; 0 = nobody asks.
        """
        return CameraJob(
            camera=self.camera.struct(camera),
            network=network,
            not_finite=not_finite,
            out_height=self.shape[0],
            out_width=self.shape[1],
            row_taps=self.tables["row_weights"].shape[1],
            column_taps=self.tables["column_weights"].shape[1],
            half_output=self.half,
            round_rows=self.round_rows,
            stage_height=self.stage[0],
            stage_width=self.stage[1],
            scale=(ctypes.c_float * 3)(*(1 / (255 * np.float64(s)) for s in IMAGENET_STD)),
            offset=(ctypes.c_float * 3)(
                *(-np.float64(m) / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True))
            ),
            **tables,
        )


@dataclass(frozen=True)
class LabelLaunch(Launch):
    """`logits_to_outputs` for one camera format and network output.

    Attributes:
        camera: format of the pictures.
        shape: (classes, rows, columns) of the stride logits.
        half: whether they are float16 instead of float32.
        stage: rows and columns of stride samples in shared memory; (0, 0) = they do not fit.
    """

    camera: CameraFormat
    shape: tuple[int, int, int]
    half: bool
    stage: tuple[int, int]

    def job(
        self, camera: int, logits: int, tables: Pointers, outputs: Pointers, min_confidence: float, alpha: float
    ) -> LabelJob:
        """The kernel's argument.

        Args:
            camera: address of the pixels.
            logits: address of the stride logits.
            tables: addresses of the tables, and of the (K,) float32 ``factor`` and ``offset`` of the re-weighting.
            outputs: addresses of those outputs that somebody wants, by name; ``not_finite`` among them.
            min_confidence: labels below it become 255; 0 = off.
            alpha: opacity of the overlay's colours.
        """
        return LabelJob(
            camera=self.camera.struct(camera),
            logits=logits,
            classes=self.shape[0],
            stride_height=self.shape[1],
            stride_width=self.shape[2],
            half_logits=self.half,
            stage_rows=self.stage[0],
            stage_columns=self.stage[1],
            min_confidence=min_confidence,
            alpha=alpha,
            **tables,
            **outputs,
        )


def camera_launch(camera: CameraFormat, shape: tuple[int, int], half: bool, resize: str) -> CameraLaunch:
    """Plan `camera_to_network`: ``resize`` as in `dannet_core.inference.preprocess`, ``shape`` = (height, width)."""
    rows, columns = resize_taps((camera.height, camera.width), shape, resize)
    stage = (_stage(rows, BLOCK_ROWS), _stage(columns, BLOCK_COLUMNS))
    stage, shared_bytes = _if_it_fits(stage, bytes_each=4)
    tables = {
        "first_row": rows.first,
        "row_weights": rows.weights,
        "first_column": columns.first,
        "column_weights": columns.weights,
    }
    # Pillow rounds to bytes between its passes, and makes only those passes that change something.
    round_rows = resize == "antialiased" and camera.width != shape[1]
    return CameraLaunch(_grid(shape), shared_bytes, tables, camera, shape, half, round_rows, stage)


def label_launch(
    camera: CameraFormat,
    shape: tuple[int, int, int],
    half: bool,
    align_corners: bool,
    colormap: Colormap = COLORMAP,
) -> LabelLaunch:
    """Plan `logits_to_outputs`: ``shape`` = (classes, rows, columns) of the stride logits."""
    size = (camera.height, camera.width)
    tables: Tables = {"colors": colormap}
    stage = []
    for name, samples, pixels, block in zip(
        ("row", "column"), shape[1:], size, (BLOCK_ROWS, BLOCK_COLUMNS), strict=True
    ):
        positions = axis_positions(max(samples, 2), pixels, align_corners)
        low = positions.low.astype(np.int32)
        tables |= {f"low_{name}": low, f"{name}_fraction": positions.fraction}
        stage.append(_span(low, block) + 2)
    fitting, shared_bytes = _if_it_fits((stage[0], stage[1]), bytes_each=4 * shape[0])
    return LabelLaunch(_grid(size), shared_bytes, tables, camera, shape, half, fitting)


def _grid(size: tuple[int, int]) -> tuple[int, int]:
    return -(-size[1] // BLOCK_COLUMNS), -(-size[0] // BLOCK_ROWS)


def _stage(taps: Taps, block: int) -> int:
    return _span(taps.first, block) + taps.num_taps


def _span(first: npt.NDArray[np.int32], block: int) -> int:
    """Largest distance between the first inputs of the first and the last pixel of a block."""
    starts = np.arange(0, first.size, block)
    return int((first[np.minimum(starts + block, first.size) - 1] - first[starts]).max())


def _if_it_fits(stage: tuple[int, int], bytes_each: int) -> tuple[tuple[int, int], int]:
    needed = stage[0] * stage[1] * bytes_each
    return (stage, needed) if needed <= SHARED_BYTES else ((0, 0), 0)
