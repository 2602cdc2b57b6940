"""A whole frame on a device: camera bytes in, labels and whatever else somebody wants out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dannet_core.errors import SettingsError
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.postprocess import ClassScaling, class_scaling
from dannet_core.inference.presets import InferenceSettings
from dannet_core.metadata import ModelMetadata
from dannet_core.pixels import Labels

EXTRA_OUTPUTS: Final = ("confidence", "confidence_bytes", "color", "overlay")
"""What may be made beside the labels: H x W float32 in 0..1, the same as H x W uint8 (255 = certain), H x W x 3 uint8
RGB class colours, and those blended over the picture."""


@dataclass(frozen=True)
class FrameRequest:
    """How one frame is to be labelled; frames with equal requests and formats share one plan.

    Attributes:
        settings: as for every backend.
        input_size: (height, width) the network runs at.
        outputs: some of `EXTRA_OUTPUTS`; the labels are always made.
        alpha: opacity of the overlay's colours, 0..1.
        with_relit: whether the relit picture may be asked for after the next frames have begun.

    Raises:
        SettingsError: on construction: an output that is not known, or alpha out of range.
    """

    settings: InferenceSettings
    input_size: tuple[int, int]
    outputs: frozenset[str] = frozenset()
    alpha: float = 0.5
    with_relit: bool = True

    def __post_init__(self) -> None:
        for name in sorted(self.outputs - set(EXTRA_OUTPUTS)):
            raise SettingsError(f"outputs: got '{name}', expected some of {', '.join(EXTRA_OUTPUTS)}")
        if not 0 <= self.alpha <= 1:
            raise SettingsError(f"alpha: got {self.alpha}, expected 0 (picture only) to 1 (colours only)")

    def scaling(self, metadata: ModelMetadata) -> ClassScaling:
        """The re-weighting of this model's classes."""
        return class_scaling(self.settings.reweight, metadata.class_shares, self.settings.reweight_std)


class StrideSource(Protocol):
    """The network's own output of one frame, fetched from the device when asked for."""

    def logits(self) -> npt.NDArray[np.float32]:
        """K x h x w float32."""

    def relit(self) -> npt.NDArray[np.float32]:
        """3 x H x W float32, ImageNet-normalised."""


class FrameResult(NamedTuple):
    """What came of one frame.

    Attributes:
        labels: H x W uint8 train ids at camera resolution; 255 = below ``min_confidence``.
        extras: the requested `EXTRA_OUTPUTS` by name.
        stride: the network's own output.
        timings_ms: by stage.
        finite: whether every score was a number; where not, labels and extras mean nothing.
    """

    labels: Labels
    extras: dict[str, npt.NDArray[Any]]
    stride: StrideSource
    timings_ms: dict[str, float]
    finite: bool


@runtime_checkable
class FrameBackend(Protocol):
    """A backend that also does what comes before and after the network on its device.

    Attributes:
        on_device: whether it should be used so; False leaves both to the CPU paths.
        max_in_flight: frames that may be submitted before one is collected.
    """

    on_device: bool
    max_in_flight: int

    def run_frame(self, camera: CameraImage, request: FrameRequest) -> FrameResult:
        """Label one frame.

        Raises:
            BackendError: the device failed, or frames are in flight.
        """

    def submit(self, camera: CameraImage, request: FrameRequest) -> None:
        """Begin a frame; the pixels may change as soon as this returns.

        Raises:
            BackendError: the device failed, or ``max_in_flight`` frames are in flight.
        """

    def collect(self) -> FrameResult:
        """Wait for the oldest submitted frame.

        Raises:
            BackendError: the device failed, or nothing is in flight.
        """
