"""Everything but the network on the CPU: its input, and labels, confidence, colours and overlay of its logits.

NumPy and OpenCV are the reference and what is always there. `dannet_core.inference.compiled` does the same in one pass.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core import pixels
from dannet_core.classes import IGNORE_ID
from dannet_core.errors import first_line
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.output_job import Made, OutputJob, OutputMaker, Outputs
from dannet_core.inference.postprocess import Floats, relit_picture, scale_logits, upsample_confidence, upsample_labels
from dannet_core.inference.preprocess import preprocess
from dannet_core.pixels import Labels, Rgb

LOG: Final = logging.getLogger("dannet_core.inference")
SWITCH: Final = "DANNET_OUTPUTS"
"""Environment variable: ``numpy`` keeps to NumPy, e.g. to compare with."""


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
