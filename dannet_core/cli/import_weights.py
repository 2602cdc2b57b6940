"""`dannet import_weights`: the released DANNet checkpoints to `.safetensors`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dannet_core.errors import SettingsError, require
from dannet_core.settings import option

DESCRIPTION = (
    "Reads the released .pth files, or checkpoints of their networks in a training program's wrapper, without running "
    "code and writes one .safetensors, with --discriminators also "
    "OUT.discriminator_{day,night}.safetensors, to continue training."
)


@dataclass(frozen=True)
class Settings:
    """Options of `dannet import_weights`."""

    arch: str = option("architecture of the checkpoints", choices=("pspnet", "deeplabv2", "refinenet"))
    segmentation: Path = option("the segmentation network's .pth")
    relighting: Path = option("the relighting network's .pth")
    out: Path = option(".safetensors to write")
    discriminators: tuple[Path, Path] | None = option("the day and the night discriminator's .pth", None)


def run(settings: Settings) -> int:
    """Convert; all files are read and checked before the first is written."""
    require("torch", "read the released checkpoints", "pip install 'dannet_ros[train]'")
    from dannet_core.networks.official import OFFICIAL_SIZE, import_official
    from dannet_core.networks.weights import save_discriminator, save_weights

    if settings.out.suffix != ".safetensors":
        raise SettingsError(f"out: got '{settings.out}', expected a name that ends in .safetensors")
    net, metadata, discriminators = import_official(
        settings.arch, settings.segmentation, settings.relighting, settings.discriminators
    )
    written = [save_weights(net, settings.out, metadata.replace(input_size=OFFICIAL_SIZE))]
    for name, discriminator in zip(("day", "night"), discriminators, strict=False):
        path = settings.out.with_suffix(f".discriminator_{name}.safetensors")
        written.append(save_discriminator(discriminator, path))
    parameters = sum(p.numel() for p in net.parameters())
    print(f"{settings.arch}, {parameters / 1e6:.2f} M parameters: wrote {', '.join(map(str, written))}")
    return 0
