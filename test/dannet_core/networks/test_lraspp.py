from __future__ import annotations

import torch

from dannet_core.networks.lraspp import LRASPP


def test_heads_read_stride_8_and_stride_16_features():
    net = LRASPP(19).eval()
    with torch.inference_mode():
        low = net.low(torch.zeros(1, 3, 128, 64))
        high = net.high(low)
    assert low.shape == (1, 40, 16, 8)
    assert high.shape == (1, 960, 8, 4)


def test_is_small():
    assert sum(p.numel() for p in LRASPP(19).parameters()) == 3_221_198
