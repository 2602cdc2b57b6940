"""Everything but the network on the CPU: its input, and labels, confidence, colours and overlay of its logits.

NumPy and OpenCV are the reference and what is always there. `dannet_core.inference.compiled` does the same in one pass.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core import pixels
from dannet_core.classes import IGNORE_ID
from dannet_core.errors import first_line
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.postprocess import (
    ClassScaling,
    Floats,
    relit_picture,
    scale_logits,
    upsample_confidence,
    upsample_labels,
)  # fmt: skip
from dannet_core.inference.preprocess import preprocess
from dannet_core.pixels import Colormap, Labels, Rgb

Buffers = Mapping[str, npt.NDArray[np.uint8]]
Outputs = dict[str, npt.NDArray[Any]]
LOG: Final = logging.getLogger("dannet_core.inference")
SWITCH: Final = "DANNET_OUTPUTS"
"""Environment variable: ``numpy`` keeps to NumPy, e.g. to compare with."""


@dataclass(frozen=True)
class OutputJob:
    """What is wanted of one picture.

    Attributes:
        scaling: the re-weighting.
        picture: H x W x 3 uint8 RGB, or what a camera sent.
        align_corners: how logits are upsampled.
        colormap: of the model's classes.
        min_confidence: labels below it become 255; 0 = off.
        alpha: opacity of the overlay's colours, 0..1.
        wanted: some of ``confidence``, ``confidence_bytes``, ``color``, ``overlay``.
        into: where to write ``labels`` and outputs of bytes instead of new arrays: contiguous, of the picture's size.
    """

    scaling: ClassScaling
    picture: Rgb | CameraImage
    align_corners: bool = True
    colormap: Colormap = field(default_factory=lambda: pixels.COLORMAP)
    min_confidence: float = 0.0
    alpha: float = 0.5
    wanted: frozenset[str] = frozenset()
    into: Buffers = field(default_factory=lambda: MappingProxyType({}))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the picture."""
        return self.picture.size if isinstance(self.picture, CameraImage) else self.picture.shape[:2]

    @property
    def rgb(self) -> Rgb:
        """The picture, H x W x 3 uint8 RGB."""
        return self.picture.to_rgb() if isinstance(self.picture, CameraImage) else self.picture


class Made(NamedTuple):
    """What came of it.

    Attributes:
        labels: H x W uint8.
        scores: h x w x K float32, the re-weighted logits.
        outputs: what was wanted, by name.
    """

    labels: Labels
    scores: Floats
    outputs: Outputs


class OutputMaker(Protocol):
    """Makes the network's input of pictures, and outputs of logits. Used by one thread.

    Attributes:
        name: ``numba`` or ``numpy``.
        why: why not the other one; empty for the faster one.
    """

    name: str
    why: str

    def make(self, logits: Floats, job: OutputJob) -> Made:
        """Labels, and what else is wanted, of K x h x w float32 logits.

        Raises:
            NotFiniteError: a logit is NaN, infinite, or so large that its score is.
        """

    def reads(self, encoding: str) -> bool:
        """Whether `prepare` takes a camera's bytes as they are, so that nothing is gained by converting them before."""

    def prepare(self, camera: CameraImage, size: tuple[int, int], resize: str) -> Floats:
        """As `dannet_core.inference.preprocess.preprocess` of the picture in RGB.

        The compiled one is within a grey level of it, for 997 of 1,000 values equal.
        """

    def denormalize(self, image: Floats) -> Rgb:
        """As `dannet_core.inference.postprocess.relit_picture`, bit for bit.

        Raises:
            NotFiniteError: a value is NaN or infinite.
        """

    def confidence(self, scores: Floats, size: tuple[int, int], align_corners: bool) -> Floats:
        """As `dannet_core.inference.postprocess.upsample_confidence`."""

    def close(self) -> None:
        """End its threads; calling it twice is harmless."""


class NumpyOutputs:
    """The reference."""

    name = "numpy"

    def __init__(self, why: str = "") -> None:
        self.why = why

    def make(self, logits: Floats, job: OutputJob) -> Made:
        """See `OutputMaker.make`."""
        scores = scale_logits(logits, job.scaling)
        labels = upsample_labels(scores, job.size, job.align_corners)
        outputs: Outputs = {}
        if job.min_confidence > 0 or job.wanted & {"confidence", "confidence_bytes"}:
            confidence = self.confidence(scores, job.size, job.align_corners)
            labels[confidence < job.min_confidence] = IGNORE_ID
            outputs["confidence"] = confidence
        if "labels" in job.into:
            np.copyto(job.into["labels"], labels)
            labels = job.into["labels"]
        for name in sorted(job.wanted - {"confidence"}):
            outputs[name] = self._make(name, labels, outputs, job)
        return Made(labels, scores, {name: outputs[name] for name in job.wanted})

    def reads(self, encoding: str) -> bool:
        """See `OutputMaker.reads`."""
        return encoding == "rgb8"

    def prepare(self, camera: CameraImage, size: tuple[int, int], resize: str) -> Floats:
        """See `OutputMaker.prepare`."""
        return preprocess(camera.to_rgb(), size, resize)

    def denormalize(self, image: Floats) -> Rgb:
        """See `OutputMaker.denormalize`."""
        return relit_picture(image)

    def confidence(self, scores: Floats, size: tuple[int, int], align_corners: bool) -> Floats:
        """See `OutputMaker.confidence`."""
        return upsample_confidence(scores, size, align_corners)

    def close(self) -> None:
        """See `OutputMaker.close`."""

    def _make(self, name: str, labels: Labels, outputs: Outputs, job: OutputJob) -> npt.NDArray[Any]:
        out = job.into.get(name)
        if name == "color":
            return pixels.colorize(labels, out, job.colormap)
        if name == "overlay":
            return pixels.overlay(job.rgb, labels, job.alpha, job.colormap, out)
        return np.asarray(cv2.convertScaleAbs(outputs["confidence"], out, alpha=255.0), np.uint8)


def open_outputs(threads: int = 0) -> OutputMaker:
    """The fastest maker that works here.

    Args:
        threads: of the compiled one; 0 = one per core, up to four.
    """
    if os.environ.get(SWITCH) == "numpy":
        return NumpyOutputs(f"{SWITCH}=numpy was set")
    try:
        # What numba meets in an environment is not foreseeable: NumPy too new for it, a processor LLVM does not know.
        from dannet_core.inference.compiled.outputs import CompiledOutputs
    except ImportError as error:
        LOG.info("labels by NumPy: numba cannot be imported (%s): pip install numba", first_line(error))
        return NumpyOutputs(f"numba cannot be imported ({first_line(error)}): pip install numba")
    except Exception as error:  # noqa: BLE001  slower labels are better than none
        LOG.warning("labels by NumPy: numba failed: %s", first_line(error))
        return NumpyOutputs(f"numba failed: {first_line(error)}")
    return CompiledOutputs(threads)
