"""SGD for the generator, Adam for each discriminator, one polynomial decay (DANNet, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from torch import nn
from torch.optim import SGD, Adam, Optimizer

from dannet_core.networks import DANNet
from dannet_core.networks.discriminator import Discriminator

ADAM_BETAS: Final = (0.9, 0.99)


def generator_optimiser(
    net: DANNet, lr: float, momentum: float, weight_decay: float, lr_relighting: float | None = None
) -> SGD:
    """SGD over every trainable weight of both networks.

    Args:
        net: the generator.
        lr: initial learning rate.
        momentum: of both networks.
        weight_decay: of both networks.
        lr_relighting: initial rate of the relighting network; None = ``lr``, as in the paper.
    """
    if lr_relighting is None:
        return SGD(trainable(net), lr=lr, momentum=momentum, weight_decay=weight_decay)
    groups: list[dict[str, Any]] = [
        {"params": trainable(net.segmentation)},
        {"params": trainable(net.relighting), "lr": lr_relighting},
    ]
    return SGD([group for group in groups if group["params"]], lr=lr, momentum=momentum, weight_decay=weight_decay)


def discriminator_optimiser(discriminator: Discriminator, lr: float) -> Adam:
    """Adam with the paper's betas (0.9, 0.99)."""
    return Adam(trainable(discriminator), lr=lr, betas=ADAM_BETAS)


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that take gradients."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def poly_decay(step: int, steps: int, power: float) -> float:
    """Share of the initial learning rate at ``step`` of ``steps``: (1 - step / steps) ^ power."""
    return float(max(0.0, 1.0 - step / steps) ** power)


def set_learning_rate(optimisers: Iterable[Optimizer], share: float) -> None:
    """Give every optimiser ``share`` of the rate it was made with."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * share
