"""Rare class sampling (DAFormer, Hoyer et al. 2022): pictures are drawn by how rare their classes are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import cv2
import torch

from dannet_core.data.loaders import StepSampler, seeded
from dannet_core.data.sample import DataSet, read_all_labels
from dannet_core.errors import DataSetError

MIN_PIXELS: Final = 500
"""Fewer pixels of a class do not make a picture of it."""
_STREAM: Final = 104


def class_pixels(data_set: DataSet) -> list[list[int]]:
    """Pixels of every class in every sample of a labelled set, in order.

    Raises:
        DataSetError: label files are damaged.
    """
    count = len(data_set.classes)
    counted = (
        cv2.calcHist([labels], [0], None, [count], [0, count]).ravel()
        for _, labels in read_all_labels(data_set, f"looking for rare classes in {data_set.name} {data_set.split}")
    )
    return [[int(number) for number in pixels] for pixels in counted]


class RareClassSampler(StepSampler):
    """Draws a class, the likelier the rarer it is, then one of the pictures that have it.

    The likelihood of class c is proportional to exp((1 - f_c) / T), f_c its share of all labelled pixels. Like its base
    a function of the seed and the step, the same on any number of processes.

    Args:
        pixels: of `class_pixels`.
        temperature: T, above 0; the smaller, the more the rarest class is preferred.
        batch_size: samples a step, over all processes.
        seed: of the order.
        steps: (first, end) training steps.
        share: (rank, number of processes).

    Raises:
        DataSetError: no picture has `MIN_PIXELS` of any class.
    """

    def __init__(
        self,
        pixels: Sequence[Sequence[int]],
        temperature: float,
        *,
        batch_size: int,
        seed: int,
        steps: tuple[int, int],
        share: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(len(pixels), batch_size, seed, steps, share)
        counts = torch.tensor(pixels, dtype=torch.float64)
        self._with_class = [torch.nonzero(column >= MIN_PIXELS).flatten().tolist() for column in counts.T]
        rarity = (1 - counts.sum(dim=0) / counts.sum()) / temperature
        rarity[[not samples for samples in self._with_class]] = -torch.inf
        if not any(self._with_class):
            raise DataSetError(
                f"got no picture with {MIN_PIXELS} pixels of a class, expected some for rare class sampling"
            )
        self._likelihoods = rarity.softmax(dim=0)

    def __iter__(self) -> Iterator[list[int]]:
        """Index batches."""
        for step in range(*self._steps):
            positions = range(step * self._batch_size, (step + 1) * self._batch_size)
            yield [self._draw(position) for position in positions][self._rank :: self._processes]

    def _draw(self, position: int) -> int:
        generator = seeded(self._seed, _STREAM, position)
        drawn = int(torch.multinomial(self._likelihoods, 1, generator=generator))
        samples: list[int] = self._with_class[drawn]
        return samples[int(torch.randint(len(samples), (1,), generator=generator))]
