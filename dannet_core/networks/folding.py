"""Batch norms folded into the convolutions before them: what a network computes in eval mode, with half the layers."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(net: nn.Module) -> None:
    """Fold every batch norm into the convolution that is registered before it, in place; ``net`` is in eval mode."""
    for parent in list(net.modules()):
        children = list(parent.named_children())
        for (conv_name, conv), (norm_name, norm) in itertools.pairwise(children):
            if not (isinstance(norm, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)):
                continue
            folded = fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d))
            setattr(parent, conv_name, folded)
            setattr(parent, norm_name, nn.Identity())


def beyond_half(net: nn.Module) -> str | None:
    """Name of the first weight that is no number in float16; None where all fit."""
    weights = net.named_parameters()
    return next((name for name, weight in weights if not torch.isfinite(weight.half()).all()), None)
