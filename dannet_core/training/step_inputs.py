"""What one training step works on: the crops of the three domains, drawn alike on any number of processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dannet_core.data.augmentation import Window, crop_images, crop_labels, draw_window
from dannet_core.data.loaders import Batch, Decoded, seeded
from dannet_core.data.sample import Pair, Sample
from dannet_core.pixels import Rgb
from dannet_core.training.config import CropConfig

_SOURCE_STREAM, _TARGET_STREAM = 1, 2


@dataclass
class StepInputs:
    """Crops of one step (or a part of one), all on the device.

    Attributes:
        source: N x 3 x h x w float32, ImageNet-normalised.
        labels: N x h x w int64 train ids of the source.
        day: M x 3 x h' x w' target day images, or None where there are none.
        night: M x 3 x h' x w' the night images of the same pairs, cut alike; or None.
        target_size: (height, width) at which the target losses are computed.
        names: of the samples, for messages.
        step: of the run, from 0.
        places: of the samples in the batch of all processes; with ``step`` they seed what is drawn for a sample.
    """

    source: Tensor
    labels: Tensor
    day: Tensor | None
    night: Tensor | None
    target_size: tuple[int, int]
    names: list[str]
    step: int = 0
    places: tuple[int, ...] = ()

    def target_images(self, domain: str) -> Tensor:
        """The ``day`` or ``night`` crops of a batch that has them."""
        images = self.day if domain == "day" else self.night
        assert images is not None, "adaptation needs target images"
        return images

    def pairs(self) -> Tensor:
        """The day and the night crops of a batch that has them, 2M x 3 x h' x w'."""
        return torch.cat([self.target_images("day"), self.target_images("night")])

    def parts(self, count: int) -> list[StepInputs]:
        """Split for gradient accumulation into ``count`` parts of equal size."""

        def chunks(tensor: Tensor | None) -> Sequence[Tensor | None]:
            return [None] * count if tensor is None else tensor.chunk(count)

        columns = zip(*map(chunks, (self.source, self.labels, self.day, self.night)), strict=True)
        size = len(self.places) // count
        return [
            StepInputs(
                *(source, labels, day, night, self.target_size, self.names),
                step=self.step,
                places=self.places[index * size : (index + 1) * size],
            )
            for index, (source, labels, day, night) in enumerate(columns)
            if source is not None and labels is not None
        ]


class Cropper:
    """Cuts the crops of a step out of whole images; a function of the seed, the step and the place in the batch.

    Args:
        crop: sizes and scales.
        seed: of the run.
        share: (rank, number of processes): which places of the batch this process holds.
        height: that a picture has at a scale of 1; None = its own.
    """

    def __init__(self, crop: CropConfig, seed: int, share: tuple[int, int] = (0, 1), height: int | None = None) -> None:
        self._height = height
        self._crop = crop
        self._seed = seed
        self._share = share

    def __call__(self, step: int, source: Batch, target: Batch | None) -> StepInputs:
        """The inputs of ``step``; ``target`` holds ``day`` and ``night`` images, None while pre-training."""
        crop = self._crop
        rank, processes = self._share
        images = source.images["source"]
        windows = self._windows((_SOURCE_STREAM, step), images, crop.source, crop.source_scales)
        inputs = StepInputs(
            crop_images(images, windows, crop.source),
            crop_labels(source.labels, windows, crop.source),
            None,
            None,
            crop.target,
            list(source.names),
            step,
            tuple(rank + index * processes for index in range(len(images))),
        )
        if target is not None:
            days, nights = target.images["day"], target.images["night"]
            windows = self._windows((_TARGET_STREAM, step), nights, crop.target, crop.target_scales)
            size = crop.target_input or crop.target
            inputs.day, inputs.night = crop_images(days, windows, size), crop_images(nights, windows, size)
            inputs.names += target.names
        return inputs

    def _windows(
        self, stream: tuple[int, int], images: Sequence[Tensor], crop: tuple[int, int], scales: tuple[float, float]
    ) -> list[Window]:
        rank, processes = self._share
        windows = []
        for place, image in enumerate(images):
            generator = seeded(self._seed, *stream, rank + place * processes)
            height, width = image.shape[-2:]
            zoom = 1.0 if self._height is None else self._height / height
            windows.append(draw_window(generator, (height, width), crop, (scales[0] * zoom, scales[1] * zoom)))
        return windows


def source_samples(samples: Sequence[Sample]) -> Decoded[Batch]:
    """Labelled samples as one-sample batches with the role ``source``."""

    def decode(index: int) -> Batch:
        sample = samples[index]
        rgb, labels = sample.read_both()
        return Batch([sample.name], {"source": [_planes(rgb)]}, [torch.from_numpy(labels)])

    return Decoded(len(samples), decode)


def pair_samples(pairs: Sequence[Pair]) -> Decoded[Batch]:
    """Day-night pairs as one-sample batches with the roles ``day`` and ``night``."""

    def decode(index: int) -> Batch:
        pair = pairs[index]
        day, night = pair.read_both()
        return Batch([pair.night.name], {"day": [_planes(day)], "night": [_planes(night)]}, [])

    return Decoded(len(pairs), decode)


def _planes(rgb: Rgb) -> Tensor:
    return torch.from_numpy(rgb).permute(2, 0, 1).contiguous()
