"""Images from disk to the device: decoded in workers, in an order that a resumed run continues exactly."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dannet_core.data.workers import Workers, failure
from dannet_core.errors import WorkerError

Item = TypeVar("Item")


class StepSampler(Sampler[list[int]]):
    """Index batches for a range of training steps: endless shuffled epochs, a function of the seed.

    Every process of a distributed run draws the same order and takes its own share of each batch, so that the union of
    the batches does not depend on how many processes there are.

    Args:
        count: number of samples.
        batch_size: samples a step, over all processes.
        seed: of the order.
        steps: (first, end) training steps.
        share: (rank, number of processes); ``batch_size`` must be a multiple of the second.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, steps: tuple[int, int], share: tuple[int, int] = (0, 1)
    ) -> None:
        self._count = count
        self._batch_size = batch_size
        self._seed = seed
        self._steps = steps
        self._rank, self._processes = share

    def __len__(self) -> int:
        return max(0, self._steps[1] - self._steps[0])

    def __iter__(self) -> Iterator[list[int]]:
        epoch, order = -1, torch.empty(0, dtype=torch.int64)
        for step in range(*self._steps):
            batch = []
            for position in range(step * self._batch_size, (step + 1) * self._batch_size):
                if position // self._count != epoch:
                    epoch = position // self._count
                    order = torch.randperm(self._count, generator=seeded(self._seed, epoch))
                batch.append(int(order[position % self._count]))
            yield batch[self._rank :: self._processes]


class Decoded(Dataset[Item], Generic[Item]):
    """Decodes sample ``index`` when asked, in a loader's worker."""

    def __init__(self, count: int, decode: Callable[[int], Item]) -> None:
        self._count = count
        self._decode = decode

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Item:
        return self._decode(index)


@dataclass
class Batch:
    """Undecided in size: whole images of one training step, before they are cropped.

    Attributes:
        names: one a sample, for messages.
        images: a list a role (``source``, or ``day`` and ``night``), each of 3 x H x W uint8 RGB tensors.
        labels: H x W uint8 train ids a sample, empty where there are none.
    """

    names: list[str]
    images: dict[str, list[Tensor]]
    labels: list[Tensor]

    def to(self, device: torch.device) -> Batch:
        """A copy on ``device``; from pinned memory without waiting."""
        return Batch(
            self.names,
            {role: [image.to(device, non_blocking=True) for image in images] for role, images in self.images.items()},
            [label.to(device, non_blocking=True) for label in self.labels],
        )

    def pin_memory(self) -> Batch:
        """A copy in memory that the device reads by itself."""
        return Batch(
            self.names,
            {role: [image.pin_memory() for image in images] for role, images in self.images.items()},
            [label.pin_memory() for label in self.labels],
        )

    def taken_apart(self) -> tuple[Any, list[npt.NDArray[Any]]]:
        """Names and numbers as plain data, and the arrays of all tensors; the reverse of `put_together`."""
        tensors = [*(image for images in self.images.values() for image in images), *self.labels]
        roles = {role: len(images) for role, images in self.images.items()}
        return [self.names, roles], [tensor.numpy() for tensor in tensors]

    @classmethod
    def put_together(cls, plain: Any, arrays: Sequence[npt.NDArray[Any]]) -> Batch:
        """The reverse of `taken_apart`, without copying."""
        names, roles = plain
        tensors = iter([torch.from_numpy(array) for array in arrays])
        images = {role: list(itertools.islice(tensors, count)) for role, count in roles.items()}
        return cls(names, images, list(tensors))

    @classmethod
    def collate(cls, samples: Sequence[Batch]) -> Batch:
        """Join batches of one sample each."""
        return cls(
            [name for sample in samples for name in sample.names],
            {role: [image for sample in samples for image in sample.images[role]] for role in samples[0].images},
            [label for sample in samples for label in sample.labels],
        )


def step_loader(
    samples: Decoded[Batch], sampler: StepSampler, device: torch.device, workers: int
) -> Generator[Batch, None, None]:
    """Batches on the device, the next one being copied while the current one is worked on.

    Args:
        samples: give one-sample `Batch`es.
        sampler: which of them make a step.
        device: where the batches go.
        workers: decoding processes; 0 = decode in this one.

    Raises:
        WorkerError: while iterating: a sample cannot be decoded, or a worker died or hangs.
    """
    batches = _from_workers(samples, sampler, workers) if workers else _decoded_here(samples, sampler)
    if device.type == "cuda":
        return _ahead(batches, device)
    return batches


def _decoded_here(samples: Decoded[Batch], sampler: StepSampler) -> Generator[Batch, None, None]:
    for indices in sampler:
        try:
            batch = Batch.collate([samples[index] for index in indices])
        except Exception as error:
            raise WorkerError(failure(error)) from error
        yield batch


def _from_workers(samples: Decoded[Batch], sampler: StepSampler, workers: int) -> Generator[Batch, None, None]:
    def decode(indices: Sequence[int], on_sample: Callable[[], None]) -> tuple[Any, list[npt.NDArray[Any]]]:
        parts = []
        for index in indices:
            parts.append(samples[index])
            on_sample()
        return Batch.collate(parts).taken_apart()

    with Workers(decode, min(workers, max(1, len(sampler)))) as pool:
        for plain, arrays in pool.results(iter(sampler)):
            yield Batch.put_together(plain, arrays)


def _ahead(batches: Generator[Batch, None, None], device: torch.device) -> Generator[Batch, None, None]:
    """Copy the next batch on a stream of its own while the caller's stream computes."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    with contextlib.closing(batches):
        upcoming = _copy(batches, device, stream)
        while upcoming is not None:
            torch.cuda.current_stream(device).wait_stream(stream)
            current = upcoming
            for tensor in (*(image for images in current.images.values() for image in images), *current.labels):
                tensor.record_stream(torch.cuda.current_stream(device))
            upcoming = _copy(batches, device, stream)
            yield current


def _copy(batches: Iterator[Batch], device: torch.device, stream: torch.cuda.Stream) -> Batch | None:
    batch = next(batches, None)
    if batch is None:
        return None
    pinned = batch.pin_memory()
    with torch.cuda.stream(stream):
        return pinned.to(device)


def seeded(*numbers: int) -> torch.Generator:
    """A CPU generator whose state is a function of the numbers; neighbouring numbers give unrelated streams."""
    mixed = 0x9E3779B97F4A7C15
    for number in numbers:
        mixed = (mixed ^ (number + 0x9E3779B97F4A7C15 + (mixed << 6) + (mixed >> 2))) & (2**64 - 1)
        mixed = (mixed * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    return torch.Generator().manual_seed(mixed >> 1)
