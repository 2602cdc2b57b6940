"""Pictures of a darker night than the pairs', with the same labels; not part of the paper.

The drives are of one night under some lamps, and the model goes where there are fewer. Less light is the one thing that every
street can differ in, and it needs no label: what is trained on is dimmed at random, and the camera's noise stays.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from dannet_core.data.loaders import seeded
from dannet_core.training import streams
from dannet_core.training.darkening import normalised, shown
from dannet_core.training.domain_step import Part

MAX_NOISE: Final = 0.04
"""Standard deviation, in a picture of 0 to 1, of the noise that is added."""


class Dimming:
    """Dims pictures at random, each by a factor of its own.

    Args:
        least: the smallest factor; they are spread evenly over its powers, from it to 1.
        seed: of the run.
    """

    def __init__(self, least: float, seed: int) -> None:
        self._least = least
        self._seed = seed

    def __call__(self, part: Part, images: Tensor, role: int) -> Tensor:
        """N x 3 x h x w of a part, one a place, ImageNet-normalised; ``role`` tells apart what a step dims."""
        inputs = part.inputs
        with streams.own_stream(images.device, self._seed, streams.DIMMING, inputs.step, inputs.places[0], role):
            dimmed = []
            for image, place in zip(images, inputs.places, strict=True):
                share, noise = torch.rand(
                    2, generator=seeded(self._seed, streams.DIMMING, inputs.step, place, role)
                ).tolist()
                factor = math.exp(math.log(self._least) * share)
                dark = shown(image) * factor
                # A picture that keeps its light keeps its noise as well.
                dark = dark + (1 - factor) * MAX_NOISE * noise * torch.randn_like(dark)
                dimmed.append(normalised(dark.clamp(0, 1)))
            return torch.stack(dimmed)
