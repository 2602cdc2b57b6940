"""Masked consistency (MIC, Hoyer et al. 2023; not in the paper): predict what is covered from what surrounds it."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from dannet_core.data.loaders import seeded
from dannet_core.training import streams
from dannet_core.training.domain_step import Networks, Part
from dannet_core.training.mixing import trusted_cross_entropy
from dannet_core.training.night_labels import NightLabeller
from dannet_core.training.precision import Precision

BLOCK: Final = 32
"""Side of the covered squares in pixels."""


class MaskedConsistency:
    """Two more passes of a step: the network on night and on source pictures of which squares are covered.

    Args:
        networks: the generator is used.
        labeller: of the night pictures.
        weight: of the loss on each.
        covered: share of a picture's squares that are covered.
        seed: of the run.
        precision: of the networks.
    """

    def __init__(
        self,
        networks: Networks,
        labeller: NightLabeller,
        *,
        weight: float,
        covered: float,
        seed: int,
        precision: Precision,
    ) -> None:
        self._networks = networks
        self._labeller = labeller
        self._weight = weight
        self._covered = covered
        self._seed = seed
        self._precision = precision

    def adapt(self, part: Part) -> None:
        """Add the gradients of both losses: the night's with the teacher's labels of the whole picture."""
        inputs, believed = part.inputs, self._labeller(part)
        with streams.own_stream(inputs.source.device, self._seed, streams.MASKING, inputs.step, inputs.places[0]):
            self._masked(part, "night", inputs.target_images("night"), believed.labels, believed.trust)
            self._masked(part, "source", inputs.source, inputs.labels, torch.ones_like(inputs.labels))

    def _masked(self, part: Part, domain: str, images: Tensor, labels: Tensor, trust: Tensor) -> None:
        inputs = part.inputs
        size = (images.shape[-2], images.shape[-1])
        masks = [
            covering(seeded(self._seed, streams.MASKING, inputs.step, place, len(domain)), size, self._covered)
            for place in inputs.places
        ]
        # A covered pixel is 0, ImageNet's mean colour.
        covered = torch.stack(masks).to(images.device)[:, None]
        with self._precision.autocast():
            _, logits, _ = self._networks.forward(torch.where(covered, 0, images), size)
        loss = trusted_cross_entropy(logits, labels, trust.to(images.dtype))
        part.add(f"masked_{domain}", loss)
        part.backward(self._weight * loss, self._precision)


def covering(generator: torch.Generator, size: tuple[int, int], share: float) -> Tensor:
    """Which pixels are covered: H x W bool, in squares of `BLOCK`, each covered with probability ``share``."""
    rows, columns = (-(-side // BLOCK) for side in size)
    squares = torch.rand(1, 1, rows, columns, generator=generator) < share
    whole = functional.interpolate(squares.float(), scale_factor=float(BLOCK), mode="nearest")
    return whole[0, 0, : size[0], : size[1]] > 0
