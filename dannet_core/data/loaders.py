"""Images from disk to the device: decoded in workers, in an order that a resumed run continues exactly."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

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
        """Called by the loader's pinning thread."""
        return Batch(
            self.names,
            {role: [image.pin_memory() for image in images] for role, images in self.images.items()},
            [label.pin_memory() for label in self.labels],
        )

    @classmethod
    def collate(cls, samples: Sequence[Batch]) -> Batch:
        """Join batches of one sample each."""
        return cls(
            [name for sample in samples for name in sample.names],
            {role: [image for sample in samples for image in sample.images[role]] for role in samples[0].images},
            [label for sample in samples for label in sample.labels],
        )


def step_loader(samples: Dataset[Batch], sampler: StepSampler, device: torch.device, workers: int) -> Iterator[Batch]:
    """Batches on the device, the next one being copied while the current one is worked on.

    Args:
        samples: give one-sample `Batch`es.
        sampler: which of them make a step.
        device: where the batches go.
        workers: decoding processes; 0 = decode in this one.
    """
    loader: DataLoader[Batch] = DataLoader(
        samples,
        batch_sampler=sampler,
        collate_fn=Batch.collate,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        worker_init_fn=_leave_signals_to_the_parent,
        generator=seeded(0),  # otherwise an iterator takes a number from the generator that dropout draws from
    )
    return _ahead(iter(loader), device) if device.type == "cuda" else (batch.to(device) for batch in loader)


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach every process of the group; the parent saves, then ends its workers."""
    del worker
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Copy the next batch on a stream of its own while the caller's stream computes."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it unannotated
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
    with torch.cuda.stream(stream):
        return batch.to(device)


def seeded(*numbers: int) -> torch.Generator:
    """A CPU generator whose state is a function of the numbers; neighbouring numbers give unrelated streams."""
    mixed = 0x9E3779B97F4A7C15
    for number in numbers:
        mixed = (mixed ^ (number + 0x9E3779B97F4A7C15 + (mixed << 6) + (mixed >> 2))) & (2**64 - 1)
        mixed = (mixed * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    return torch.Generator().manual_seed(mixed >> 1)
