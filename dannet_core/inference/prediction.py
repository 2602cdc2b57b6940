"""What one picture was taken for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core import pixels
from dannet_core.errors import BackendError, SettingsError
from dannet_core.inference.postprocess import Floats, relit_picture, upsample_confidence
from dannet_core.pixels import Labels, Rgb

Outputs = Mapping[str, npt.NDArray[Any]]
_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


class Lazy(NamedTuple):
    """What a prediction computes from when it is asked.

    Attributes:
        scores: gives h x w x K float32, the re-weighted stride logits.
        relit: gives 3 x H x W float32, ImageNet-normalised; None = not kept.
        align_corners: how the scores are to be upsampled.
        colormap: of the model's classes.
        absent: what the model cannot give, with the reason, see `ModelMetadata.absent`.
        upsample: scores, size and align_corners to H x W confidence.
        to_picture: 3 x H x W float32, ImageNet-normalised, to RGB.
    """

    scores: Callable[[], Floats]
    relit: Callable[[], Floats] | None
    align_corners: bool
    colormap: pixels.Colormap = pixels.COLORMAP
    absent: Mapping[str, str] = _NONE
    upsample: Callable[[Floats, tuple[int, int], bool], Floats] = upsample_confidence
    to_picture: Callable[[Floats], Rgb] = relit_picture


class Prediction:
    """What one picture was taken for. Labels are ready; everything else is computed when first read.

    Attributes:
        labels: H x W uint8 train ids 0..18; 255 = below ``min_confidence``.
        timings_ms: milliseconds spent in ``preprocess``, ``infer`` and ``postprocess``; on a device these are
            preparing and starting the frame, waiting for it, and taking the results.
        outputs: what was asked for with ``segment(outputs=...)``, by name; see `dannet_core.inference.frame`.
    """

    def __init__(self, labels: Labels, lazy: Lazy, timings_ms: dict[str, float], outputs: Outputs = _NONE) -> None:
        self.labels = labels
        self.timings_ms = timings_ms
        self.outputs = outputs
        self._lazy = lazy

    @cached_property
    def confidence(self) -> npt.NDArray[np.float32]:
        """H x W float32, 0..1: the re-weighted likelihood of the best class.

        Raises:
            SettingsError: the model gives labels without scores.
        """
        self._require("confidence")
        ready: npt.NDArray[np.float32] | None = self.outputs.get("confidence")
        return (
            self._lazy.upsample(self._lazy.scores(), self._size, self._lazy.align_corners) if ready is None else ready
        )

    @cached_property
    def confidence_bytes(self) -> npt.NDArray[np.uint8]:
        """H x W uint8, the confidence with 255 = certain."""
        ready: npt.NDArray[np.uint8] | None = self.outputs.get("confidence_bytes")
        return np.asarray(cv2.convertScaleAbs(self.confidence, alpha=255.0), np.uint8) if ready is None else ready

    @cached_property
    def relit(self) -> Rgb:
        """H x W x 3 uint8 RGB: the picture as the relighting network hands it to the segmentation network.

        Raises:
            SettingsError: the model has no relighting network.
            BackendError: the picture was segmented with ``with_relit=False``.
            NotFiniteError: the relighting network gave NaN or infinity.
        """
        return self.write_relit(None)

    def write_relit(self, out: Rgb | None) -> Rgb:
        """Like `relit`, and what `relit` is from now on, written into ``out``.

        Args:
            out: H x W x 3 uint8 and contiguous; None = a new array.
        """
        self._require("relit")
        if self._lazy.relit is None:
            raise BackendError("relit: not kept: call segment(rgb, with_relit=True)")
        picture = self._lazy.to_picture(self._lazy.relit())
        height, width = self._size
        made = np.asarray(cv2.resize(picture, (width, height), out, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
        self.__dict__["relit"] = made
        return made

    def colorize(self) -> Rgb:
        """The labels in the colours of the model's classes: H x W x 3 uint8 RGB."""
        ready: Rgb | None = self.outputs.get("color")
        return pixels.colorize(self.labels, colormap=self.colormap) if ready is None else ready

    def overlay(self, rgb: Rgb, alpha: float = 0.5) -> Rgb:
        """The label colours blended over ``rgb`` (H x W x 3 uint8): alpha 0 = picture only, 1 = colours only."""
        return pixels.overlay(rgb, self.labels, alpha, self.colormap)

    @property
    def colormap(self) -> pixels.Colormap:
        """256 x 3 uint8 RGB, the colours of the model's classes by train id."""
        return self._lazy.colormap

    def has(self, output: str) -> bool:
        """Whether the model can give ``relit`` or ``confidence`` at all."""
        return output not in self._lazy.absent

    def _require(self, output: str) -> None:
        if output in self._lazy.absent:
            raise SettingsError(f"{output}: {self._lazy.absent[output]}")

    @property
    def _size(self) -> tuple[int, int]:
        height, width = self.labels.shape
        return height, width
