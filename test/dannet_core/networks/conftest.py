"""Seeded weights that depend on a key's released name only, so that the released code and this one can share them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dannet_core.networks.official import released_key

FIGURES = Path(__file__).with_name("released_figures.json")


@pytest.fixture(scope="session")
def released_figures() -> dict:
    """What the released code computed from the weights of `seeded_values`; figures only, see `test_official.py`."""
    return json.loads(FIGURES.read_text())


@pytest.fixture(scope="session")
def released_state() -> Callable[[str, nn.Module], dict[str, Tensor]]:
    """Makes the state dict a released checkpoint of that network would hold, filled by `seeded_values`."""

    def make(network: str, module: nn.Module) -> dict[str, Tensor]:
        shapes = {released_key(network, key): tuple(tensor.shape) for key, tensor in module.state_dict().items()}
        return {key: torch.from_numpy(np.asarray(seeded_values(key, shape))) for key, shape in shapes.items()}

    return make


def seeded_values(key: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_mean"):
        values = 0.1 * rng.standard_normal(shape)
    elif key.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif len(shape) == 4:
        gain = 0.5 if key.startswith(("p_ims", "adapt", "mflow")) else 2.0
        values = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(gain / np.prod(shape[1:])))
    elif key.endswith("weight"):
        values = rng.uniform(0.5, 1.0, shape) * (0.3 if "bn3" in key or "conv_block.6" in key else 1.0)
    else:
        values = 0.1 * rng.standard_normal(shape)
    return values.astype(np.float32)
