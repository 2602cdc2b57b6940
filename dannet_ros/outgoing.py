"""A frame's outputs on their way out: made of its labels, in the memory of the messages that carry them."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from dannet_core import Prediction
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.output_job import Buffers
from dannet_core.pixels import Labels, colorize, overlay
from dannet_ros.conversions import Pixels, ReusedImage
from dannet_ros.direct_image import DirectImage, works_here


class Picture:
    """What outputs are made of, written straight into the messages: copying megabytes takes longer than making them."""

    def __init__(self, prediction: Prediction, camera: CameraImage, alpha: float) -> None:
        """Make nothing yet.

        Args:
            prediction: labels and what follows from them.
            camera: the picture the prediction was made from.
            alpha: opacity of the label colours in the overlay, 0..1.
        """
        self.size = camera.size
        self._prediction, self._camera, self._alpha = prediction, camera, alpha
        # Colouring by columns would take four times as long.
        self._labels: Labels = np.ascontiguousarray(prediction.labels)

    def label(self, out: Pixels) -> None:
        """Train ids, H x W uint8."""
        _put(self._labels, out)

    def color(self, out: Pixels) -> None:
        """The labels in the colours of their classes, H x W x 3 uint8 RGB."""
        made = self._prediction.outputs.get("color")
        _put(colorize(self._labels, out, self._prediction.colormap) if made is None else made, out)

    def overlay(self, out: Pixels) -> None:
        """The label colours blended over the picture, H x W x 3 uint8 RGB."""
        made = self._prediction.outputs.get("overlay")
        if made is None:
            made = overlay(self._camera.to_rgb(), self._labels, self._alpha, self._prediction.colormap, out)
        _put(made, out)

    def relit(self, out: Pixels) -> None:
        """The picture as the relighting network hands it on, H x W x 3 uint8 RGB."""
        _put(self._prediction.relit, out)

    def confidence(self, out: Pixels) -> None:
        """Likelihood of the label, H x W uint8, 255 = certain."""
        _put(self._prediction.confidence_bytes, out)


def _put(made: Pixels, out: Pixels) -> None:
    """Copy, unless it was written there already."""
    if not np.shares_memory(made, out):
        np.copyto(out, made)


class _Output(NamedTuple):
    encoding: str
    write: Callable[[Picture, Pixels], None]


OUTPUTS: Final = MappingProxyType(
    {
        "label": _Output("mono8", Picture.label),
        "color": _Output("rgb8", Picture.color),
        "overlay": _Output("rgb8", Picture.overlay),
        "relit": _Output("rgb8", Picture.relit),
        "confidence": _Output("mono8", Picture.confidence),
    }
)
"""In order of publishing."""
_WRITTEN_BY_THE_MODEL: Final = MappingProxyType(
    {"label": "labels", "color": "color", "overlay": "overlay", "confidence": "confidence_bytes"}
)


class Outgoing:
    """The messages of one frame's outputs, filled again for a later one."""

    def __init__(self) -> None:
        made = DirectImage if works_here() else ReusedImage
        self.messages = {name: made(output.encoding) for name, output in OUTPUTS.items()}

    def buffers(self, size: tuple[int, int], wanted: set[str], labels_stay: bool) -> Buffers:
        """The messages' own memory for what comes with the labels, so that nothing has to be copied into it.

        Args:
            size: (height, width) of the camera.
            wanted: outputs somebody subscribes to.
            labels_stay: the labels are looked at after later frames have begun.
        """
        names = {name: made for name, made in _WRITTEN_BY_THE_MODEL.items() if name in wanted}
        if labels_stay:
            names.pop("label", None)
        return {made: self.pixels(name, size) for name, made in names.items()}

    def pixels(self, name: str, size: tuple[int, int]) -> Pixels:
        """The memory of an output's message, for a camera of (height, width)."""
        return self.messages[name].pixels(*size)

    def fill(self, name: str, picture: Picture) -> None:
        """Make an output of ``picture``, where it is not made yet."""
        OUTPUTS[name].write(picture, self.pixels(name, picture.size))
