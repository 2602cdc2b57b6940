"""Batch norm anchored at the start; not part of the paper.

A short training needs the statistics of its batches: with fixed ones its gradients are many times as large. But the
statistics of a few streets are not those that the start knows the day with, and to go over to them costs the day more than
anything that is learned. Anchored, a batch leaves every norm with the mean and the spread that the same batch has there in
the start, whose own statistics stay: what is normalised away is only what the learned weights changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dannet_core.networks import DANNet
from dannet_core.training.teacher import batch_statistics

_SPATIAL: Final = (0, 2, 3)


class Moments(NamedTuple):
    """Of what a norm is given: mean and variance, (C,) each, float32."""

    mean: Tensor
    variance: Tensor


Record = dict[int, Moments]
"""Of the newest pass, by the norm's place in the network; a norm that it left out is missing."""


class Anchor:
    """The start of a run, by which the batch norms of the network in training and of its averages are held.

    Args:
        start: frozen, in eval mode.
    """

    def __init__(self, start: DANNet) -> None:
        self._start = start.segmentation

    @contextmanager
    def around(self, net: DANNet) -> Iterator[Record]:
        """Inside, the batch norms of ``net`` that use a batch's statistics are anchored; of its segmentation network.

        Args:
            net: of the start's architecture.

        Yields:
            What the start's norms were given in the newest pass.
        """
        seen: Record = {}

        def ask_start(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.clear()
            with torch.no_grad(), _recorded(self._start, seen):
                self._start(inputs[0])

        with ExitStack() as hooks:
            hooks.callback(net.segmentation.register_forward_pre_hook(ask_start).remove)
            for place, (norm, first) in enumerate(zip(_norms(net.segmentation), _norms(self._start), strict=True)):
                hooks.callback(norm.register_forward_hook(partial(_anchored, seen, place, first)).remove)
            yield seen

    @contextmanager
    def batch_statistics(self, net: DANNet) -> Iterator[None]:
        """Inside, the batch norms of a network in eval mode use each batch's own statistics, anchored."""
        with batch_statistics(net), self.around(net):
            yield

    @torch.no_grad()
    def settle(self, net: DANNet, batches: Iterable[Tensor]) -> None:
        """Give a network in eval mode the running statistics with which it does alone what it did anchored.

        They are the start's, moved by what the weights changed in the statistics of ``batches``: a network that learned
        nothing gets the start's.

        Args:
            net: on the batches' device.
            batches: N x 3 x H x W ImageNet-normalised images by day and by night; at least one.
        """
        own, sums = Record(), dict[int, list[Tensor]]()
        with batch_statistics(net), self.around(net) as first, _recorded(net.segmentation, own):
            for images in batches:
                net.at_stride(images)
                for place in own.keys() & first.keys():
                    moments = torch.stack([*own[place], *first[place]])
                    sums.setdefault(place, []).append(moments)
        for place, (norm, origin) in enumerate(zip(_norms(net.segmentation), _norms(self._start), strict=True)):
            if place in sums:
                mean, variance, first_mean, first_variance = torch.stack(sums[place]).mean(dim=0)
                _move(norm, origin, Moments(mean, variance), Moments(first_mean, first_variance))


class AnchoredForward(nn.Module):
    """The generator as training runs it, anchored.

    Args:
        forward: as it runs without.
        anchor: of the network that ``forward`` runs.
        net: that network.
    """

    def __init__(self, forward: nn.Module, anchor: Anchor, net: DANNet) -> None:
        super().__init__()
        self.unanchored = forward
        self._anchor = anchor
        self._net = net

    def forward(self, images: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Relit images, logits N x K x ``size``, and the auxiliary head's logits or None."""
        with self._anchor.around(self._net):
            result: tuple[Tensor, Tensor, Tensor | None] = self.unanchored(images, size)
        return result


def _anchored(
    seen: Record, place: int, first: _BatchNorm, norm: nn.Module, _: tuple[Tensor, ...], output: Tensor
) -> Tensor:
    """What a norm gave, with the mean and the spread that the start's norm gave the same batch."""
    if not norm.training or place not in seen:
        return output
    assert isinstance(norm, _BatchNorm), "only norms are hooked"
    spread, mean = _deviation(first, seen[place])
    gain, offset = norm.weight, norm.bias
    shift = offset * (1 - spread) + gain * mean
    return output * spread.to(output.dtype).view(1, -1, 1, 1) + shift.to(output.dtype).view(1, -1, 1, 1)


def _deviation(first: _BatchNorm, seen: Moments) -> tuple[Tensor, Tensor]:
    """Spread and mean of a batch where the start's norm has divided by its running deviation: 1 and 0 by its own day."""
    running_mean, running = first.running_mean, first.running_var
    assert running_mean is not None, "a start has running statistics"
    assert running is not None, "a start has running statistics"
    deviation = (running + first.eps).sqrt()
    return (seen.variance + first.eps).sqrt() / deviation, (seen.mean - running_mean) / deviation


def _move(norm: _BatchNorm, first: _BatchNorm, own: Moments, seen: Moments) -> None:
    spread, mean = _deviation(first, seen)
    deviation = (own.variance + norm.eps).sqrt() / spread
    assert norm.running_mean is not None, "a network of the start's architecture has running statistics"
    assert norm.running_var is not None, "a network of the start's architecture has running statistics"
    norm.running_mean.copy_(own.mean - mean * deviation)
    norm.running_var.copy_((deviation.square() - norm.eps).clamp(min=0))


@contextmanager
def _recorded(network: nn.Module, record: Record) -> Iterator[None]:
    """Inside, the moments of what every batch norm of a network is given land in ``record``."""

    def see(place: int, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0].detach().float(), dim=_SPATIAL, correction=0)
        record[place] = Moments(mean, variance)

    with ExitStack() as hooks:
        for place, norm in enumerate(_norms(network)):
            hooks.callback(norm.register_forward_pre_hook(partial(see, place)).remove)
        yield


def _norms(network: nn.Module) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]
