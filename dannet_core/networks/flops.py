"""How much a network computes for one frame, counted on shapes alone."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from dannet_core.metadata import ModelMetadata
from dannet_core.networks.build import build_dannet, shapes_only


def count_flops(metadata: ModelMetadata, input_size: tuple[int, int]) -> int:
    """Floating point operations of one frame's convolutions and matrix products, a multiplication and an addition
    counted as two. Everything else is less than a hundredth of them.

    Args:
        metadata: describes the network.
        input_size: (height, width) in pixels.

    Raises:
        SettingsError: such a network does not exist.
        MissingPackageError: ``efficientvit`` without timm, ``lraspp`` without torchvision.
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
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.at_stride(image)
    return int(counter.get_total_flops())
