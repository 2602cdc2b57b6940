"""`dannet import_weights`: public checkpoints, DANNet's own and EfficientViT's, to `.safetensors`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dannet_core.errors import SettingsError, require
from dannet_core.settings import option

DESCRIPTION = (
    "Reads checkpoints (.pth, .pt), alone or in a training program's wrapper, without running code and writes one "
    ".safetensors, with --discriminators also OUT.discriminator_{day,night}.safetensors, to continue training. "
    "A FILE may be hf://OWNER/REPO/PATH."
)


@dataclass(frozen=True)
class Settings:
    """Options of `dannet import_weights`."""

    arch: str = option("architecture of the checkpoints", choices=("pspnet", "deeplabv2", "refinenet", "efficientvit"))
    segmentation: str = option("FILE: the segmentation network's checkpoint")
    out: Path = option(".safetensors to write")
    relighting: str | None = option("FILE: the relighting network's checkpoint; needed by all but efficientvit", None)
    discriminators: tuple[str, str] | None = option("FILE of the day and of the night discriminator", None)
    backbone: str | None = option("efficientvit: b0 or b1; unset: b1", None)
    relighting_width: int = option(
        "efficientvit: width of an untrained relighting network before it, which starts as the identity; 0 = none", 0
    )


def run(settings: Settings) -> int:
    """Convert; all files are read and checked before the first is written."""
    require("torch", "read checkpoints", "pip install 'dannet_ros[train]'")
    from dannet_core.networks.public_checkpoints import PublicFiles, read_public
    from dannet_core.networks.weights import save_discriminator, save_weights

    if settings.out.suffix != ".safetensors":
        raise SettingsError(f"out: got '{settings.out}', expected a name that ends in .safetensors")
    files = PublicFiles(settings.segmentation, settings.relighting, settings.discriminators)
    net, metadata, discriminators = read_public(settings.arch, files, settings.backbone, settings.relighting_width)
    written = [save_weights(net, settings.out, metadata)]
    for name, discriminator in zip(("day", "night"), discriminators, strict=False):
        path = settings.out.with_suffix(f".discriminator_{name}.safetensors")
        written.append(save_discriminator(discriminator, path))
    parameters = sum(p.numel() for p in net.parameters())
    print(f"{settings.arch}, {parameters / 1e6:.2f} M parameters: wrote {', '.join(map(str, written))}")
    return 0
