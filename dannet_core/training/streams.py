"""Random streams of their own for what the paper does not have: switching it off leaves every other draw as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from dannet_core.data.loaders import seeded

MIXING: Final = 101
MASKING: Final = 102
DARKENING: Final = 103
"""Names of the streams."""


@contextmanager
def own_stream(device: torch.device, *numbers: int) -> Iterator[None]:
    """Inside, torch draws (also dropout, and on ``device``) from a stream that is a function of ``numbers``."""
    seed = seeded(*numbers).initial_seed()
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng([device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
