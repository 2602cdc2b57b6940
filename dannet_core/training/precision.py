"""Half precision for the networks: autocast, and loss scaling where fp16 needs it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor
from torch.optim import Optimizer

DTYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """How the networks compute.

    Args:
        name: ``fp32``, ``bf16`` or ``fp16``.
        device: where they run.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self._device = device
        self._dtype = DTYPES.get(name)
        self._scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> AbstractContextManager[Any]:
        """Run the networks inside it; the losses widen what they get."""
        return nullcontext() if self._dtype is None else torch.autocast(self._device.type, self._dtype)

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to call ``backward`` on."""
        return self._scaler.scale(loss)

    def step(self, optimisers: Sequence[Optimizer]) -> None:
        """Step every optimiser; with fp16 one whose gradients overflowed stands still, and the scale shrinks."""
        for optimiser in optimisers:
            self._scaler.step(optimiser)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return dict(self._scaler.state_dict())

    def restore(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self._scaler.load_state_dict(state)
