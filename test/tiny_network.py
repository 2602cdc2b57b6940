"""A DANNet with one convolution in each half, for tests of what lies around the network."""

from __future__ import annotations

import torch
from torch import Tensor

from dannet_core.networks import DANNet


class TinySegmentation(torch.nn.Module):
    """Stride 8, 19 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Conv2d(3, 19, 1))

    def forward(self, relit: Tensor) -> tuple[Tensor, None]:
        """Logits at stride 8, and no auxiliary ones."""
        return 3 * self.layers(relit), None


def tiny_network() -> DANNet:
    """The same weights every time, in eval mode."""
    torch.manual_seed(0)
    return DANNet(torch.nn.Conv2d(3, 3, 3, padding=1), TinySegmentation()).eval()
