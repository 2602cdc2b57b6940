"""DeepLab-v2 (Chen et al., TPAMI 2018): a dilated ResNet with atrous spatial pyramid pooling."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from dannet_core.errors import SettingsError
from dannet_core.networks.resnet import DEPTHS, ResNet

ASPP_DILATIONS: Final = (6, 12, 18, 24)


class AtrousPyramid(nn.Module):
    """Sum of 3x3 convolutions of growing dilation, each a classifier: N x C x h x w to N x K x h x w.

    Args:
        features: C.
        num_classes: K.
        branches: how many of the four convolutions are summed: 4 in the paper; 2 in the released code, whose weights
            carry all four. The unused ones stay in the state dict, without gradients.
    """

    def __init__(self, features: int, num_classes: int, branches: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(features, num_classes, 3, padding=dilation, dilation=dilation) for dilation in ASPP_DILATIONS
        )
        self.in_use = branches
        for unused in self.branches[branches:]:
            unused.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Sum the first ``branches`` classifiers."""
        logits: Tensor = self.branches[0](x)
        for branch in self.branches[1 : self.in_use]:
            logits = logits + branch(x)
        return logits


class DeepLabV2(nn.Module):
    """ResNet with batch-norm scales frozen outside the stem, and two atrous pyramids; 44.60 M parameters at depth 101.

    Args:
        depth: 18, 50 or 101.
        num_classes: K.
        aspp_branches: 4 (paper) or 2 (released weights), see `AtrousPyramid`.

    Attributes:
        run_auxiliary: compute the auxiliary logits while training; False where no loss looks at them.
    """

    def __init__(self, depth: int, num_classes: int, aspp_branches: int) -> None:
        super().__init__()
        self.run_auxiliary = True
        self.backbone = ResNet(depth, stride_in_first=True, dilations=(2, 4), ceil_pool=True, frozen_affine=True)
        self.aspp_branches = aspp_branches
        *_, middle, features = self.backbone.stage_channels
        self.auxiliary = AtrousPyramid(middle, num_classes, aspp_branches)
        self.classifier = AtrousPyramid(features, num_classes, aspp_branches)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """N x 3 x H x W to logits N x K x ~H/8 x ~W/8, and the auxiliary ones of the same shape while training."""
        *_, stage3, stage4 = self.backbone(x)
        aux = self.auxiliary(stage3) if self.training and self.run_auxiliary else None
        return self.classifier(stage4), aux


def build(backbone: str, num_classes: int, aspp_branches: int | None) -> nn.Module:
    """As `build_dannet` calls it: random weights; ``aspp_branches`` None means the paper's 4.

    Raises:
        SettingsError: another number of branches than 2 or 4.
    """
    branches = 4 if aspp_branches is None else aspp_branches
    if branches not in {2, 4}:
        raise SettingsError(f"aspp_branches: got {branches!r}, expected 4 (paper) or 2 (the released weights)")
    return DeepLabV2(DEPTHS[backbone], num_classes, branches)
