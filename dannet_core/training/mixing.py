"""Class mixing onto the night (DACS, Tranheden et al. 2021; DAFormer, Hoyer et al. 2022); not part of the paper.

Half of the classes of a labelled day picture are cut out, darkened, and pasted onto a night picture with the teacher's
pseudo labels. What is certain stands beside what is guessed, under night light.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn import functional

from dannet_core.classes import IGNORE_ID
from dannet_core.data.loaders import seeded
from dannet_core.losses.inputs import check_label_size, in_full_precision
from dannet_core.training import streams
from dannet_core.training.darkening import darken
from dannet_core.training.domain_step import Networks, Part
from dannet_core.training.night_labels import NightLabeller
from dannet_core.training.precision import Precision


class ClassMixing:
    """One more pass of a step: the network on mixed pictures.

    Args:
        networks: the generator is used.
        labeller: of the night pictures.
        weight: of the loss.
        seed: of the run.
        precision: of the networks.
    """

    def __init__(
        self,
        networks: Networks,
        labeller: NightLabeller,
        weight: float,
        seed: int,
        precision: Precision,
    ) -> None:
        self._given: tuple[Tensor, Tensor] | None = None
        self._networks = networks
        self._labeller = labeller
        self._weight = weight
        self._seed = seed
        self._precision = precision

    def adapt(self, part: Part) -> None:
        """Add the gradients of the loss on mixed pictures."""
        with self._stream(part):
            images, labels, trust = self._mix(part)
            with self._precision.autocast():
                _, logits, _ = self._networks.forward(images, (images.shape[-2], images.shape[-1]))
            part.backward(self._weighted(part, logits, labels, trust), self._precision)

    def pictures(self, part: Part) -> Tensor:
        """Mixed pictures, for a pass that others share."""
        with self._stream(part):
            images, labels, trust = self._mix(part)
        self._given = labels, trust
        return images

    def loss(self, part: Part, logits: Tensor) -> Tensor:
        """The weighted loss on what `pictures` gave last."""
        assert self._given is not None, "the pictures come first"
        return self._weighted(part, logits, *self._given)

    def _weighted(self, part: Part, logits: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        loss = trusted_cross_entropy(logits, labels, trust)
        part.add("mixing", loss)
        return self._weight * loss

    def _stream(self, part: Part) -> AbstractContextManager[None]:
        inputs = part.inputs
        return streams.own_stream(inputs.source.device, self._seed, streams.MIXING, inputs.step, inputs.places[0])

    def _mix(self, part: Part) -> tuple[Tensor, Tensor, Tensor]:
        """Mixed pictures, their labels, and the trust in every pixel; of the size that both domains' crops have."""
        inputs, night = part.inputs, part.inputs.target_images("night")
        believed = self._labeller(part)
        height, width = (min(sides) for sides in zip(inputs.source.shape[-2:], night.shape[-2:], strict=True))
        mixed = []
        for index, place in enumerate(inputs.places):
            generator = seeded(self._seed, streams.MIXING, inputs.step, place, 1)
            ours = _window(generator, inputs.source, (height, width))
            theirs = _window(generator, night, (height, width))
            day, labels = inputs.source[index][ours], inputs.labels[index][ours[1:]]
            dark, pseudo = night[index][theirs], believed.labels[index][theirs[1:]]
            mask = half_of_the_classes(labels, generator)
            image = torch.where(mask, darken(day, dark, labels, generator), dark)
            trust = torch.where(mask, 1.0, believed.trust[index][theirs[1:]])
            mixed.append((image, torch.where(mask, labels, pseudo), trust))
        images, all_labels, trusts = (torch.stack(column) for column in zip(*mixed, strict=True))
        return images, all_labels, trusts


@in_full_precision
def trusted_cross_entropy(logits: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
    """Cross-entropy, each pixel's times the trust in its label, averaged over the labelled pixels.

    Args:
        logits: N x K x H x W.
        labels: N x H x W integer train ids, 255 = not labelled.
        trust: N x H x W, 0 to 1. Distrust makes the loss smaller: it is not divided by.

    Returns:
        Scalar; exactly 0, with zero gradients, where no pixel is labelled.

    Raises:
        ImageError: labels and logits differ in size.
    """
    check_label_size(logits, labels)
    pixels = functional.cross_entropy(logits, labels.long(), ignore_index=IGNORE_ID, reduction="none")
    return (pixels * trust).sum() / (labels != IGNORE_ID).sum().clamp(min=1)


def half_of_the_classes(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Where one of a random half of the classes stands, rounded up: H x W bool; never where nothing is labelled."""
    present = torch.unique(labels)
    present = present[present != IGNORE_ID]
    count = (present.numel() + 1) // 2
    chosen = torch.randperm(present.numel(), generator=generator)[:count].to(labels.device)
    return torch.isin(labels, present[chosen])


def _window(generator: torch.Generator, images: Tensor, size: tuple[int, int]) -> tuple[slice, slice, slice]:
    """Indices of a random part of a 3 x H x W picture."""
    rooms = [side - wanted for side, wanted in zip(images.shape[-2:], size, strict=True)]
    top, left = (int(share * (room + 1)) for share, room in zip(torch.rand(2, generator=generator), rooms, strict=True))
    return slice(None), slice(top, top + size[0]), slice(left, left + size[1])
