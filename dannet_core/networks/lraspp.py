"""The light network: MobileNetV3-Large with the LR-ASPP head (Howard et al., ICCV 2019, section 6.3)."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from dannet_core.errors import require

LOW_FEATURES_END: Final = 7
"""The first seven of torchvision's feature blocks end at stride 8 with 40 channels; the rest ends at stride 16."""
LOW_CHANNELS: Final = 40
HIGH_CHANNELS: Final = 960
HEAD_CHANNELS: Final = 128


class LRASPP(nn.Module):
    """Classifies stride-16 features, scaled by their global average, together with stride-8 ones.

    Args:
        num_classes: K.

    Raises:
        MissingPackageError: torchvision is not installed.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        models = require("torchvision.models", "build the light network", "pip install torchvision")
        blocks = list(models.mobilenet_v3_large(weights=None, dilated=True).features)
        self.low = nn.Sequential(*blocks[:LOW_FEATURES_END])
        self.high = nn.Sequential(*blocks[LOW_FEATURES_END:])
        self.project = nn.Sequential(
            nn.Conv2d(HIGH_CHANNELS, HEAD_CHANNELS, 1, bias=False),
            nn.BatchNorm2d(HEAD_CHANNELS),
            nn.ReLU(inplace=True),
        )
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(HIGH_CHANNELS, HEAD_CHANNELS, 1, bias=False),
            nn.Sigmoid(),
        )
        self.low_classifier = nn.Conv2d(LOW_CHANNELS, num_classes, 1)
        self.high_classifier = nn.Conv2d(HEAD_CHANNELS, num_classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """N x 3 x H x W to logits N x K x ~H/8 x ~W/8; there is no auxiliary head."""
        low = self.low(x)
        high = self.high(low)
        scaled = self.project(high) * self.scale(high)
        upsampled = functional.interpolate(scaled, size=low.shape[-2:], mode="bilinear", align_corners=True)
        return self.low_classifier(low) + self.high_classifier(upsampled), None


def build(backbone: str, num_classes: int, aspp_branches: int | None) -> nn.Module:  # noqa: ARG001  all are built alike
    """As `build_dannet` calls it: random weights, arguments checked."""
    return LRASPP(num_classes)
