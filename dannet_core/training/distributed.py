"""Processes of one run: `torchrun` starts them, this module joins them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed

from dannet_core.errors import SettingsError


@dataclass(frozen=True)
class Processes:
    """This process among all of the run.

    Attributes:
        rank: 0 writes the files.
        count: processes of the run; 1 without `torchrun`.
        device: the device of this process.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes checkpoints and logs."""
        return self.rank == 0

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean of a tensor over all processes; every process must call it."""
        if self.count > 1:
            torch.distributed.all_reduce(values)
            values = values / self.count
        return values

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes; every process must call it.

        A step has three backward passes through the same weights, so gradients are exchanged once, after the last.
        """
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        pending = [torch.distributed.all_reduce(gradient, async_op=True) for gradient in gradients]
        for work, gradient in zip(pending, gradients, strict=True):
            work.wait()
            gradient.div_(self.count)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; every process must call it."""
        if self.count == 1:
            return flag
        total = torch.tensor([int(flag)], device=self.device)
        torch.distributed.all_reduce(total)
        return bool(total.item())


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, over NCCL on GPUs and gloo on CPUs; alone without it.

    Args:
        device: ``auto`` (this process's GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        SettingsError: the device is not there.
    """
    rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if count == 1:
        yield Processes(0, 1, chosen)
        return
    torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(rank, count, chosen)
    finally:
        torch.distributed.destroy_process_group()


def choose_device(device: str) -> torch.device:
    """``auto``, ``cuda`` and ``cpu`` to this process's device; see `joined_processes`."""
    has_cuda = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if has_cuda else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise SettingsError(f"device: got '{device}', expected auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda":
        if not has_cuda or (chosen.index or 0) >= torch.cuda.device_count():
            raise SettingsError(f"device: got '{device}', but torch sees {torch.cuda.device_count()} GPUs: try cpu")
        torch.cuda.set_device(chosen)
        # Crops keep their size from step to step: trying all of cuDNN's algorithms pays.
        torch.backends.cudnn.benchmark = True
    return chosen
