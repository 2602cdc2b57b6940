"""Inputs that are the same on every machine and in every version: no random generator is asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Pattern = Callable[..., Tensor]


def _pattern(*shape: int, seed: int, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers spread evenly over -scale..scale."""
    index = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    spread = torch.sin(index * 12.9898 + seed * 78.233) * 43758.5453
    return ((spread - spread.floor()) * 2 - 1).mul(scale).reshape(shape).to(dtype)


def _labels(*shape: int, seed: int, above: int) -> Tensor:
    """N x H x W uint8 train ids 0..above-1 in blocks of up to 4 x 4 pixels, about one in five of them 255."""
    count, height, width = shape
    blocks = _pattern(count, -(-height // 4), -(-width // 4), seed=seed, dtype=torch.float64)
    ids = ((blocks + 1) / 2 * above * 1.25).floor().to(torch.int64)
    ids = torch.where(ids < above, ids, 255).to(torch.uint8)
    return ids.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :height, :width].contiguous()


@pytest.fixture
def pattern() -> Pattern:
    return _pattern


@pytest.fixture
def label_pattern() -> Callable[..., Tensor]:
    return _labels
