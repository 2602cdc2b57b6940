"""Weights on disk: `.safetensors` with the model's metadata in its header. Nothing here unpickles anything."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dannet_core.atomic_files import whole_file
from dannet_core.errors import ModelFileError, OutputError, SettingsError
from dannet_core.metadata import ModelMetadata
from dannet_core.networks.build import build_dannet, build_discriminator, shapes_only
from dannet_core.networks.dannet import DANNet
from dannet_core.networks.deeplabv2 import DeepLabV2
from dannet_core.networks.discriminator import Discriminator

SUFFIX = ".safetensors"
DISCRIMINATOR_KEY = "dannet_discriminator.num_classes"
DISCRIMINATOR_WIDTH_KEY = "dannet_discriminator.width"
PARTS = ("relighting", "segmentation")
_METADATA = "__metadata__"


def save_weights(net: DANNet, path: str | Path, metadata: ModelMetadata) -> Path:
    """Write a network; the file appears whole or not at all.

    Args:
        net: on any device.
        path: ends in ``.safetensors``.
        metadata: must describe ``net``: `load_weights` builds the network from it.

    Returns:
        The path written.

    Raises:
        ModelFileError: the metadata describes another network, a weight is NaN or infinite, or the suffix is another.
        OutputError: the file cannot be written.
    """
    branches = net.segmentation.aspp_branches if isinstance(net.segmentation, DeepLabV2) else 0
    if branches != metadata.aspp_branches:
        raise ModelFileError(
            f"{path}: metadata 'aspp_branches': got {metadata.aspp_branches}, the network has {branches}"
        )
    _check_corners(net, metadata, path)
    state = net.state_dict()
    check_state(state, _skeleton(metadata, path).state_dict(), path)
    return _write(state, Path(path), metadata.to_strings())


def load_weights(path: str | Path) -> DANNet:
    """Build the network a file describes and load its weights, on the CPU, in eval mode.

    Raises:
        ModelFileError: the file is missing, damaged, not a DANNet weight file, its keys or shapes do not fit the
            network it names (the first that does not is named), or a weight is NaN or infinite.
        MissingPackageError: ``efficientvit`` without timm, ``lraspp`` without torchvision.
    """
    header, state = _read(path)
    metadata = ModelMetadata.from_strings(header, str(path))
    net = _skeleton(metadata, path)
    _check_corners(net, metadata, path)
    check_state(state, net.state_dict(), path)
    net.load_state_dict(state, strict=True, assign=True)
    return net.eval()


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a `.safetensors` file, whoever wrote it.

    Raises:
        ModelFileError: the file is missing or damaged.
    """
    return _read(path)[1]


def load_metadata(path: str | Path) -> ModelMetadata:
    """The metadata of a weight file, without reading its weights.

    Raises:
        ModelFileError: as in `load_weights`.
    """
    with _opened(path) as file:
        return ModelMetadata.from_strings(file.metadata() or {}, str(path))


def load_weights_into(net: DANNet, path: str | Path, parts: Collection[str] = PARTS) -> None:
    """Load a file's weights into a network that exists, keeping its device and mode.

    Args:
        net: the network.
        path: a file written by `save_weights`.
        parts: ``relighting`` and ``segmentation``, or one of them: a source-only model has no relighting network to
            start the adaptation from.

    Raises:
        SettingsError: a part does not exist.
        ModelFileError: as in `load_weights`; nothing is loaded then.
    """
    if not parts or not set(parts) <= set(PARTS):
        raise SettingsError(f"parts: got {tuple(parts)}, expected one or both of {', '.join(PARTS)}")
    header, state = _read(path)
    ModelMetadata.from_strings(header, str(path))
    skipped = tuple(f"{part}." for part in PARTS if part not in parts)
    state = {key: tensor for key, tensor in state.items() if not key.startswith(skipped)}
    expected = {key: tensor for key, tensor in net.state_dict().items() if not key.startswith(skipped)}
    check_state(state, expected, path)
    # Not strict only because of the parts left out: the check above has compared every key.
    net.load_state_dict(state, strict=False)


def save_discriminator(discriminator: Discriminator, path: str | Path) -> Path:
    """Write a discriminator, in the same way as `save_weights` writes a network.

    Raises:
        ModelFileError, OutputError: as in `save_weights`.
    """
    state = discriminator.state_dict()
    check_state(state, state, path)
    first = discriminator.conv1
    sizes = {DISCRIMINATOR_KEY: first.in_channels, DISCRIMINATOR_WIDTH_KEY: first.out_channels}
    return _write(state, Path(path), {key: str(size) for key, size in sizes.items()})


