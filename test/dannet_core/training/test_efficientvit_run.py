"""EfficientViT through pre-training and adaptation, a few steps on toy data."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm", reason="the backbone is timm's: pip install timm")

from dannet_core.errors import SettingsError  # noqa: E402 - after the skip
from dannet_core.networks.weights import load_metadata, load_weights  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402

VIT = {
    "model__arch": "efficientvit",
    "model__backbone": "b0",
    "optimiser__steps": 2,
    "watch__checkpoint_every": 0,
    "optimiser__lr": 0.01,
}


def test_a_backbone_is_pretrained_adapted_and_handed_on(tiny_run, tmp_path, capsys):
    source_only = run_training(tiny_run(run_dir=tmp_path / "first", **VIT), "pretrain")
    assert "tensors of the backbone" not in capsys.readouterr().out
    adapted = run_training(tiny_run(run_dir=tmp_path / "adapted", init=source_only, **VIT), "train")
    metadata = load_metadata(adapted)
    assert (metadata.arch, metadata.backbone, metadata.align_corners) == ("efficientvit", "b0", False)
    before, after = (load_weights(path).segmentation.state_dict() for path in (source_only, adapted))
    moved = [key for key in before if before[key].is_floating_point() and not torch.equal(before[key], after[key])]
    assert {key.split(".")[0] for key in moved} == {"backbone", "projections", "blocks", "expansion", "classifier"}

    again = tiny_run(run_dir=tmp_path / "again", model__backbone_weights=adapted, **VIT)
    run_training(again, "pretrain")
    assert f"efficientvit: 186 tensors of the backbone b0 from {adapted}; random: " in capsys.readouterr().out
    resumed = tiny_run(run_dir=tmp_path / "again", model__backbone_weights="none", resume=True, **VIT)
    run_training(resumed, "pretrain")


def test_two_starts_at_once_are_refused(tiny_run, tmp_path):
    config = tiny_run(init=tmp_path / "a.safetensors", model__backbone_weights="b.pth", **VIT)
    with pytest.raises(SettingsError, match=r"model.backbone_weights, init: got 'b.pth' and .*expected one of them"):
        run_training(config, "train")
