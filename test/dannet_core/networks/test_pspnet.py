from __future__ import annotations

import torch

from dannet_core.networks.pspnet import PSPNet, PyramidPooling


def test_the_pyramid_sees_the_whole_image():
    """The 1x1 level carries what one corner holds to the opposite one, far beyond the 3x3 bottleneck's reach."""
    torch.manual_seed(6)
    pyramid = PyramidPooling(8, 2).eval()
    dark = torch.zeros(1, 8, 20, 20)
    lamp = dark.clone()
    lamp[..., 0, 0] = 100.0
    with torch.inference_mode():
        difference = (pyramid(lamp) - pyramid(dark)).abs()
    assert float(difference[..., -1, -1].max()) > 1e-3


def test_pyramid_channels_are_a_quarter_of_the_features_as_in_the_paper():
    net = PSPNet(18, num_classes=5)
    assert [projection.out_channels for projection in net.pyramid.projections] == [128] * 4
    assert net.classifier.in_channels == 128
