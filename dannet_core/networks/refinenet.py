"""RefineNet (Lin et al., CVPR 2017): four cascaded blocks refine coarse features with finer ones."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from dannet_core.networks.resnet import DEPTHS, ResNet

COARSEST_CHANNELS: Final = 512
CHANNELS: Final = 256
POOLING_STAGES: Final = 4


class ResidualConvUnit(nn.Module):
    """ReLU, 3x3, ReLU, 3x3, plus the input (RefineNet, figure 2 b); shape unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add what two convolutions make of the activated input."""
        return torch.add(x, self.conv2(functional.relu(self.conv1(functional.relu(x)))))


class ChainedResidualPooling(nn.Module):
    """A chain of 5x5 max pools and 3x3 convolutions, all summed with the input (figure 2 d); shape unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(POOLING_STAGES)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add each link of the chain to the input."""
        pooled = x
        for conv in self.convs:
            pooled = conv(self.pool(pooled))
            x = x + pooled
        return x


class RefineBlock(nn.Module):
    """Adapts one stage's features, fuses the coarser block's output into them, pools, refines (figure 2 a).

    Args:
        features: channels of the backbone stage.
        channels: channels inside the block.
        out_channels: of the 3x3 convolution that hands the result to the next finer block; None in the finest one.
        fuses: whether a coarser block comes before this one.
    """

    def __init__(self, features: int, channels: int, out_channels: int | None, *, fuses: bool) -> None:
        super().__init__()
        self.reduce = _conv3x3(features, channels)
        self.adapt = nn.Sequential(*(ResidualConvUnit(channels) for _ in range(2)))
        self.fuse = _conv3x3(channels, channels) if fuses else None
        self.pool = ChainedResidualPooling(channels)
        self.refine = nn.Sequential(*(ResidualConvUnit(channels) for _ in range(3)))
        self.hand_over = None if out_channels is None else _conv3x3(channels, out_channels)

    def forward(self, stage: Tensor, coarser: Tensor | None) -> Tensor:
        """N x features x h x w and the coarser block's output to N x out_channels x h x w."""
        x: Tensor = self.adapt(self.reduce(stage))
        if self.fuse is not None and coarser is not None:
            upsampled = functional.interpolate(coarser, size=x.shape[-2:], mode="bilinear", align_corners=True)
            x = self.fuse(x) + upsampled
        x = self.refine(self.pool(functional.relu(x)))
        return x if self.hand_over is None else self.hand_over(x)


class RefineNet(nn.Module):
    """A stride-32 ResNet and four refine blocks back up to stride 4; 118.05 M parameters at depth 101.

    Args:
        depth: 18, 50 or 101.
        num_classes: K.
    """

    def __init__(self, depth: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = ResNet(depth)
        stage1, stage2, stage3, stage4 = self.backbone.stage_channels
        self.blocks = nn.ModuleList(
            [
                RefineBlock(stage4, COARSEST_CHANNELS, CHANNELS, fuses=False),
                RefineBlock(stage3, CHANNELS, CHANNELS, fuses=True),
                RefineBlock(stage2, CHANNELS, CHANNELS, fuses=True),
                RefineBlock(stage1, CHANNELS, None, fuses=True),
            ]
        )
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Conv2d(CHANNELS, num_classes, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """N x 3 x H x W to logits N x K x ~H/4 x ~W/4; there is no auxiliary head."""
        stage1, stage2, stage3, stage4 = self.backbone(x)
        refined: Tensor | None = None
        stages = (self.dropout(stage4), self.dropout(stage3), stage2, stage1)
        for block, stage in zip(self.blocks, stages, strict=True):
            refined = block(stage, refined)
        return self.classifier(self.dropout(refined)), None


def build(backbone: str, num_classes: int, aspp_branches: int | None) -> nn.Module:  # noqa: ARG001  all are built alike
    """As `build_dannet` calls it: random weights, arguments checked."""
    return RefineNet(DEPTHS[backbone], num_classes)


def _conv3x3(channels: int, planes: int) -> nn.Conv2d:
    return nn.Conv2d(channels, planes, 3, padding=1, bias=False)
