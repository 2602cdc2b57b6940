"""ImageNet starts: a backbone's weights from torchvision or timm, by the names these libraries give them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from dannet_core.errors import DannetError, ModelFileError, SettingsError, first_line, require
from dannet_core.networks.hub import local_file, quiet_retries
from dannet_core.networks.official import read_state
from dannet_core.networks.weights import SUFFIX, check_state, read_tensors

IMAGENET: Final = "imagenet"
_OURS: Final = "segmentation."
"""Begins the keys of a segmentation network's weights in a file of this project."""
_UNCOUNTED: Final = "num_batches_tracked"
"""Old files lack these, and nothing here reads them."""

_LOW_BLOCKS: Final = 7
_HIGH_BLOCKS: Final = 10
"""Blocks of MobileNetV3-Large below and above stride 8, the last convolution counted."""
_PLAIN_STEM: Final = ((r"backbone\.stem\.0\.", "conv1."), (r"backbone\.stem\.1\.", "bn1."), (r"backbone\.", ""))
_DEEP_STEM: Final = ((r"backbone\.stem\.7\.", "bn1."), (r"backbone\.stem\.", "conv1."), (r"backbone\.", ""))
_EFFICIENTVIT: Final = ((r"backbone\.stem_", "stem."), (r"backbone\.stages_(\d)\.", r"stages.\1."))
_MOBILENET: Final = (
    (r"low\.", "features."),
    *((rf"high\.{i}\.", f"features.{i + _LOW_BLOCKS}.") for i in range(_HIGH_BLOCKS)),
)


@dataclass(frozen=True)
class Library:
    """Where a backbone's ImageNet weights come from.

    Attributes:
        backbone: beginnings of our keys that belong to it; the rest of the segmentation network is its head.
        names: beginnings of our keys (patterns) and what the library calls them.
        unused: beginnings of the library's keys that only its ImageNet classifier has.
        download: what gives the library's state dict; None: there are no such weights.
        origin: what it is called there.
    """

    backbone: tuple[str, ...]
    names: tuple[tuple[str, str], ...]
    unused: tuple[str, ...]
    download: Callable[[], Mapping[str, Tensor]] | None
    origin: str


def load_backbone_weights(segmentation: nn.Module, arch: str, backbone: str, source: str) -> str:
    """Give a new segmentation network a trained backbone; its head stays as it is.

    Args:
        segmentation: the network, on the CPU.
        arch: its name.
        backbone: its backbone's.
        source: ``imagenet``, to download, or a file (`.safetensors`, `.pth`, ``hf://OWNER/REPO/PATH``) with the
            library's names or with those of a model of this project.

    Returns:
        One line: what was taken, what was left random and why.

    Raises:
        SettingsError: no ImageNet weights of such a backbone are known.
        ModelFileError: the file is missing, damaged or of another backbone: names the first key and its two shapes; or
            the download failed.
        MissingPackageError: torchvision, timm or huggingface_hub is not installed.
    """
    library = library_of(arch, backbone)
    own = {key: tensor for key, tensor in segmentation.state_dict().items() if key.startswith(library.backbone)}
    state = _downloaded(library, arch, backbone) if source == IMAGENET else _read(local_file(source), library, own)
    if all(key.startswith(("segmentation.", "relighting.")) for key in state):
        names = {key: _OURS + key for key in own}
        unused = tuple(key for key in state if not key.removeprefix(_OURS).startswith(library.backbone))
    else:
        names = {key: library_key(library, key) for key in own}
        unused = library.unused
    taken = _fitting(state, {names[key]: tensor for key, tensor in own.items()}, unused, source)
    segmentation.load_state_dict({key: taken[name] for key, name in names.items()}, strict=False)
    head = sorted({key.split(".")[0] for key, _ in segmentation.named_parameters() if key not in own})
    origin = f"{library.origin} (ImageNet)" if source == IMAGENET else source
    return (
        f"{arch}: {len(own)} tensors of the backbone {backbone} from {origin}; random: {', '.join(head)}, "
        "which no ImageNet network has"
    )


def _fitting(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], unused: tuple[str, ...], source: str
) -> dict[str, Tensor]:
    """What of ``state`` the backbone needs, in its types; everything else must be known to be of no use."""
    kept = {key: tensor for key, tensor in state.items() if not key.startswith(unused)}
    for key, tensor in expected.items():
        if key.endswith(_UNCOUNTED):
            kept.setdefault(key, tensor)
        elif key in kept:
            kept[key] = kept[key].to(tensor.dtype)
    check_state(kept, expected, source)
    return kept


def library_key(library: Library, key: str) -> str:
    """What the library calls a key of our segmentation network's backbone."""
    for pattern, name in library.names:
        match = re.match(pattern, key)
        if match:
            return match.expand(name) + key[match.end() :]
    raise AssertionError(f"no name for {key}")


def _read(path: Path, library: Library, own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if path.suffix == SUFFIX:
        return read_tensors(path)
    expected = {library_key(library, key): tensor for key, tensor in own.items()}
    return read_state(path, expected | {_OURS + key: tensor for key, tensor in own.items()})


def _downloaded(library: Library, arch: str, backbone: str) -> Mapping[str, Tensor]:
    if library.download is None:
        raise SettingsError(
            f"model.backbone_weights: got '{IMAGENET}', but there are none for {arch} with {backbone}: "
            "expected a file, none, or another backbone"
        )
    try:
        # Not to move the random numbers that the run goes on with.
        with torch.random.fork_rng(devices=[]), quiet_retries():
            return library.download()
    except DannetError:
        raise
    except Exception as error:
        raise ModelFileError(
            f"{library.origin}: cannot be downloaded ({first_line(error)}): give a file, or none for random weights"
        ) from error


def library_of(arch: str, backbone: str) -> Library:
    """Where the backbone of a network comes from.

    Raises:
        SettingsError: not known here.
    """
    if arch == "efficientvit":
        return Library(("backbone.",), _EFFICIENTVIT, ("head.",), *_timm(f"efficientvit_{backbone}.r224_in1k"))
    if arch == "lraspp":
        return Library(("low.", "high."), _MOBILENET, ("classifier.",), *_torchvision("MobileNet_V3_Large_Weights"))
    if arch == "pspnet":
        found = _timm(f"{backbone}s.gluon_in1k") if backbone != "resnet18" else (None, "")
        return Library(("backbone.",), _DEEP_STEM, ("fc.",), *found)
    if arch in ("deeplabv2", "refinenet"):
        weights = f"{backbone.replace('resnet', 'ResNet')}_Weights"
        return Library(("backbone.",), _PLAIN_STEM, ("fc.",), *_torchvision(weights))
    raise SettingsError(f"model.backbone_weights: the names of {arch}'s backbone are not known here: expected none")


def _torchvision(enum: str) -> tuple[Callable[[], Mapping[str, Tensor]], str]:
    def download() -> Mapping[str, Tensor]:
        models = require("torchvision.models", "download ImageNet weights", "pip install torchvision")
        weights: Mapping[str, Tensor] = getattr(models, enum).IMAGENET1K_V1.get_state_dict(check_hash=True)
        return weights

    return download, f"torchvision's {enum}.IMAGENET1K_V1"


def _timm(name: str) -> tuple[Callable[[], Mapping[str, Tensor]], str]:
    def download() -> Mapping[str, Tensor]:
        timm = require("timm", "download ImageNet weights", "pip install timm")
        weights: Mapping[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
        return weights

    return download, f"timm's {name}"
