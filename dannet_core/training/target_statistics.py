"""Batch-norm statistics of the domain a model is deployed in, estimated after training (Li et al. 2016, AdaBN).

Not part of the paper. While it trains, every batch holds one domain and is normalised by its own statistics; the
running ones average the three domains and fit none of them exactly. A long run from a strong source model brings the
domains together; a short one does not, and then the night is what the deployed model should be normalised for.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from dannet_core.networks import DANNet


@torch.no_grad()
def estimate_statistics(net: DANNet, batches: Iterable[Tensor]) -> None:
    """Replace the running mean and variance of every batch norm by their averages over ``batches``.

    Weights stay as they are, and so does every module's mode.

    Args:
        net: on the batches' device.
        batches: N x 3 x H x W ImageNet-normalised images of what the model is for, all of them; at least one.
    """
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    modes = {module: module.training for module in net.modules()}
    momenta = [norm.momentum for norm in norms]
    net.eval()
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average: every batch counts the same
    try:
        for images in batches:
            net.at_stride(images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes.items():
            module.training = training
