"""The network's input in one pass, and everything at camera size from its stride logits in another, on threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.compiled.colors import blend_rows, color_rows, forget_unsure
from dannet_core.inference.compiled.confidence import confidence_bands, to_levels
from dannet_core.inference.compiled.grid import Grid, make_grid
from dannet_core.inference.compiled.labels import label_bands
from dannet_core.inference.compiled.pictures import (
    CHANNELS,
    denormalize_rows,
    make_how,
    make_layout,
    shrink_rows,
    shrinks_faster,
)
from dannet_core.inference.compiled.scores import to_scores
from dannet_core.inference.compiled.threads import BandThreads
from dannet_core.inference.compiled.whole_ratio import averages, shrink_wholly, whole_ratio
from dannet_core.inference.output_job import Made, OutputJob, Outputs
from dannet_core.inference.postprocess import Floats, at_least_two, not_finite
from dannet_core.inference.preprocess import preprocess
from dannet_core.pixels import BYTE_OFFSET, BYTE_SCALE, NORMALIZED, Labels, Rgb

BLOCK_PIXELS: Final = 128
"""Columns that are worked on together: their powers of all classes stay in the first-level cache."""
REACH: Final = 24
ROUGH_REACH: Final = 9
"""Powers of two below the best that the classes which are left out have together: they change a confidence by at most
6e-8, and by half a byte."""
_CHANNELS: Final = {"confidence_bytes": 1, "color": 3, "overlay": 3}


class CompiledOutputs:
    """See `dannet_core.inference.output_job.OutputMaker`."""

    name = "numba"
    why = ""

    def __init__(self, threads: int = 0) -> None:
        """Start the threads.

        Args:
            threads: 0 = one per core, up to four.
        """
        self._threads = BandThreads(threads)

    def make(self, logits: Floats, job: OutputJob) -> Made:
        """See `OutputMaker.make`."""
        scores, best = _scores(logits, job)
        grid = make_grid(scores.shape[:2], job.size, job.align_corners)
        labels: Labels = _rows(job, "labels", 1)
        outputs = {name: _rows(job, name, channels) for name, channels in _CHANNELS.items() if name in job.wanted}
        if "confidence" in job.wanted:
            outputs["confidence"] = np.empty(job.size, np.float32)
        picture = CameraImage.from_rgb(job.rgb) if "overlay" in job.wanted else None
        part = _Part(scores, grid, job, outputs, picture)

        def make_bands(first: int, last: int) -> None:
            label_bands(scores, best, grid, first, last, labels)
            part.finish(labels, first, last)

        self._threads.run(make_bands, grid.num_bands)
        height, width = job.size
        shaped = {
            name: rows.reshape(height, width, 3) if _CHANNELS.get(name) == 3 else rows for name, rows in outputs.items()
        }
        return Made(labels, scores, shaped)

    def reads(self, encoding: str) -> bool:
        """See `OutputMaker.reads`."""
        return encoding in CHANNELS

    def prepare(self, camera: CameraImage, size: tuple[int, int], resize: str) -> Floats:
        """See `OutputMaker.prepare`."""
        if not shrinks_faster(camera, size, resize):
            return preprocess(camera.to_rgb(), size, resize)
        image = np.empty((1, 3, *size), np.float32)
        self._threads.run(_shrinking(camera, size, image[0]), size[0])
        return image

    def denormalize(self, image: Floats) -> Rgb:
        """See `OutputMaker.denormalize`."""
        image = np.ascontiguousarray(image, dtype=np.float32)
        _, height, width = image.shape
        rows, bad = np.empty((height, width * 3), np.uint8), []

        def write(first: int, last: int) -> None:
            bad.append(denormalize_rows(image, BYTE_SCALE, BYTE_OFFSET, rows, (first, last)))

        self._threads.run(write, height)
        if any(bad):
            raise not_finite("relit", sum(bad), image.size)
        return rows.reshape(height, width, 3)

    def confidence(self, scores: Floats, size: tuple[int, int], align_corners: bool) -> Floats:
        """See `OutputMaker.confidence`."""
        scores = np.ascontiguousarray(at_least_two(scores))
        grid, levels = make_grid(scores.shape[:2], size, align_corners), _levels(scores)
        confidence, no_bytes = np.empty(size, np.float32), np.empty((0, 0), np.uint8)
        accuracy, cells = _accuracy(rough=False), _cells(grid)

        def make_bands(first: int, last: int) -> None:
            rows = confidence[grid.first_row[first] : grid.first_row[last]]
            confidence_bands(levels, grid, (first, last, cells), accuracy, rows, no_bytes)

        self._threads.run(make_bands, grid.num_bands)
        return confidence

    def close(self) -> None:
        """See `OutputMaker.close`."""
        self._threads.close()


class _Part:
    """What follows the labels, for some bands at a time: their rows are still in the cache."""

    def __init__(
        self, scores: Floats, grid: Grid, job: OutputJob, outputs: Outputs, picture: CameraImage | None
    ) -> None:
        self._grid, self._job, self._outputs, self._picture = grid, job, outputs, picture
        self._exact = "confidence" in outputs or job.min_confidence > 0
        needs_confidence = self._exact or "confidence_bytes" in outputs
        self._levels = _levels(scores) if needs_confidence else None
        self._accuracy, self._cells = _accuracy(rough=not self._exact), _cells(grid)

    def finish(self, labels: Labels, first: int, last: int) -> None:
        """Make everything else that is wanted for the bands ``first`` to ``last - 1``."""
        rows = slice(int(self._grid.first_row[first]), int(self._grid.first_row[last]))
        if self._levels is not None:
            self._make_confidence(self._levels, labels[rows], first, last, rows)
        if "color" in self._outputs or "overlay" in self._outputs:
            self._make_colors(labels[rows], rows)

    def _make_confidence(self, levels: Floats, labels: Labels, first: int, last: int, rows: slice) -> None:
        whole = self._outputs.get("confidence")
        confidence = np.empty(labels.shape if self._exact else (0, 0), np.float32) if whole is None else whole[rows]
        as_bytes = self._outputs.get("confidence_bytes", np.empty((0, 0), np.uint8))[rows]
        confidence_bands(levels, self._grid, (first, last, self._cells), self._accuracy, confidence, as_bytes)
        if self._job.min_confidence > 0:
            forget_unsure(confidence, np.float32(self._job.min_confidence), labels)

    def _make_colors(self, labels: Labels, rows: slice) -> None:
        whole = self._outputs.get("color")
        colors = np.empty((len(labels), 3 * labels.shape[1]), np.uint8) if whole is None else whole[rows]
        color_rows(labels, self._job.colormap, colors)
        if self._picture is not None:
            picture = (self._picture.data, self._picture.step)
            shares = np.float32(1.0 - self._job.alpha), np.float32(self._job.alpha)
            blend_rows(picture, rows.start, colors, shares, self._outputs["overlay"][rows])


def _shrinking(camera: CameraImage, size: tuple[int, int], image: Floats) -> Callable[[int, int], None]:
    """What writes some rows of ``image``."""
    layout, ratio = make_layout(camera), whole_ratio(camera.size, size)
    if ratio is not None:
        table = averages(int(ratio[0] * ratio[1]))
        return lambda first, last: shrink_wholly(camera.data, layout, ratio, table, image, (first, last))
    how = make_how(camera.size, size)
    return lambda first, last: shrink_rows(camera.data, layout, how, NORMALIZED, image, (first, last))


def _scores(logits: Floats, job: OutputJob) -> tuple[Floats, Labels]:
    logits = np.ascontiguousarray(at_least_two(logits.transpose(1, 2, 0)).transpose(2, 0, 1), dtype=np.float32)
    num_classes, height, width = logits.shape
    scores, best = np.empty((height, width, num_classes), np.float32), np.empty((height, width), np.uint8)
    bad = to_scores(logits, job.scaling.factor, job.scaling.offset, scores, best)
    if bad:
        raise not_finite("stride_logits", bad, scores.size)
    return scores, best


def _levels(scores: Floats) -> Floats:
    height, width, num_classes = scores.shape
    levels = np.empty((height, num_classes, width), np.float32)
    to_levels(scores, levels)
    return levels


def _accuracy(*, rough: bool) -> tuple[np.float32, bool]:
    return np.float32(ROUGH_REACH if rough else REACH), rough


def _cells(grid: Grid) -> int:
    """Cells of a block."""
    return max(1, round(BLOCK_PIXELS * (len(grid.first_column) - 1) / int(grid.first_column[-1])))


def _rows(job: OutputJob, name: str, channels: int) -> npt.NDArray[Any]:
    """Where an output of bytes is to be written, H rows x W pixels."""
    height, width = job.size
    given = job.into.get(name)
    if given is None:
        return np.empty((height, width * channels), np.uint8)
    assert given.flags.c_contiguous, "buffers are messages' memory"
    assert given.shape[:2] == job.size, "buffers are made for the picture"
    return given.reshape(height, width * channels)
