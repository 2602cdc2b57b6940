from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dannet_core.errors import ModelFileError, OutputError, SettingsError
from dannet_core.metadata import ModelMetadata
from dannet_core.networks import DANNet, build_dannet, build_discriminator, load_weights, save_weights
from dannet_core.networks.weights import load_discriminator, load_metadata, load_weights_into, save_discriminator

METADATA = ModelMetadata("deeplabv2", "resnet18", 8, aspp_branches=2, source="random", metrics={"miou": 0.25})
KEY = "segmentation.backbone.stem.0.weight"


@pytest.fixture(scope="module")
def net() -> DANNet:
    torch.manual_seed(9)
    return build_dannet("deeplabv2", backbone="resnet18", relighting_width=8, aspp_branches=2)


@pytest.fixture(scope="module")
def saved(net, tmp_path_factory) -> Path:
    return save_weights(net, tmp_path_factory.mktemp("weights") / "net.safetensors", METADATA)


def test_a_network_comes_back_with_its_weights_metadata_and_frozen_parts(net, saved):
    loaded = load_weights(saved)
    assert load_metadata(saved) == METADATA
    assert not loaded.training
    for (key, tensor), (other_key, other) in zip(net.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert key == other_key
        assert torch.equal(tensor, other)
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in net.parameters()]
    assert loaded.segmentation.aspp_branches == 2
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_the_same_weights_are_the_same_bytes(net, saved, tmp_path):
    again = save_weights(net, tmp_path / "again.safetensors", METADATA)
    assert again.read_bytes() == saved.read_bytes()


def test_loaded_weights_do_not_depend_on_the_file(saved, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(saved.read_bytes())
    loaded = load_weights(copy)
    before = loaded.state_dict()[KEY].clone()
    copy.write_bytes(b"")
    assert torch.equal(loaded.state_dict()[KEY], before)


def _rewrite(saved: Path, target: Path, change: Callable[[dict[str, torch.Tensor], dict[str, str]], None]) -> Path:
    with safe_open(saved, framework="pt") as file:
        header, state = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    change(state, header)
    save_file(state, target, header)
    return target


def _set(key: str, value: torch.Tensor) -> Callable[[dict[str, torch.Tensor], dict[str, str]], None]:
    return lambda state, _: state.update({key: value})


def _header(**values: object) -> Callable[[dict[str, torch.Tensor], dict[str, str]], None]:
    return lambda _, header: header.update({f"dannet.{key}": json.dumps(value) for key, value in values.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state, _: state.pop(KEY), rf"key '{KEY}': got nothing, expected shape \(64, 3, 7, 7\)"),
        (_set("more", torch.zeros(2)), r"key 'more': got shape \(2,\), expected no such key"),
        (_set(KEY, torch.zeros(1)), rf"key '{KEY}': got shape \(1,\), expected \(64, 3, 7, 7\)"),
        (_set(KEY, torch.zeros(64, 3, 7, 7).half()), "got torch.float16, expected torch.float32"),
        (_set(KEY, torch.full((64, 3, 7, 7), torch.inf)), "holds NaN or infinite values"),
        (lambda _, header: header.clear(), "not a DANNet model"),
        (_header(arch="pspnet"), "describes no network"),
        (_header(arch="pspnet", aspp_branches=0), "key 'segmentation.backbone.stem.0.weight': got shape"),
        (_header(arch="unet"), "describes no network: arch: got 'unet'"),
        (_header(relighting_width=10**12), "describes no network: relighting_width"),
        (_header(backbone="resnet101"), "key 'segmentation.backbone.layer1.0.conv1.weight': got shape"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(saved, tmp_path, change, message):
    path = _rewrite(saved, tmp_path / "changed.safetensors", change)
    with pytest.raises(ModelFileError, match=message) as caught:
        load_weights(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


class _Hostile:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize("damage", ["pickle", "torch", "folder", "missing", 0, 7, 1000, 100_000, -1])
def test_a_damaged_or_hostile_file_is_refused_in_one_line(saved, tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "damaged.safetensors"
    if damage == "pickle":
        path.write_bytes(pickle.dumps(_Hostile()))
    elif damage == "torch":
        torch.save({KEY: _Hostile()}, path)
    elif damage == "folder":
        path.mkdir()
    elif isinstance(damage, int):
        path.write_bytes(saved.read_bytes()[:damage])
    for load in (load_weights, load_metadata, load_discriminator):
        with pytest.raises(ModelFileError) as caught:
            load(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
    assert not Path("executed").exists()


def test_only_a_network_that_can_be_loaded_again_is_saved(net, tmp_path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(ModelFileError, match="'aspp_branches': got 4, the network has 2"):
        save_weights(net, path, METADATA.replace(aspp_branches=4))
    with pytest.raises(ModelFileError, match=r"key 'relighting.encoder.1.weight': got shape"):
        save_weights(net, path, METADATA.replace(relighting_width=16))
    with pytest.raises(ModelFileError, match=r"got suffix '\.pth'"):
        save_weights(net, tmp_path / "net.pth", METADATA)
    with pytest.raises(OutputError, match="cannot write"):
        save_weights(net, tmp_path / "absent" / "net.safetensors", METADATA)
    diverged = build_dannet("lraspp", relighting_width=8)
    diverged.segmentation.low_classifier.bias.data[3] = torch.nan
    with pytest.raises(ModelFileError, match=r"key 'segmentation.low_classifier.bias' holds NaN"):
        save_weights(diverged, path, ModelMetadata("lraspp", "mobilenet_v3_large", 8))
    assert list(tmp_path.iterdir()) == []


def test_a_source_only_model_starts_the_segmentation_of_a_full_one(tmp_path):
    torch.manual_seed(10)
    source = build_dannet("lraspp", relighting_width=0)
    metadata = ModelMetadata("lraspp", "mobilenet_v3_large", 0)
    path = save_weights(source, tmp_path / "source.safetensors", metadata)
    full = build_dannet("lraspp", relighting_width=8)
    relighting = full.relighting.encoder[1].weight.clone()
    with pytest.raises(ModelFileError, match=r"key 'relighting.encoder.1.weight': got nothing"):
        load_weights_into(full, path)
    with pytest.raises(SettingsError, match=r"parts: got \('head',\)"):
        load_weights_into(full, path, parts=("head",))
    load_weights_into(full, path, parts=("segmentation",))
    assert torch.equal(full.segmentation.low_classifier.weight, source.segmentation.low_classifier.weight)
    assert torch.equal(full.relighting.encoder[1].weight, relighting)
    assert full.training


def test_a_discriminator_comes_back_and_is_not_mistaken_for_a_network(tmp_path, saved):
    discriminator = build_discriminator(7, width=8)
    path = save_discriminator(discriminator, tmp_path / "d.safetensors")
    loaded = load_discriminator(path)
    assert torch.equal(loaded.conv4.weight, discriminator.conv4.weight)
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    with pytest.raises(ModelFileError, match="not a DANNet model"):
        load_weights(path)
    with pytest.raises(ModelFileError, match="not a discriminator"):
        load_discriminator(saved)
