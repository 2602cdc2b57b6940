from __future__ import annotations

import pytest
import torch

from dannet_core.cli.main import main
from dannet_core.networks import build_dannet, load_weights, public_checkpoints
from dannet_core.networks.official import released_key
from dannet_core.networks.weights import load_metadata

pytest.importorskip("timm", reason="the backbone is timm's: pip install timm")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(6)
    net = build_dannet("efficientvit", backbone="b0", relighting_width=0).segmentation
    state = {released_key("efficientvit", key): tensor for key, tensor in net.state_dict().items()}
    path = tmp_path_factory.mktemp("public") / "b0.pt"
    torch.save({"state_dict": state}, path)
    return path, net


def test_efficientvit_is_imported_from_a_file_or_the_hub(checkpoint, tmp_path, capsys, monkeypatch):
    path, net = checkpoint
    files = {"hf://a/b/b0.pt": path, str(path): path}
    monkeypatch.setattr(public_checkpoints, "local_file", files.__getitem__)
    for name, width in ((str(path), 0), ("hf://a/b/b0.pt", 8)):
        out = tmp_path / f"{width}.safetensors"
        arguments = ["--arch", "efficientvit", "--backbone", "b0", "--segmentation", name, "--out", str(out)]
        assert main(["import_weights", *arguments, "--relighting-width", str(width)]) == 0
        assert "efficientvit, 0." in capsys.readouterr().out
        assert load_metadata(out).relighting_width == width
        assert torch.equal(load_weights(out).segmentation.classifier.weight, net.classifier.weight)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--arch", "efficientvit", "--relighting", "r.pth"], "relighting: got 'r.pth', expected none"),
        (["--arch", "pspnet"], "--relighting is required: the relighting network's checkpoint of pspnet"),
        (["--arch", "pspnet", "--relighting", "r.pth", "--backbone", "b0"], "backbone, relighting_width: only for"),
        (["--arch", "efficientvit", "--backbone", "b9"], "backbone: got 'b9', expected one of b0, b1"),
    ],
)
def test_options_that_do_not_go_together_are_named(checkpoint, arguments, said, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    files = ["--segmentation", str(checkpoint[0]), "--out", str(out)]
    assert main(["import_weights", *arguments, *files]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not out.exists()
