"""Residual networks 18, 50 and 101 (He et al., CVPR 2016), with the options the segmentation networks differ in."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

DEPTHS: Final[dict[str, int]] = {"resnet18": 18, "resnet50": 50, "resnet101": 101}
BLOCKS_PER_STAGE: Final[dict[int, tuple[int, int, int, int]]] = {
    18: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
}
STAGE_PLANES: Final = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: N x C x H x W to N x planes x H/stride x W/stride."""

    expansion: Final = 1

    def __init__(self, channels: int, planes: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels, planes, stride, dilation)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3x3(planes, planes, 1, dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, add the shortcut, activate."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        activated: Tensor = self.relu(out + shortcut)
        return activated


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut: N x C x H x W to N x 4 planes x H/stride x W/stride.

    Args:
        channels: C.
        planes: channels of the 3x3 convolution.
        stride: 1 or 2.
        dilation: of the 3x3 convolution.
        stride_in_first: the first 1x1 convolution carries the stride (DeepLab-v2) instead of the 3x3 one.
    """

    expansion: Final = 4

    def __init__(self, channels: int, planes: int, stride: int, dilation: int, stride_in_first: bool) -> None:
        super().__init__()
        first_stride, middle_stride = (stride, 1) if stride_in_first else (1, stride)
        self.conv1 = nn.Conv2d(channels, planes, 1, stride=first_stride, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3x3(planes, planes, middle_stride, dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, planes * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, add the shortcut, activate."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        activated: Tensor = self.relu(out + shortcut)
        return activated


class ResNet(nn.Module):
    """The four stages of a residual network, without its classifier.

    Args:
        depth: 18, 50 or 101.
        deep_stem: 3x3-3x3-3x3 stem of 64, 64, 128 channels instead of one 7x7 of 64.
        stride_in_first: where a bottleneck's stride sits, see `Bottleneck`; without effect at depth 18.
        dilations: of stages 3 and 4; a dilated stage keeps the resolution it is given.
        ceil_pool: the stem's max pool rounds sizes up instead of down.
        frozen_affine: scale and shift of every batch norm outside the stem are not trained.
    """

    def __init__(
        self,
        depth: int,
        *,
        deep_stem: bool = False,
        stride_in_first: bool = False,
        dilations: tuple[int, int] = (1, 1),
        ceil_pool: bool = False,
        frozen_affine: bool = False,
    ) -> None:
        super().__init__()
        expansion = BasicBlock.expansion if depth < 50 else Bottleneck.expansion
        self.stage_channels = tuple(planes * expansion for planes in STAGE_PLANES)
        self.stem = _deep_stem() if deep_stem else _plain_stem()
        self.pool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=ceil_pool)
        channels = 128 if deep_stem else 64
        for stage, (planes, blocks) in enumerate(zip(STAGE_PLANES, BLOCKS_PER_STAGE[depth], strict=True)):
            dilation = (1, 1, *dilations)[stage]
            stride = 1 if stage == 0 or dilation > 1 else 2
            layers: list[nn.Module] = []
            for index in range(blocks):
                block_stride = stride if index == 0 else 1
                if depth < 50:
                    layers.append(BasicBlock(channels, planes, block_stride, dilation))
                else:
                    layers.append(Bottleneck(channels, planes, block_stride, dilation, stride_in_first))
                channels = planes * expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self._initialise(frozen_affine)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """N x 3 x H x W to the outputs of the four stages, strides 4 and up, channels ``stage_channels``."""
        x = self.pool(self.stem(x))
        stage1 = self.get_submodule("layer1")(x)
        stage2 = self.get_submodule("layer2")(stage1)
        stage3 = self.get_submodule("layer3")(stage2)
        stage4 = self.get_submodule("layer4")(stage3)
        return stage1, stage2, stage3, stage4

    def _initialise(self, frozen_affine: bool) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, nn.BatchNorm2d) and frozen_affine and not name.startswith("stem"):
                module.weight.requires_grad_(False)
                module.bias.requires_grad_(False)


def _conv3x3(channels: int, planes: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(channels, planes, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)


def _shortcut(channels: int, planes: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and channels == planes:
        return None
    return nn.Sequential(nn.Conv2d(channels, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes))


def _plain_stem() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
    )


def _deep_stem() -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels, planes, stride in ((3, 64, 2), (64, 64, 1), (64, 128, 1)):
        layers += [_conv3x3(channels, planes, stride, 1), nn.BatchNorm2d(planes), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
