"""SGD for the generator, Adam for each discriminator, one polynomial decay (DANNet, section 4.1).

Not in the paper: AdamW for the generator, and a learning rate of its own for the segmentation network's head.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from dannet_core.networks import DANNet
from dannet_core.networks.discriminator import Discriminator

ADAM_BETAS: Final = (0.9, 0.99)
GENERATOR_OPTIMISERS: Final = ("sgd", "adamw")


@dataclass(frozen=True)
class Rates:
    """Initial learning rates of the generator by group.

    Attributes:
        lr: of everything that has no rate of its own.
        relighting: of the relighting network; None = ``lr``.
        head: of the segmentation network outside its backbone; None = ``lr``.
        backbone: beginnings of the segmentation network's keys that belong to its backbone; not looked at without
            ``head``.
    """

    lr: float
    relighting: float | None = None
    head: float | None = None
    backbone: tuple[str, ...] = ()

    def groups(self, net: DANNet) -> list[dict[str, Any]]:
        """Parameter groups of every trainable weight; one, in the network's order, where no group has its own rate."""
        if self.relighting is None and self.head is None:
            return [{"params": trainable(net)}]
        head: list[nn.Parameter] = []
        rest = trainable(net.segmentation)
        if self.head is not None:
            named = [item for item in net.segmentation.named_parameters() if item[1].requires_grad]
            head = [parameter for name, parameter in named if not name.startswith(self.backbone)]
            rest = [parameter for name, parameter in named if name.startswith(self.backbone)]
        groups: list[dict[str, Any]] = [
            {"params": rest},
            {"params": head, "lr": self.head},
            {"params": trainable(net.relighting), "lr": self.lr if self.relighting is None else self.relighting},
        ]
        return [group for group in groups if group["params"]]


def generator_optimiser(
    net: DANNet,
    lr: float | Rates,
    momentum: float,
    weight_decay: float,
    lr_relighting: float | None = None,
    kind: str = "sgd",
) -> Optimizer:
    """An optimiser of every trainable weight of both networks.

    Args:
        net: the generator.
        lr: initial learning rate, or the rates by group.
        momentum: of both networks; not used by AdamW.
        weight_decay: of both networks.
        lr_relighting: of the relighting network, where ``lr`` is one number; None = ``lr``, as in the paper.
        kind: one of `GENERATOR_OPTIMISERS`: ``sgd``, the paper's, or ``adamw``.
    """
    rates = lr if isinstance(lr, Rates) else Rates(lr, lr_relighting)
    groups = rates.groups(net)
    if kind == "adamw":
        return AdamW(groups, lr=rates.lr, weight_decay=weight_decay)
    return SGD(groups, lr=rates.lr, momentum=momentum, weight_decay=weight_decay)


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
