"""How much a network computes for one frame, counted on shapes alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dannet_core.metadata import ModelMetadata
from dannet_core.networks.build import build_dannet, shapes_only


def count_flops(metadata: ModelMetadata, input_size: tuple[int, int]) -> int:
    """Floating point operations of one frame's convolutions, a multiplication and an addition counted as two.

    Everything else is less than a hundredth of them.

    Args:
        metadata: describes the network.
        input_size: (height, width) in pixels.

    Raises:
        SettingsError: such a network does not exist.
        MissingPackageError: ``lraspp`` without torchvision.
    """
    with shapes_only():
        net = build_dannet(
            metadata.arch,
            backbone=metadata.backbone,
            num_classes=metadata.num_classes,
            relighting_width=metadata.relighting_width,
            aspp_branches=metadata.aspp_branches or None,
        ).eval()
        image = torch.empty(1, 3, *input_size)
    flops = 0

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal flops
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        # Every weight of a convolution meets every output pixel, of a transposed one every input pixel.
        pixels = output if isinstance(module, nn.Conv2d) else inputs[0]
        flops += 2 * module.weight.numel() * pixels.shape[-2] * pixels.shape[-1]

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        net.at_stride(image)
    return flops