def load_discriminator(path: str | Path) -> Discriminator:
    """Read a discriminator, on the CPU, in training mode.

    Raises:
        ModelFileError: as in `load_weights`.
    """
    header, state = _read(path)
    classes, width = header.get(DISCRIMINATOR_KEY, ""), header.get(DISCRIMINATOR_WIDTH_KEY, "")
    if not (classes.isdecimal() and width.isdecimal()):
        raise ModelFileError(f"{path}: not a discriminator of DANNet: no '{DISCRIMINATOR_KEY}' in its header")
    try:
        with shapes_only():
            discriminator = build_discriminator(int(classes), int(width))
    except SettingsError as error:
        raise ModelFileError(f"{path}: {error}") from error
    check_state(state, discriminator.state_dict(), path)
    discriminator.load_state_dict(state, strict=True, assign=True)
    return discriminator


def check_state(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str | Path) -> None:
    """Compare a state dict with the one a network has; names, shapes and types must match and every value be finite.

    Args:
        state: what was read.
        expected: the network's own, possibly on the meta device.
        path: named in the error.

    Raises:
        ModelFileError: names the first key that does not fit, what was got and what was expected.
    """
    for key, tensor in expected.items():
        if key not in state:
            raise ModelFileError(f"{path}: key '{key}': got nothing, expected shape {tuple(tensor.shape)}")
        got = state[key]
        if got.shape != tensor.shape:
            raise ModelFileError(
                f"{path}: key '{key}': got shape {tuple(got.shape)}, expected {tuple(tensor.shape)}: "
                "these weights belong to another network"
            )
        if got.dtype != tensor.dtype:
            raise ModelFileError(f"{path}: key '{key}': got {got.dtype}, expected {tensor.dtype}")
    for key, got in state.items():
        if key not in expected:
            raise ModelFileError(
                f"{path}: key '{key}': got shape {tuple(got.shape)}, expected no such key in this network"
            )
        if got.is_floating_point() and not torch.isfinite(got).all():
            raise ModelFileError(f"{path}: key '{key}' holds NaN or infinite values, expected finite weights")


def _check_corners(net: DANNet, metadata: ModelMetadata, path: str | Path) -> None:
    if net.align_corners != metadata.align_corners:
        raise ModelFileError(
            f"{path}: metadata 'align_corners': got {metadata.align_corners}, {metadata.arch} has {net.align_corners}"
        )


def _skeleton(metadata: ModelMetadata, path: str | Path) -> DANNet:
    """The network a record describes, on the meta device: shapes without memory, so that a hostile record is cheap."""
    try:
        with shapes_only():
            return build_dannet(
                metadata.arch,
                backbone=metadata.backbone,
                num_classes=metadata.num_classes,
                relighting_width=metadata.relighting_width,
                aspp_branches=metadata.aspp_branches,
            )
    except SettingsError as error:
        raise ModelFileError(f"{path}: metadata describes no network: {error}") from error


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    if not Path(path).is_file():
        raise ModelFileError(f"{path}: no such weight file, expected a {SUFFIX} file")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(
            f"{path}: not a readable {SUFFIX} file ({one_line(error)}): it is damaged, truncated or of another format"
        ) from error


def _read(path: str | Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with _opened(path) as file:
        # Copies, because the tensors of the file are windows into it, and it may be replaced or cut while they live.
        return file.metadata() or {}, {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (no mapping)


def _write(state: Mapping[str, Tensor], path: Path, header: dict[str, str]) -> Path:
    if path.suffix != SUFFIX:
        raise ModelFileError(f"{path}: got suffix '{path.suffix}', expected '{SUFFIX}'")
    with whole_file(path) as partial:
        try:
            save_file({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}, partial, header)
            _put_in_order(partial)
        except SafetensorError as error:
            raise OutputError(f"{path}: cannot write: {one_line(error)}") from error
    return path


def _put_in_order(file: Path) -> None:
    """Sort the metadata, which safetensors writes as it comes: the same weights are the same bytes then."""
    with file.open("r+b") as stream:
        size = int.from_bytes(stream.read(8), "little")
        written = stream.read(size)
        parts = json.loads(written)
        parts[_METADATA] = dict(sorted(parts[_METADATA].items()))
        # The metadata comes first, as safetensors puts it; what it pads with stays behind.
        names = [_METADATA, *(name for name in parts if name != _METADATA)]
        text = json.dumps({name: parts[name] for name in names}, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:
            stream.seek(8)
            stream.write(text.ljust(size))


def one_line(error: BaseException) -> str:
    """The first line of an exception's text, shortened, for messages that must stay on one line."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
