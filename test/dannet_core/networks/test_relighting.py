from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dannet_core.networks.relighting import Relighting


@pytest.fixture(scope="module")
def relighting() -> Relighting:
    torch.manual_seed(4)
    return Relighting(width=8).eval()


def test_adds_at_most_one_to_the_image(relighting):
    image = 2 * torch.randn(2, 3, 64, 72, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        light = relighting(image) - image
    assert 0.01 < float(light.abs().max()) <= 1.0 + 1e-6


@pytest.mark.parametrize("size", [(65, 72), (66, 67), (67, 70)])
def test_other_sizes_are_mirrored_at_the_bottom_and_right_and_cropped_back(relighting, size):
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(2))
    height, width = size
    mirrored = functional.pad(image, (0, -width % 4, 0, -height % 4), mode="reflect")
    with torch.inference_mode():
        got = relighting(image)
        expected = relighting(mirrored)[..., :height, :width]
    assert got.shape == image.shape
    assert torch.allclose(got, expected, atol=1e-6)


def test_width_scales_every_layer():
    relighting = Relighting(width=16)
    assert [relighting.encoder[i].out_channels for i in (1, 4, 7)] == [16, 32, 64]
    assert sum(p.numel() for p in relighting.parameters()) == 273_059


def test_started_as_identity_it_changes_nothing_and_still_learns():
    relighting = Relighting(width=8)
    relighting.start_as_identity()
    image = torch.randn(2, 3, 64, 72, generator=torch.Generator().manual_seed(1))
    relit = relighting(image)
    assert torch.equal(relit, image)
    (relit - image + 1).square().mean().backward()
    assert float(relighting.decoder[-2].weight.grad.abs().sum()) > 0
