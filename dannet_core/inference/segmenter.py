"""One door for inference: `NightSegmenter.load(path).segment(rgb)`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core import pixels
from dannet_core.classes import IGNORE_ID
from dannet_core.errors import BackendError, SettingsError
from dannet_core.inference.backends import Backend, StrideOutput, open_backend
from dannet_core.inference.postprocess import (
    Floats,
    class_scaling,
    scale_logits,
    upsample_confidence,
    upsample_labels,
)
from dannet_core.inference.preprocess import network_size, preprocess
from dannet_core.inference.presets import PRESETS, InferenceSettings
from dannet_core.metadata import ModelMetadata
from dannet_core.pixels import Labels, Rgb

_Result = TypeVar("_Result")


class Prediction:
    """What one picture was taken for. Labels are ready; everything else is computed when first read.

    Attributes:
        labels: H x W uint8 train ids 0..18; 255 = below ``min_confidence``.
        timings_ms: milliseconds spent in ``preprocess``, ``infer`` and ``postprocess``.
    """

    def __init__(
        self, labels: Labels, scores: Floats, relit: Floats | None, align_corners: bool, timings_ms: dict[str, float]
    ) -> None:
        self.labels = labels
        self.timings_ms = timings_ms
        self._scores = scores
        self._relit = relit
        self._align_corners = align_corners

    @cached_property
    def confidence(self) -> npt.NDArray[np.float32]:
        """H x W float32, 0..1: the re-weighted likelihood of the best class."""
        return upsample_confidence(self._scores, self._size, self._align_corners)

    @cached_property
    def relit(self) -> Rgb:
        """H x W x 3 uint8 RGB: the picture as the relighting network hands it to the segmentation network.

        Raises:
            BackendError: the picture was segmented with ``with_relit=False``.
        """
        if self._relit is None:
            raise BackendError("relit: not kept: call segment(rgb, with_relit=True)")
        picture = pixels.denormalize(self._relit)
        height, width = self._size
        return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)

    def colorize(self) -> Rgb:
        """The labels in Cityscapes colours: H x W x 3 uint8 RGB."""
        return pixels.colorize(self.labels)

    def overlay(self, rgb: Rgb, alpha: float = 0.5) -> Rgb:
        """The label colours blended over ``rgb`` (H x W x 3 uint8): alpha 0 = picture only, 1 = colours only."""
        return pixels.overlay(rgb, self.labels, alpha)

    @property
    def _size(self) -> tuple[int, int]:
        height, width = self.labels.shape
        return height, width


class NightSegmenter:
    """Night picture in, labels out. Use it in the thread that made it, as a context manager or with `close`."""

    def __init__(self, backend: Backend, settings: InferenceSettings = PRESETS["paper"]) -> None:
        self._backend = backend
        self.settings = settings

    @classmethod
    def load(
        cls,
        path: str | Path,
        settings: InferenceSettings = PRESETS["paper"],
        *,
        backend: str = "auto",
        device: str = "auto",
        threads: int = 0,
    ) -> NightSegmenter:
        """Open a model file; the suffix picks the backend.

        Args:
            path: `.safetensors` (PyTorch), `.onnx` (ONNX Runtime) or `.engine` (TensorRT).
            settings: how pictures become labels; see `PRESETS`.
            backend: ``auto``, or a backend's name to insist on.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            threads: CPU threads inside one operator; 0 = the runtime's own choice.

        Raises:
            ModelFileError: the file is missing, damaged or of an unknown kind.
            MissingPackageError: the backend's package is not installed.
            BackendError: the device is not there.
            SettingsError: the settings do not fit the model.
        """
        opened = open_backend(path, backend, device, threads)
        try:
            return cls(opened, settings)
        except SettingsError:
            opened.close()
            raise

    @property
    def metadata(self) -> ModelMetadata:
        """What the model file says about itself."""
        return self._backend.metadata

    @property
    def backend_name(self) -> str:
        """``pytorch``, ``onnxruntime`` or ``tensorrt``."""
        return self._backend.name

    @property
    def device(self) -> str:
        """Where the model runs, e.g. ``cpu``."""
        return self._backend.device

    @property
    def settings(self) -> InferenceSettings:
        """How pictures become labels; may be set between two pictures.

        Raises:
            SettingsError: on setting, when the settings do not fit the model; the old ones stay.
        """
        return self._settings

    @settings.setter
    def settings(self, settings: InferenceSettings) -> None:
        fixed = self._backend.fixed_input_size
        if fixed is not None and settings.input_size not in (None, fixed):
            raise SettingsError(
                f"input_size: got {settings.input_size}, but the model was exported for {fixed}: "
                "leave it unset or export the model at that size"
            )
        self._scaling = class_scaling(settings.reweight, self.metadata.class_shares, settings.reweight_std)
        self._settings = settings

    def input_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) the network runs at for a picture of ``image_size``."""
        wanted = self._backend.fixed_input_size or self._settings.input_size or self.metadata.input_size
        return network_size(image_size, wanted)

    def segment(self, rgb: Rgb, *, with_relit: bool = True) -> Prediction:
        """Label one picture.

        Args:
            rgb: H x W x 3 uint8, red first, sides of 64 to 16384 pixels; any strides.
            with_relit: keep the relit picture for `Prediction.relit`; costs a copy on some backends.

        Returns:
            labels at the picture's own resolution; confidence, relit and colours on demand.

        Raises:
            ImageError: ``rgb`` is not such an array.
            BackendError: the network failed to run.
        """
        rgb = pixels.check_rgb(rgb)
        height, width = rgb.shape[:2]
        timings: dict[str, float] = {}
        image = _timed(timings, "preprocess", lambda: self._preprocess(rgb))
        output = _timed(timings, "infer", lambda: self._backend.infer(image, with_relit))
        return _timed(timings, "postprocess", lambda: self._postprocess(output, (height, width), timings))

    def warm_up(self, image_size: tuple[int, int] = (1080, 1920), rounds: int = 2) -> None:
        """Run on black pictures of (height, width), so that the first real one does not pay for allocations."""
        for _ in range(rounds):
            self.segment(np.zeros((*image_size, 3), dtype=np.uint8))

    def close(self) -> None:
        """Free the model; calling it twice is harmless."""
        self._backend.close()

    def __enter__(self) -> NightSegmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _preprocess(self, rgb: Rgb) -> npt.NDArray[np.float32]:
        height, width = rgb.shape[:2]
        return preprocess(rgb, self.input_size((height, width)), self._settings.resize)

    def _postprocess(self, output: StrideOutput, size: tuple[int, int], timings: dict[str, float]) -> Prediction:
        align_corners = self.metadata.align_corners
        scores = scale_logits(output.logits, self._scaling)
        labels = upsample_labels(scores, size, align_corners)
        prediction = Prediction(labels, scores, output.relit, align_corners, timings)
        if self._settings.min_confidence > 0:
            labels[prediction.confidence < self._settings.min_confidence] = IGNORE_ID
        return prediction


def _timed(timings: dict[str, float], stage: str, work: Callable[[], _Result]) -> _Result:
    start = time.perf_counter()
    result = work()
    timings[stage] = (time.perf_counter() - start) * 1e3
    return result
