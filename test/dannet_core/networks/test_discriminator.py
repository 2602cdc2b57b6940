from __future__ import annotations

import torch

from dannet_core.networks import build_discriminator


def test_has_the_channels_and_strides_of_the_paper():
    net = build_discriminator()
    convs = (net.conv1, net.conv2, net.conv3, net.conv4, net.classifier)
    assert [conv.out_channels for conv in convs] == [64, 128, 256, 256, 1]
    assert [conv.stride[0] for conv in convs] == [2, 2, 1, 1, 1]
    assert net(torch.full((2, 19, 64, 96), 1 / 19)).shape == (2, 1, 13, 21)
