"""Batch norms in the convolutions before them, and weights that half precision cannot hold."""

import torch
from torch import nn

from dannet_core.networks.folding import beyond_half, fold_batch_norms


def test_folding_keeps_what_convolutions_compute():
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.ConvTranspose2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
    )
    for norm in (net[1], net[3]):
        nn.init.uniform_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight)
        nn.init.uniform_(norm.bias)
    x = torch.randn(1, 3, 9, 9)
    expected = net.eval()(x)
    fold_batch_norms(net)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert torch.allclose(net(x), expected, atol=1e-5)


def test_a_weight_beyond_half_precision_is_named():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1))
    assert beyond_half(net) is None
    with torch.no_grad():
        net[1].weight[0, 0] = 65519.0  # rounds to 65504
    assert beyond_half(net) is None
    with torch.no_grad():
        net[1].weight[0, 0] = -7e4
    assert beyond_half(net) == "1.weight"
