"""Reading the checkpoints of EfficientViT's authors; equality with their code is in `test_official.py`."""

from __future__ import annotations

import pytest
import torch

from dannet_core.errors import ModelFileError, SettingsError
from dannet_core.networks import build_dannet
from dannet_core.networks.build import shapes_only
from dannet_core.networks.official import import_efficientvit, released_key

pytest.importorskip("timm", reason="the backbone is timm's: pip install timm")

BACKBONES = ("b0", "b1")


@pytest.fixture(scope="module")
def skeletons():
    with shapes_only():
        return {b: build_dannet("efficientvit", backbone=b, relighting_width=0).segmentation for b in BACKBONES}


@pytest.fixture
def state(skeletons, released_state):
    """Gives the state dict of an authors' checkpoint, with seeded weights."""
    return lambda backbone: released_state("efficientvit", skeletons[backbone])


def test_a_relighting_network_on_top_changes_no_label(tmp_path, state):
    torch.save(state("b0"), tmp_path / "net.pt")
    without, _ = import_efficientvit(tmp_path / "net.pt", "b0")
    with_relighting, metadata = import_efficientvit(tmp_path / "net.pt", "b0", relighting_width=4)
    assert metadata.relighting_width == 4
    image = torch.randn(1, 3, 66, 100)
    with torch.inference_mode():
        plain, relit = without(image), with_relighting(image)
    assert torch.equal(relit.relit, image)
    assert torch.equal(relit.logits, plain.logits)
    assert any(parameter.any() for parameter in with_relighting.relighting.parameters()), "there is something to train"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head.output_ops.0.op_list.1.conv.bias": None}, r"conv.bias': got nothing, expected shape \(19,\)"),
        ({"head.extra": torch.zeros(2)}, r"key 'head.extra': got shape \(2,\), expected no such key"),
        (
            {"backbone.stages.2.op_list.1.context_module.main.qkv.conv.weight": torch.zeros(96, 64, 1, 1)},
            r"context_module.main.qkv.conv.weight': got shape \(96, 64, 1, 1\), expected \(192, 64, 1, 1\)",
        ),
        ({"head.middle.op_list.0.main.depth_conv.norm.bias": torch.full((128,), torch.inf)}, "holds NaN or infinite"),
    ],
)
def test_the_first_key_that_does_not_fit_is_named(changes, message, tmp_path, state):
    changed = {key: value for key, value in {**state("b0"), **changes}.items() if value is not None}
    torch.save({"state_dict": changed}, tmp_path / "net.pt")
    with pytest.raises(ModelFileError, match=message) as caught:
        import_efficientvit(tmp_path / "net.pt", "b0")
    assert "\n" not in str(caught.value)


def test_the_checkpoint_of_another_size_and_an_unknown_backbone_are_refused(tmp_path, state):
    torch.save({"state_dict": state("b0")}, tmp_path / "net.pt")
    with pytest.raises(
        ModelFileError, match=r"got shape \(8, 3, 3, 3\), expected \(16, 3, 3, 3\): these weights belong"
    ):
        import_efficientvit(tmp_path / "net.pt", "b1")
    with pytest.raises(SettingsError, match="relighting_width: got 3, expected 0, or 4 to 256"):
        import_efficientvit(tmp_path / "net.pt", "b0", relighting_width=3)
    with pytest.raises(SettingsError, match="backbone: got 'b7', expected one of b0, b1 for efficientvit"):
        import_efficientvit(tmp_path / "net.pt", "b7")


def test_every_key_of_ours_has_a_name_of_its_own_in_their_checkpoints(skeletons):
    for skeleton in skeletons.values():
        names = [released_key("efficientvit", key) for key in skeleton.state_dict()]
        assert len(set(names)) == len(names)
