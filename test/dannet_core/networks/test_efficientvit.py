from __future__ import annotations

import sys

import pytest
import torch
from torch.nn import functional

from dannet_core.errors import MissingPackageError, ModelFileError
from dannet_core.metadata import ModelMetadata
from dannet_core.networks import build_dannet, load_weights, save_weights
from dannet_core.networks.build import shapes_only
from dannet_core.networks.efficientvit import enlarge
from dannet_core.networks.flops import count_flops

pytest.importorskip("timm", reason="the backbone is timm's: pip install timm")

METADATA = ModelMetadata("efficientvit", "b0", relighting_width=0, align_corners=False)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(4)
    return build_dannet("efficientvit", backbone="b0", relighting_width=0).eval()


@pytest.mark.parametrize(("backbone", "parameters", "gmac"), [("b0", 706_691, 4.4), ("b1", 4_803_443, 25)])
def test_is_as_large_as_its_authors_say(backbone, parameters, gmac):
    with shapes_only():
        net = build_dannet("efficientvit", backbone=backbone, relighting_width=0)
    assert sum(p.numel() for p in net.parameters()) == parameters
    flops = count_flops(METADATA.replace(backbone=backbone), (1024, 2048))
    assert flops / 2e9 == pytest.approx(gmac, rel=0.01)


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (72, 100), (96, 160)])
def test_any_size_gives_logits_at_stride_8(net, size):
    with torch.inference_mode():
        out = net(torch.randn(2, 3, *size))
    assert out.stride_logits.shape == (2, 19, -(-size[0] // 8), -(-size[1] // 8))
    expected = functional.interpolate(out.stride_logits, size, mode="bilinear", align_corners=False)
    assert torch.equal(out.logits, expected)
    assert out.aux is None


def test_stages_are_enlarged_by_their_factor_whatever_the_picture_size():
    coarse = torch.arange(6.0)[None, None, None].expand(1, 1, 6, 6)
    finer = enlarge(coarse, 2)
    # Between 1 and 2 lie two values, at a quarter and three, as cubic convolution with a = -0.75 gives them.
    assert finer[0, 0, 4, 3:7].tolist() == pytest.approx([1.296875, 1.703125, 2.296875, 2.703125])
    assert torch.equal(enlarge(coarse[..., :5, :5], 2)[..., :6, :6], finer[..., :6, :6])


@pytest.mark.parametrize("value", [-2.1, 2.6])
def test_a_blind_attention_gives_zero_and_not_nan(net, value):
    """Where no key or query is above 0 the attention divides 0 by 0, but for what is added below."""
    blind = build_dannet("efficientvit", backbone="b0", relighting_width=0).eval()
    blind.load_state_dict(net.state_dict())
    attentions = [module for module in blind.modules() if type(module).__name__ == "LiteMLA"]
    for attention in attentions:
        attention.qkv.conv.weight.data.zero_()
    with torch.inference_mode():
        assert len(attentions) == 4
        assert torch.isfinite(blind.at_stride(torch.full((1, 3, 64, 96), value))[1]).all()


def test_without_timm_one_line_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPackageError, match="timm is needed to build EfficientViT but cannot be imported: pip"):
        build_dannet("efficientvit", backbone="b0")


def test_files_say_how_the_logits_are_upsampled(net, tmp_path):
    path = save_weights(net, tmp_path / "net.safetensors", METADATA)
    image = torch.randn(1, 3, 64, 96)
    loaded = load_weights(path)
    with torch.inference_mode():
        assert torch.equal(loaded(image).logits, net(image).logits)
    with pytest.raises(ModelFileError, match="metadata 'align_corners': got True, efficientvit has False"):
        save_weights(net, tmp_path / "wrong.safetensors", METADATA.replace(align_corners=True))
    assert not (tmp_path / "wrong.safetensors").exists()
