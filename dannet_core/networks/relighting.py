"""The relighting network (DANNet, section 3.2): brings day and night images to one brightness."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

DOWNSAMPLING: Final = 4
"""The network halves its input twice and doubles it twice: inside, sides are multiples of this."""


class ResidualBlock(nn.Module):
    """Two reflect-padded 3x3 convolutions with batch norm, added to the input: N x C x H x W, unchanged in shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to its input."""
        return torch.add(x, self.branch(x))


class Relighting(nn.Module):
    """R = I + output: an encoder, three residual blocks and a decoder predict what to add to the image.

    Args:
        width: channels of the first convolution; 64 in the paper (64, 128, 256 going down), 4.30 M parameters.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(3, width, 7, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width * 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width * 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(width * 2, width * 4, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width * 4),
            nn.ReLU(inplace=True),
        )
        self.residual = nn.Sequential(*(ResidualBlock(width * 4) for _ in range(3)))
        self.decoder = nn.Sequential(
            _double(width * 4, width * 2),
            nn.BatchNorm2d(width * 2),
            nn.ReLU(inplace=True),
            _double(width * 2, width),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, 3, 7),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Relight N x 3 x H x W ImageNet-normalised RGB of any size; the result has the same shape and normalisation.

        Sides that are not multiples of 4 are mirrored by up to three pixels at the bottom and right, and cropped back.
        """
        height, width = x.shape[-2:]
        pad_bottom, pad_right = -height % DOWNSAMPLING, -width % DOWNSAMPLING
        padded = functional.pad(x, (0, pad_right, 0, pad_bottom), mode="reflect") if pad_bottom or pad_right else x
        light = self.decoder(self.residual(self.encoder(padded)))
        if pad_bottom or pad_right:
            light = light[..., :height, :width]
        return torch.add(x, light)

    def start_as_identity(self) -> None:
        """Make R = I, by a last convolution of zeros, from which training starts as well as from random ones.

        From a random start the picture has a tint, and the losses that would take it away are weak beside the
        segmentation loss, which does not mind: batch norm hides a constant from the segmentation network.
        """
        for module in self.decoder.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)


class NoRelighting(nn.Module):
    """Leaves the image as it is: a source-only network, and the paper's ablation without relighting."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` itself."""
        return x


def _double(channels: int, planes: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, planes, 3, stride=2, padding=1, output_padding=1, bias=False)
