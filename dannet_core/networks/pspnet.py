"""PSPNet (Zhao et al., CVPR 2017) as DANNet uses it: output stride 8, pyramid without norms, auxiliary head."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from dannet_core.networks.resnet import DEPTHS, ResNet

PYRAMID_SIZES: Final = (1, 2, 3, 6)


class PyramidPooling(nn.Module):
    """Average-pools features to 1x1, 2x2, 3x3 and 6x6, projects each, and merges them with the features.

    Args:
        features: channels of the input.
        channels: channels of each projection and of the output; a quarter of ``features`` in the paper.
    """

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.AdaptiveAvgPool2d(size) for size in PYRAMID_SIZES)
        self.projections = nn.ModuleList(nn.Conv2d(features, channels, 1, bias=False) for _ in PYRAMID_SIZES)
        self.bottleneck = nn.Sequential(
            nn.Conv2d(features + len(PYRAMID_SIZES) * channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.Dropout2d(0.1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """N x features x h x w to N x channels x h x w."""
        levels = [
            functional.interpolate(project(pool(x)), size=x.shape[-2:], mode="bilinear", align_corners=True)
            for pool, project in zip(self.pools, self.projections, strict=True)
        ]
        merged: Tensor = self.bottleneck(torch.cat([*levels, x], dim=1))
        return merged


class PSPNet(nn.Module):
    """A dilated ResNet with a deep stem, pyramid pooling and a 1x1 classifier; 70.43 M parameters at depth 101.

    Args:
        depth: 18, 50 or 101.
        num_classes: K.

    Attributes:
        run_auxiliary: compute the auxiliary logits while training; False where no loss looks at them.
    """

    def __init__(self, depth: int, num_classes: int) -> None:
        super().__init__()
        self.run_auxiliary = True
        self.backbone = ResNet(depth, deep_stem=True, dilations=(2, 4), ceil_pool=True)
        *_, middle, features = self.backbone.stage_channels
        channels = features // 4
        self.pyramid = PyramidPooling(features, channels)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.auxiliary = nn.Sequential(
            nn.Conv2d(middle, middle // 2, 3, padding=1),
            nn.BatchNorm2d(middle // 2),
            nn.Dropout2d(0.1),
            nn.Conv2d(middle // 2, num_classes, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """N x 3 x H x W to logits N x K x ~H/8 x ~W/8, and the auxiliary ones of the same shape while training."""
        *_, stage3, stage4 = self.backbone(x)
        aux = self.auxiliary(stage3) if self.training and self.run_auxiliary else None
        return self.classifier(self.pyramid(stage4)), aux


def build(backbone: str, num_classes: int, aspp_branches: int | None) -> nn.Module:  # noqa: ARG001  all are built alike
    """As `build_dannet` calls it: random weights, arguments checked."""
    return PSPNet(DEPTHS[backbone], num_classes)
