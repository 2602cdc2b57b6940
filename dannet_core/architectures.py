"""Which networks there are. No torch in here, so that `--help` can name them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

RESNETS: Final = ("resnet18", "resnet50", "resnet101")
BACKBONES: Final = MappingProxyType(
    {
        "pspnet": RESNETS,
        "deeplabv2": RESNETS,
        "refinenet": RESNETS,
        "efficientvit": ("b0", "b1"),
        "lraspp": ("mobilenet_v3_large",),
    }
)
"""The backbones of each network, the default last. A new one is `dannet_core/networks/NAME.py` and its line here."""
