"""Checkpoints that others published, by the architecture's name: DANNet's own and EfficientViT's."""

from __future__ import annotations

from typing import Final, NamedTuple

from dannet_core.errors import SettingsError
from dannet_core.metadata import ModelMetadata
from dannet_core.networks.dannet import DANNet
from dannet_core.networks.discriminator import Discriminator
from dannet_core.networks.hub import local_file
from dannet_core.networks.official import OFFICIAL_SIZE, import_efficientvit, import_official

Imported = tuple[DANNet, ModelMetadata, tuple[Discriminator, ...]]
_RELEASED_BACKBONE: Final = "resnet101"


class PublicFiles(NamedTuple):
    """Where the checkpoints are: paths, or ``hf://OWNER/REPO/PATH``.

    Attributes:
        segmentation: the segmentation network's.
        relighting: the relighting network's.
        discriminators: the day and the night discriminator's.
    """

    segmentation: str
    relighting: str | None = None
    discriminators: tuple[str, str] | None = None


def read_public(arch: str, files: PublicFiles, backbone: str | None = None, relighting_width: int = 0) -> Imported:
    """Read the checkpoints of one architecture; see `import_official` and `import_efficientvit`.

    Args:
        arch: ``pspnet``, ``deeplabv2``, ``refinenet`` or ``efficientvit``.
        files: where they are.
        backbone: ``efficientvit`` only.
        relighting_width: ``efficientvit`` only: of an untrained relighting network before it.

    Raises:
        SettingsError: something is given that does not belong to the architecture, or missing.
        ModelFileError, MissingPackageError: as in those.
    """
    if arch == "efficientvit":
        return _efficientvit(files, backbone, relighting_width)
    if files.relighting is None:
        raise SettingsError(f"--relighting is required: the relighting network's checkpoint of {arch}")
    if backbone not in (None, _RELEASED_BACKBONE) or relighting_width:
        raise SettingsError("backbone, relighting_width: only for efficientvit: the released networks have theirs")
    pair = files.discriminators
    networks = (local_file(files.segmentation), local_file(files.relighting))
    both = None if pair is None else (local_file(pair[0]), local_file(pair[1]))
    net, metadata, discriminators = import_official(arch, *networks, both)
    return net, metadata.replace(input_size=OFFICIAL_SIZE), discriminators


def _efficientvit(files: PublicFiles, backbone: str | None, relighting_width: int) -> Imported:
    for name in ("relighting", "discriminators"):
        if getattr(files, name) is not None:
            raise SettingsError(
                f"{name}: got '{getattr(files, name)}', expected none: EfficientViT's authors released none"
            )
    net, metadata = import_efficientvit(local_file(files.segmentation), backbone, relighting_width)
    return net, metadata, ()
