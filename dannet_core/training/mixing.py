"""Class mixing onto the night (DACS, Tranheden et al. 2021; DAFormer, Hoyer et al. 2022); not part of the paper.

Half of the classes of a labelled day picture are cut out, darkened, and pasted onto a night picture with the teacher's
pseudo labels. What is certain stands beside what is guessed, under night light.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from dannet_core.classes import IGNORE_ID
from dannet_core.data.loaders import seeded
from dannet_core.losses.inputs import check_label_size, in_full_precision
from dannet_core.pixels import IMAGENET_MEAN, IMAGENET_STD
from dannet_core.training import streams
from dannet_core.training.domain_step import Networks, Part
from dannet_core.training.night_labels import NightLabeller
from dannet_core.training.precision import Precision

GAMMAS: Final = (1.0, 2.2)
"""A picture of 0 to 1 is raised to a power between these: shadows fall faster than lamps."""
GAINS: Final = (0.6, 1.5)
"""A class's mean becomes that of the night pixels under it, times a number a channel; nothing becomes brighter."""
MAX_NOISE: Final = 0.03
MAX_BLUR: Final = 1.2
"""Standard deviations: of the noise, in a picture of 0 to 1, and of the blur, in pixels."""
_BLUR_RADIUS: Final = 3


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
        self, networks: Networks, labeller: NightLabeller, weight: float, seed: int, precision: Precision
    ) -> None:
        self._networks = networks
        self._labeller = labeller
        self._weight = weight
        self._seed = seed
        self._precision = precision

    def adapt(self, part: Part) -> None:
        """Add the gradients of the loss on mixed pictures."""
        inputs = part.inputs
        with streams.own_stream(inputs.source.device, self._seed, streams.MIXING, inputs.step, inputs.places[0]):
            images, labels, trust = self._mix(part)
            with self._precision.autocast():
                _, logits, _ = self._networks.forward(images, (images.shape[-2], images.shape[-1]))
            loss = trusted_cross_entropy(logits, labels, trust)
            part.add("mixing", loss)
            part.backward(self._weight * loss, self._precision)

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
            trust = torch.where(mask, 1.0, believed.trust[index])
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


def darken(day: Tensor, night: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """A day picture as the camera of a night picture would have seen it: gamma, gain and colour cast, blur, noise.

    Args:
        day: 3 x H x W, ImageNet-normalised.
        night: the same. Every class of the day takes the brightness and tint of the night pixels under it: a night sky
            is the darkest thing in a picture, where by day it is the brightest.
        labels: H x W int64 train ids of the day, 255 = not labelled.
        generator: on the CPU, of the numbers; the noise comes from torch's own stream of the device.

    Returns:
        3 x H x W, ImageNet-normalised.
    """
    gamma, blur, noise, *gains = torch.rand(6, generator=generator).tolist()
    mean, std = (torch.from_numpy(values).to(day.device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    lit: Tensor = (day * std + mean).clamp(0, 1) ** _between(GAMMAS, gamma)
    jitter = torch.tensor([_between(GAINS, gain) for gain in gains], device=day.device).view(3, 1)
    aim, own = _sums(night * std + mean, labels) * jitter, _sums(lit, labels)
    gain = (aim / own.clamp(min=1e-3)).clamp(max=1)
    dark = _blurred(lit * gain[:, labels], MAX_BLUR * blur)
    dark = (dark + torch.randn_like(dark) * (MAX_NOISE * noise)).clamp(0, 1)
    normalised: Tensor = (dark - mean) / std
    return normalised


def _sums(image: Tensor, labels: Tensor) -> Tensor:
    """Sum of each channel over the pixels of each label: 3 x 256."""
    return image.new_zeros(3, IGNORE_ID + 1).index_add_(1, labels.flatten(), image.flatten(1))


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of a 3 x H x W picture with sides above 3 pixels."""
    offsets = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offsets / max(sigma, 1e-2)) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(image[:, None], (_BLUR_RADIUS,) * 4, mode="reflect")
    across = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(across, kernel.view(1, 1, -1, 1))[:, 0]


def _between(limits: tuple[float, float], share: float) -> float:
    return limits[0] + share * (limits[1] - limits[0])


def _window(generator: torch.Generator, images: Tensor, size: tuple[int, int]) -> tuple[slice, slice, slice]:
    """Indices of a random part of a 3 x H x W picture."""
    rooms = [side - wanted for side, wanted in zip(images.shape[-2:], size, strict=True)]
    top, left = (int(share * (room + 1)) for share, room in zip(torch.rand(2, generator=generator), rooms, strict=True))
    return slice(None), slice(top, top + size[0]), slice(left, left + size[1])
