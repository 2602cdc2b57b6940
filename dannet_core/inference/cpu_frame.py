"""A frame whose two ends are made on the CPU: input, network, outputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from dannet_core.errors import NotFiniteError
from dannet_core.inference.backends.backend import Backend, StrideOutput
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.frame import FrameRequest
from dannet_core.inference.not_finite import no_labels
from dannet_core.inference.output_job import Buffers, Made, OutputJob, OutputMaker
from dannet_core.inference.postprocess import ClassScaling
from dannet_core.inference.prediction import Lazy, Prediction

_Result = TypeVar("_Result")


class CpuFrames(NamedTuple):
    """What such frames are made by.

    Attributes:
        backend: runs the network.
        maker: does everything else.
    """

    backend: Backend
    maker: OutputMaker

    def run(self, camera: CameraImage, request: FrameRequest, scaling: ClassScaling, into: Buffers) -> Prediction:
        """Label one picture.

        Args:
            camera: what a camera sent.
            request: what is wanted.
            scaling: the re-weighting.
            into: see `OutputJob`.

        Raises:
            NotFiniteError: the network gave NaN or infinity.
            BackendError: it failed to run.
        """
        timings: dict[str, float] = {}
        if "overlay" in request.outputs or not self.maker.reads(camera.encoding):
            camera = CameraImage.from_rgb(_timed(timings, "preprocess", camera.to_rgb))  # once, for both ends
        size, resize = request.input_size, request.settings.resize
        image = _timed(timings, "preprocess", lambda: self.maker.prepare(camera, size, resize))
        output = _timed(timings, "infer", lambda: self.backend.infer(image, request.with_relit))
        metadata = self.backend.metadata
        job = OutputJob(
            scaling=scaling,
            picture=camera,
            align_corners=metadata.align_corners,
            colormap=metadata.classes.colormap,
            min_confidence=request.settings.min_confidence,
            alpha=request.alpha,
            wanted=request.outputs,
            into=into,
        )
        made = _timed(timings, "postprocess", lambda: finite(self.backend, lambda: self.maker.make(output.logits, job)))
        return self._prediction(output, made, timings)

    def _prediction(self, output: StrideOutput, made: Made, timings: dict[str, float]) -> Prediction:
        metadata, relit = self.backend.metadata, output.relit
        lazy = Lazy(
            lambda: made.scores,
            None if relit is None else lambda: relit,
            metadata.align_corners,
            metadata.classes.colormap,
            metadata.absent,
            self.maker.confidence,
            self.maker.denormalize,
        )
        return Prediction(made.labels, lazy, timings, made.outputs)


def precision_of(backend: Backend) -> str:
    """What the network computes in: ``fp32``, ``fp16``, ``bf16`` or ``int8``."""
    return str(getattr(backend, "precision", backend.metadata.precision))


def finite(backend: Backend, make: Callable[[], _Result]) -> _Result:
    """What ``make`` gives; where it meets NaN, the error says what may have led to it."""
    try:
        return make()
    except NotFiniteError as error:
        raise no_labels(error, backend.metadata.scores, precision_of(backend)) from error


def _timed(timings: dict[str, float], stage: str, work: Callable[[], _Result]) -> _Result:
    start = time.perf_counter()
    result = work()
    timings[stage] = timings.get(stage, 0.0) + (time.perf_counter() - start) * 1e3
    return result
