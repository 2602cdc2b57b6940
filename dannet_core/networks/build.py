"""Builds a DANNet by name, after checking its hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from dannet_core.architectures import BACKBONES
from dannet_core.classes import NUM_CLASSES
from dannet_core.errors import SettingsError
from dannet_core.networks.dannet import DANNet
from dannet_core.networks.discriminator import Discriminator
from dannet_core.networks.relighting import NoRelighting, Relighting

MAX_RELIGHTING_WIDTH: Final = 256
MAX_DISCRIMINATOR_WIDTH: Final = 256


def build_dannet(
    arch: str,
    *,
    backbone: str | None = None,
    num_classes: int = NUM_CLASSES,
    relighting_width: int = 64,
    aspp_branches: int | None = None,
) -> DANNet:
    """Build a DANNet with random weights, in training mode.

    Args:
        arch: a name in `BACKBONES`.
        backbone: one of that network's there; None: the last.
        num_classes: 2 to 255.
        relighting_width: channels of the relighting network's first convolution, 64 in the paper; 0 builds none and
            leaves the image as it is (source-only training, and an ablation of the paper).
        aspp_branches: ``deeplabv2`` only: 4 (paper, also what None means) or 2 (the released weights). 0 or None
            elsewhere.

    Raises:
        SettingsError: an argument is out of its range.
        MissingPackageError: ``efficientvit`` without timm, ``lraspp`` without torchvision.
    """
    _check(arch in BACKBONES, "arch", arch, "one of " + ", ".join(BACKBONES))
    backbones = BACKBONES[arch]
    backbone = backbones[-1] if backbone is None else backbone
    _check(backbone in backbones, "backbone", backbone, f"one of {', '.join(backbones)} for {arch}")
    _check(2 <= num_classes <= 255, "num_classes", num_classes, "2 to 255")
    _check(
        relighting_width == 0 or 4 <= relighting_width <= MAX_RELIGHTING_WIDTH,
        "relighting_width",
        relighting_width,
        f"0, or 4 to {MAX_RELIGHTING_WIDTH}",
    )
    branches_fit = arch == "deeplabv2" or not aspp_branches
    _check(branches_fit, "aspp_branches", aspp_branches, f"0 for {arch}: only deeplabv2 has them")
    relighting = Relighting(relighting_width) if relighting_width else NoRelighting()
    network = import_module(f"dannet_core.networks.{arch}")
    return DANNet(relighting, network.build(backbone, num_classes, aspp_branches))


def build_discriminator(num_classes: int = NUM_CLASSES, width: int = 64) -> Discriminator:
    """Build one of the two output-space discriminators with random weights.

    Args:
        num_classes: 2 to 255.
        width: channels of its first convolution, 64 in the paper.

    Raises:
        SettingsError: an argument is out of its range.
    """
    _check(2 <= num_classes <= 255, "num_classes", num_classes, "2 to 255")
    _check(4 <= width <= MAX_DISCRIMINATOR_WIDTH, "width", width, f"4 to {MAX_DISCRIMINATOR_WIDTH}")
    return Discriminator(num_classes, width)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Networks built inside have shapes and no memory: to compare a file with, or to load one into by assignment."""
    with torch.device("meta"), _DrawNothing():
        yield


class _DrawNothing(TorchFunctionMode):
    """Skips random initialisation, which on the meta device does nothing but import seconds' worth of torch."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _DRAWING:
            return args[0]
        return func(*args, **(kwargs or {}))


_DRAWING: Final = (torch.Tensor.uniform_, torch.Tensor.normal_)


def _check(ok: bool, name: str, got: object, expected: str) -> None:
    if not ok:
        raise SettingsError(f"{name}: got {got!r}, expected {expected}")
