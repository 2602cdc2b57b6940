"""What every loss asks of its inputs: full precision, one size, a known option."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from dannet_core.errors import ImageError, SettingsError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def in_full_precision(loss: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a loss so that autocast is off inside it and half-precision tensors reach it as float32.

    Squares, variances and logarithms of half-precision values lose the digits that the gradients are made of. float32
    and float64 arguments are left as they are; integer tensors and other arguments pass unchanged.
    """

    @functools.wraps(loss)
    def in_float32(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        tensors = (*args, *kwargs.values())
        device = next(value.device.type for value in tensors if isinstance(value, Tensor))
        with torch.autocast(device, enabled=False):
            return loss(*map(_widened, args), **{name: _widened(value) for name, value in kwargs.items()})

    return in_float32


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(torch.promote_types(value.dtype, torch.float32))
    return value


def check_label_size(logits: Tensor, labels: Tensor) -> None:
    """Raise ImageError unless ``labels`` is N x H x W for ``logits`` of N x K x H x W."""
    if logits.dim() != 4 or labels.shape != (logits.shape[0], *logits.shape[2:]):
        raise ImageError(
            f"loss: got logits {tuple(logits.shape)} and labels {tuple(labels.shape)}, "
            "expected N x K x H x W and N x H x W: upsample the logits to the labels' size"
        )


def check_same_shape(name: str, first: Tensor, second: Tensor) -> None:
    """Raise ImageError unless both tensors have one shape; ``name`` says what they are."""
    if first.shape != second.shape:
        raise ImageError(f"{name}: got shapes {tuple(first.shape)} and {tuple(second.shape)}, expected the same")


def check_option(name: str, value: str, known: Collection[str]) -> None:
    """Raise SettingsError unless ``value`` is one of the ``known`` values of option ``name``."""
    if value not in known:
        raise SettingsError(f"{name}: got '{value}', expected one of {', '.join(known)}")
