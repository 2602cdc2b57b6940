"""An averaged teacher (Tarvainen and Valpola 2017, as DACS and DAFormer use it); not part of the paper.

The teacher follows the trained network slowly. Its predictions on the night are steadier than the network's own, so it
makes the pseudo labels, and it is what is validated and saved.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dannet_core.networks import DANNet
from dannet_core.networks.dannet import upsample


class Teacher:
    """The exponential average of a network in training: its weights and its batch norms' running statistics.

    Averaged weights with the statistics of the newest ones would be a network that never existed.

    Args:
        net: what it starts as.
        limit: the largest share of itself that it keeps in a step.
        frozen_norms: the network trains with the statistics that it has, and so does the teacher predict.

    Attributes:
        net: the averaged network, in eval mode, without gradients.
    """

    def __init__(self, net: DANNet, limit: float, *, frozen_norms: bool = False) -> None:
        self._statistics: Callable[[nn.Module], AbstractContextManager[object]] = (
            nullcontext if frozen_norms else batch_statistics
        )
        self.net = copy.deepcopy(net).requires_grad_(False).eval()
        self._limit = limit

    def decay(self, step: int) -> float:
        """Share that it keeps after ``step`` finished steps; in a short run it is the mean of all networks so far."""
        return min(1 - 1 / (step + 1), self._limit)

    @torch.no_grad()
    def follow(self, net: DANNet, step: int) -> None:
        """Move towards ``net`` after ``step`` finished steps, 1 or more."""
        share = 1 - self.decay(step)
        for own, new in zip(_tensors(self.net), _tensors(net), strict=True):
            if own.is_floating_point():
                own.lerp_(new, share)
            else:
                own.copy_(new)

    @torch.no_grad()
    def logits(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Predict with the batch's own statistics, N x K x ``size``; the running ones stay as they are.

        They are the day's as much as the night's, and the night's own make the better pseudo labels; but for a network
        that trains with frozen ones.
        """
        with self._statistics(self.net):
            _, stride_logits, _ = self.net.at_stride(images)
        return upsample(stride_logits, size, self.net.align_corners)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return dict(self.net.state_dict())

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.net.load_state_dict(state)


@contextmanager
def batch_statistics(net: nn.Module) -> Iterator[None]:
    """Inside, the batch norms of a network in eval mode use each batch's own statistics and remember none."""
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm in norms:
            norm.training, norm.track_running_stats = False, True


def _tensors(net: nn.Module) -> Iterator[Tensor]:
    yield from net.parameters()
    yield from net.buffers()
