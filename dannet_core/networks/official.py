"""Public checkpoints, of the released DANNet code and of EfficientViT's authors: read without unpickling, renamed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from dannet_core.architectures import BACKBONES
from dannet_core.classes import NUM_CLASSES
from dannet_core.errors import ModelFileError, SettingsError
from dannet_core.metadata import ModelMetadata
from dannet_core.networks.build import build_dannet, build_discriminator, shapes_only
from dannet_core.networks.dannet import DANNet
from dannet_core.networks.discriminator import Discriminator
from dannet_core.networks.relighting import Relighting
from dannet_core.networks.weights import check_state, one_line

OFFICIAL_ARCHS: Final = ("pspnet", "deeplabv2", "refinenet")
OFFICIAL_ASPP_BRANCHES: Final = 2
OFFICIAL_SIZE: Final = (540, 960)
"""Height and width at which the released networks are evaluated."""

_DEEP_STEM: Final = tuple(
    (rf"backbone\.stem\.{3 * i + j}\.", f"{kind}{i + 1}.") for i in range(3) for j, kind in ((0, "conv"), (1, "bn"))
)
_PLAIN_STEM: Final = _DEEP_STEM[:2]
_STAGES: Final = ((r"backbone\.layer", "layer"),)


def _refine_block(ours: int, released: int) -> tuple[tuple[str, str], ...]:
    block = rf"blocks\.{ours}\."
    units = tuple(
        (rf"{block}{part}\.{unit}\.{conv}\.", f"{name}.0.{unit + 1}_{suffix}.")
        for part, name, count in (("adapt", f"adapt_stage{released}_b", 2), ("refine", f"mflow_conv_g{released}_b", 3))
        for unit in range(count)
        for conv, suffix in (("conv1", "conv"), ("conv2", "conv_relu_varout_dimred"))
    )
    pools = tuple(
        (rf"{block}pool\.convs\.{i}\.", f"mflow_conv_g{released}_pool.0.{i + 1}_outvar_dimred.") for i in range(4)
    )
    return (
        (rf"{block}reduce\.", f"p_ims1d2_outl{released}_dimred."),
        (rf"{block}fuse\.", f"adapt_stage{released}_b2_joint_varout_dimred."),
        (rf"{block}hand_over\.", f"mflow_conv_g{released}_b3_joint_varout_dimred."),
        *units,
        *pools,
    )


def _conv_and_norm(ours: str, theirs: str, first: int = 0) -> tuple[tuple[str, str], ...]:
    """A convolution and its batch norm, at ``first`` and the next place of a sequence of ours."""
    return tuple((rf"{ours}\.{first + i}\.", f"{theirs}.{part}.") for i, part in enumerate(("conv", "norm")))


_EFFICIENTVIT: Final = (
    (r"backbone\.stem_in_conv\.", "backbone.input_stem.op_list.0."),
    (r"backbone\.stem_res0\.", "backbone.input_stem.op_list.1."),
    (r"backbone\.stages_(\d)\.blocks\.", r"backbone.stages.\1.op_list."),
    # Ours from fine to coarse, theirs from coarse to fine, where all but the finest are followed by their upsampling.
    *_conv_and_norm(r"projections\.0", "head.input_ops.2"),
    *_conv_and_norm(r"projections\.1", "head.input_ops.1.op_list.0"),
    *_conv_and_norm(r"projections\.2", "head.input_ops.0.op_list.0"),
    *(
        rule
        for i, part in enumerate(("inverted_conv", "depth_conv", "point_conv"))
        for rule in _conv_and_norm(r"blocks\.(\d)\.branch", rf"head.middle.op_list.\1.main.{part}", 3 * i)
    ),
    *_conv_and_norm(r"expansion", "head.output_ops.0.op_list.0"),
    (r"classifier\.", "head.output_ops.0.op_list.1.conv."),
)

RELEASED_NAMES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "pspnet": (
        *_DEEP_STEM,
        *_STAGES,
        (r"pyramid\.projections\.(\d)\.", r"head.0.stages.\1.1."),
        (r"pyramid\.bottleneck\.", "head.0.bottleneck."),
        (r"classifier\.", "head.1."),
        (r"auxiliary\.", "dsn."),
    ),
    "deeplabv2": (
        *_PLAIN_STEM,
        *_STAGES,
        (r"auxiliary\.branches\.", "layer5.conv2d_list."),
        (r"classifier\.branches\.", "layer6.conv2d_list."),
    ),
    "refinenet": (
        *_PLAIN_STEM,
        *_STAGES,
        *(rule for i in range(4) for rule in _refine_block(i, i + 1)),
        (r"classifier\.", "clf_conv."),
    ),
    "efficientvit": _EFFICIENTVIT,
    "relighting": (
        (r"encoder\.", "model."),
        *((rf"residual\.{i}\.branch\.", f"model.{10 + i}.conv_block.") for i in range(3)),
        *((rf"decoder\.{i}\.", f"model.{13 + i}.") for i in (0, 1, 3, 4, 7)),
    ),
    "discriminator": (),
}
"""For each released network: beginnings of our keys (patterns) and what the released checkpoints call them."""


def released_key(network: str, key: str) -> str:
    """The name a key of our state dict has in the released checkpoints.

    Args:
        network: a key of `RELEASED_NAMES`.
        key: of that network's own state dict, e.g. ``backbone.stem.0.weight``.
    """
    for pattern, name in RELEASED_NAMES[network]:
        match = re.match(pattern, key)
        if match:
            return match.expand(name) + key[match.end() :]
    return key


def import_official(
    arch: str,
    segmentation_path: str | Path,
    relighting_path: str | Path,
    discriminator_paths: tuple[str | Path, str | Path] | None = None,
) -> tuple[DANNet, ModelMetadata, tuple[Discriminator, ...]]:
    """Read the released checkpoints of one architecture (ResNet-101, 19 classes, plain state dicts in ``.pth`` files).

    Args:
        arch: one of `OFFICIAL_ARCHS`.
        segmentation_path: the segmentation network's checkpoint.
        relighting_path: the relighting network's checkpoint.
        discriminator_paths: the checkpoints of the day and the night discriminator, or None.

    Returns:
        The network on the CPU in eval mode, the metadata to save it with, and the day and night discriminators
        (empty when no paths are given).

    Raises:
        SettingsError: there are no released checkpoints for ``arch``.
        ModelFileError: a file is missing, damaged, holds anything but tensors, or does not fit the network; the first
            key that does not fit is named as the file names it, with both shapes.
    """
    if arch not in OFFICIAL_ARCHS:
        raise SettingsError(f"arch: got '{arch}', expected pspnet, deeplabv2 or refinenet: no other was released")
    branches = OFFICIAL_ASPP_BRANCHES if arch == "deeplabv2" else 0
    with shapes_only():
        net = build_dannet(arch, backbone="resnet101", aspp_branches=branches)
    _load(net.segmentation, arch, segmentation_path)
    _load(net.relighting, "relighting", relighting_path)
    discriminators = tuple(_discriminator(path) for path in discriminator_paths or ())
    metadata = ModelMetadata(
        arch=arch,
        backbone="resnet101",
        aspp_branches=branches,
        trained=True,
        source=f"released DANNet checkpoints {Path(segmentation_path).name} and {Path(relighting_path).name}",
    )
    return net.eval(), metadata, discriminators


def import_efficientvit(
    path: str | Path, backbone: str | None = None, relighting_width: int = 0
) -> tuple[DANNet, ModelMetadata]:
    """Read a Cityscapes checkpoint of EfficientViT's authors: one network that knows the day.

    Args:
        path: the checkpoint, with or without ``state_dict`` around it.
        backbone: ``b0`` or ``b1``; None: the largest.
        relighting_width: of a relighting network to put before it, untrained: it starts as the identity, so that no
            label changes. 0: none.

    Returns:
        The network on the CPU in eval mode, and the metadata to save it with.

    Raises:
        SettingsError: ``backbone`` or ``relighting_width`` is out of its range.
        ModelFileError: as in `import_official`.
        MissingPackageError: timm is not installed.
    """
    with shapes_only():
        net = build_dannet("efficientvit", backbone=backbone, relighting_width=relighting_width)
    _load(net.segmentation, "efficientvit", path)
    if relighting_width:
        net.relighting = Relighting(relighting_width)
        net.relighting.start_as_identity()
    metadata = ModelMetadata(
        arch="efficientvit",
        backbone=backbone or BACKBONES["efficientvit"][-1],
        relighting_width=relighting_width,
        align_corners=net.align_corners,
        trained=True,
        source=f"checkpoint of EfficientViT's authors, {Path(path).name}",
    )
    return net.eval(), metadata


def _discriminator(path: str | Path) -> Discriminator:
    with shapes_only():
        discriminator = build_discriminator(NUM_CLASSES)
    _load(discriminator, "discriminator", path)
    return discriminator


def _load(module: torch.nn.Module, network: str, path: str | Path) -> None:
    released = read_state(path)
    own = module.state_dict()
    check_state(released, {released_key(network, key): tensor for key, tensor in own.items()}, path)
    # Copies, because two entries of a checkpoint may share memory, which training would turn into tied weights.
    renamed = {key: released[released_key(network, key)].clone(memory_format=torch.contiguous_format) for key in own}
    module.load_state_dict(renamed, strict=True, assign=True)


def read_state(path: str | Path) -> dict[str, Tensor]:
    """A plain state dict from a pickle; torch's restricted reader refuses every one that names code.

    Args:
        path: with or without ``state_dict`` around it; a ``module.`` before every key is taken away.

    Raises:
        ModelFileError: the file is missing, damaged, or holds anything but tensors by name.
    """
    if not Path(path).is_file():
        raise ModelFileError(f"{path}: no such checkpoint file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelFileError(
            f"{path}: not a readable checkpoint of plain tensors ({one_line(error)}): it is damaged, truncated, or "
            "holds code, which is never run"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not state:
        raise ModelFileError(f"{path}: got a {type(state).__name__}, expected a state dict: tensors by name")
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise ModelFileError(f"{path}: entry {key!r} is a {type(tensor).__name__}, expected tensors by name")
    if all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): tensor for key, tensor in state.items()}
    return dict(state)
