"""EfficientViT (Cai et al., ICCV 2023): convolutions and linear attention, timm's backbone, and the paper's head."""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dannet_core.errors import require


class HeadSize(NamedTuple):
    """The segmentation head of one backbone for Cityscapes (Cai et al., section 4.1).

    Attributes:
        width: channels the stages are summed in.
        depth: inverted residual blocks after the sum.
    """

    width: int
    depth: int


HEAD_SIZES: Final = {"b0": HeadSize(32, 1), "b1": HeadSize(64, 3)}
EXPANSION: Final = 4
"""Of the inverted residual blocks, and of the last layer before the classifier."""
STAGES: Final = (1, 2, 3)
"""The backbone's stages that the head reads, counted from 0; their strides are 8, 16 and 32."""


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, 1x1 projection, added to the input: N x C x h x w, unchanged in shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels * EXPANSION
        self.branch = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.Hardswish(inplace=True),
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.Hardswish(inplace=True),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to its input."""
        return torch.add(x, self.branch(x))


class EfficientViT(nn.Module):
    """Sums three stages at stride 8 and classifies the sum.

    The attention inside divides by a sum of products of ReLUs, which is 0 where none is above it, as in the dark. The
    1e-5 that timm adds to it keeps that finite; the authors' 1e-15 does not survive export, where it counts as 0.

    Args:
        backbone: ``b0`` or ``b1``.
        num_classes: K.

    Attributes:
        align_corners: how the logits are to be upsampled.

    Raises:
        MissingPackageError: timm is not installed.
    """

    align_corners: Final = False

    def __init__(self, backbone: str, num_classes: int) -> None:
        super().__init__()
        timm = require("timm", "build EfficientViT", "pip install 'dannet_ros[train]'")
        width, depth = HEAD_SIZES[backbone]
        self.backbone = timm.create_model(
            f"efficientvit_{backbone}", pretrained=False, features_only=True, out_indices=STAGES
        )
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
            for channels in self.backbone.feature_info.channels()
        )
        self.blocks = nn.Sequential(*(InvertedResidual(width) for _ in range(depth)))
        self.expansion = nn.Sequential(
            nn.Conv2d(width, width * EXPANSION, 1, bias=False),
            nn.BatchNorm2d(width * EXPANSION),
            nn.Hardswish(inplace=True),
        )
        self.classifier = nn.Conv2d(width * EXPANSION, num_classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """N x 3 x H x W to logits N x K x H/8 x W/8, rounded up; there is no auxiliary head."""
        stride8, stride16, stride32 = (
            project(stage) for project, stage in zip(self.projections, self.backbone(x), strict=True)
        )
        height, width = stride8.shape[-2:]
        total = stride8 + enlarge(stride16, 2)[..., :height, :width] + enlarge(stride32, 4)[..., :height, :width]
        return self.classifier(self.expansion(self.blocks(total))), None


def enlarge(x: Tensor, factor: int) -> Tensor:
    """N x C x h x w to N x C x (factor h) x (factor w), bicubic.

    By the factor, not to a size: a stage of a picture whose sides are no multiples of 32 covers a little more than the
    stage before it, and what hangs over is cut off.
    """
    return functional.interpolate(x, scale_factor=factor, mode="bicubic", align_corners=False)


def build(backbone: str, num_classes: int, aspp_branches: int | None) -> nn.Module:  # noqa: ARG001  all are built alike
    """As `build_dannet` calls it: random weights, arguments checked."""
    return EfficientViT(backbone, num_classes)
