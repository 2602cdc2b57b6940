from __future__ import annotations

import torch

from dannet_core.networks.refinenet import ChainedResidualPooling, RefineBlock, ResidualConvUnit


def _silence(module: torch.nn.Module) -> None:
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)


def test_residual_units_leave_their_input_unchanged_when_their_convolutions_are_silent():
    x = torch.randn(1, 4, 9, 9)
    for module in (ResidualConvUnit(4), ChainedResidualPooling(4)):
        before = x.clone()
        assert not torch.equal(module(x), x)
        _silence(module)
        assert torch.equal(module(x), x)
        assert torch.equal(x, before)


def test_a_block_fuses_the_coarser_block_at_its_own_resolution():
    torch.manual_seed(8)
    block = RefineBlock(6, 4, None, fuses=True)
    _silence(block)
    coarser = torch.rand(1, 4, 3, 5)
    expected = torch.nn.functional.interpolate(coarser, size=(5, 9), mode="bilinear", align_corners=True)
    assert torch.allclose(block(torch.rand(1, 6, 5, 9), coarser), expected)
