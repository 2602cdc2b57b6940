from __future__ import annotations

import pytest
import torch

from dannet_core.networks.resnet import Bottleneck, ResNet


@pytest.mark.parametrize(("depth", "channels"), [(18, (64, 128, 256, 512)), (50, (256, 512, 1024, 2048))])
def test_stages_have_the_published_channels_and_strides(depth, channels):
    net = ResNet(depth).eval()
    with torch.inference_mode():
        stages = net(torch.zeros(1, 3, 64, 96))
    assert net.stage_channels == channels
    assert [tuple(stage.shape[1:]) for stage in stages] == [
        (channel, 64 // stride, 96 // stride) for channel, stride in zip(channels, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize(("depth", "parameters"), [(18, 11_176_512), (50, 23_508_032), (101, 42_500_160)])
def test_plain_networks_have_the_published_parameters(depth, parameters):
    """The counts of He et al.'s networks without their classifiers."""
    assert sum(p.numel() for p in ResNet(depth).parameters()) == parameters


def test_dilated_stages_keep_the_resolution_and_ceil_pooling_rounds_up():
    net = ResNet(18, deep_stem=True, dilations=(2, 4), ceil_pool=True).eval()
    with torch.inference_mode():
        stages = net(torch.zeros(1, 3, 64, 96))
    assert [tuple(stage.shape[-2:]) for stage in stages] == [(17, 25), (9, 13), (9, 13), (9, 13)]
    assert net.stem[6].out_channels == 128


@pytest.mark.parametrize(("stride_in_first", "strides"), [(True, (2, 1)), (False, (1, 2))])
def test_the_bottleneck_stride_sits_where_asked(stride_in_first, strides):
    block = Bottleneck(64, 16, stride=2, dilation=1, stride_in_first=stride_in_first)
    assert (block.conv1.stride[0], block.conv2.stride[0]) == strides


def test_frozen_affine_freezes_every_batch_norm_but_the_stem():
    net = ResNet(18, frozen_affine=True)
    frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    expected = {
        f"{name}.{kind}"
        for name, module in net.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d) and not name.startswith("stem")
        for kind in ("weight", "bias")
    }
    assert frozen == expected
    assert len(expected) == 38
