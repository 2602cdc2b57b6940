"""What is made of one picture on the CPU, and what makes it: NumPy (`outputs.py`) or compiled code (`compiled`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from dannet_core import pixels
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.postprocess import ClassScaling, Floats
from dannet_core.pixels import Colormap, Labels, Rgb

Buffers = Mapping[str, npt.NDArray[np.uint8]]
Outputs = dict[str, npt.NDArray[Any]]


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
