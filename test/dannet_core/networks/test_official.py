"""Equality with the released code, by figures recorded from it, and the reading of its checkpoints."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from dannet_core.errors import ModelFileError, SettingsError
from dannet_core.networks import build_dannet, build_discriminator
from dannet_core.networks.build import shapes_only
from dannet_core.networks.official import import_efficientvit, import_official, released_key

TOLERANCE = 1e-4
"""Of a recorded output's range."""
PARAMETERS_M = {"pspnet": 70.43, "deeplabv2": 44.60, "refinenet": 118.05}
KEYS = {"pspnet": 657, "deeplabv2": 640, "refinenet": 712}


@pytest.fixture(scope="module")
def skeletons():
    with shapes_only():
        return {arch: build_dannet(arch, aspp_branches=2 if arch == "deeplabv2" else None) for arch in KEYS}


@pytest.fixture(scope="module")
def relighting_file(tmp_path_factory, skeletons, released_state) -> Path:
    path = tmp_path_factory.mktemp("released") / "light.pth"
    torch.save(released_state("relighting", skeletons["pspnet"].relighting), path)
    return path


@pytest.fixture
def blank_file(tmp_path, skeletons):
    """A checkpoint of the right names and shapes whose tensors take no space on disk."""

    def write(arch: str, **changes) -> Path:
        state = {}
        for key, tensor in skeletons[arch].segmentation.state_dict().items():
            state[released_key(arch, key)] = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
        for key, value in changes.items():
            if value is None:
                del state[key]
            else:
                state[key] = value
        path = tmp_path / f"{arch}.pth"
        torch.save(state, path)
        return path

    return write


def assert_recorded(tensor: torch.Tensor, recorded: dict) -> None:
    values = tensor.detach().numpy().astype(np.float64)
    allowed = TOLERANCE * (recorded["high"] - recorded["low"])
    assert list(values.shape) == recorded["shape"]
    measured = [values.mean(), values.std(), values.min(), values.max()]
    assert measured == pytest.approx([recorded[name] for name in ("mean", "std", "low", "high")], abs=allowed)
    samples = values.ravel()[np.linspace(0, values.size - 1, 6).astype(int)]
    assert samples.tolist() == pytest.approx(recorded["samples"], abs=allowed)


def keys_hash(network: str, module: torch.nn.Module) -> str:
    names = {released_key(network, key): tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    return hashlib.sha256("\n".join(f"{key} {shape}" for key, shape in sorted(names.items())).encode()).hexdigest()[:16]


@pytest.mark.parametrize("arch", list(KEYS))
def test_has_the_released_parameters_keys_and_shapes(arch, skeletons, released_figures):
    segmentation = skeletons[arch].segmentation
    assert sum(p.numel() for p in segmentation.parameters()) / 1e6 == pytest.approx(PARAMETERS_M[arch], abs=0.005)
    assert len(segmentation.state_dict()) == KEYS[arch]
    assert keys_hash(arch, segmentation) == released_figures[arch]["keys"]


def test_relighting_and_discriminator_have_the_released_keys_and_shapes(skeletons, released_figures):
    relighting = skeletons["pspnet"].relighting
    assert sum(p.numel() for p in relighting.parameters()) / 1e6 == pytest.approx(4.30, abs=0.005)
    assert keys_hash("relighting", relighting) == released_figures["relighting"]["keys"]
    assert keys_hash("discriminator", build_discriminator()) == released_figures["discriminator"]["keys"]


@pytest.mark.slow
@pytest.mark.parametrize("arch", list(KEYS))
def test_imported_weights_compute_what_the_released_code_computes(
    arch, tmp_path, skeletons, released_state, relighting_file, released_figures
):
    path = tmp_path / f"{arch}.pth"
    torch.save(released_state(arch, skeletons[arch].segmentation), path)
    net, metadata, discriminators = import_official(arch, path, relighting_file)
    path.unlink()
    assert (metadata.arch, metadata.backbone, metadata.trained, discriminators) == (arch, "resnet101", True, ())
    image = torch.from_numpy(np.random.default_rng(2021).standard_normal((1, 3, 128, 160)).astype(np.float32))
    # Training mode of the outermost module alone: the auxiliary head runs, batch norms and dropout stay as in eval.
    net.segmentation.training = True
    with torch.inference_mode():
        relit, logits, aux = net.at_stride(image)
    recorded = released_figures[arch]
    assert_recorded(relit, released_figures["relighting"]["output"])
    assert_recorded(logits, recorded["output"])
    assert (aux is None) == (recorded["aux"] is None)
    if aux is not None:
        assert_recorded(aux, recorded["aux"])
    histogram = np.bincount(logits[0].argmax(0).numpy().ravel(), minlength=19)
    assert np.abs(histogram - recorded["histogram"]).sum() <= 2


@pytest.mark.parametrize(("backbone", "keys"), [("b0", 230), ("b1", 341)])
def test_efficientvit_computes_what_its_authors_code_computes(
    backbone, keys, tmp_path, released_state, released_figures
):
    pytest.importorskip("timm", reason="the backbone is timm's: pip install timm")
    with shapes_only():
        skeleton = build_dannet("efficientvit", backbone=backbone, relighting_width=0).segmentation
    recorded = released_figures[f"efficientvit_{backbone}"]
    assert len(skeleton.state_dict()) == keys
    assert keys_hash("efficientvit", skeleton) == recorded["keys"]
    torch.save({"state_dict": released_state("efficientvit", skeleton)}, tmp_path / "net.pt")
    net, metadata = import_efficientvit(tmp_path / "net.pt", backbone)
    assert (metadata.arch, metadata.backbone, metadata.align_corners) == ("efficientvit", backbone, False)
    assert (metadata.trained, metadata.relighting_width, net.training) == (True, 0, False)
    assert "net.pt" in metadata.source
    image = torch.from_numpy(np.random.default_rng(2021).standard_normal((1, 3, 128, 160)).astype(np.float32))
    with torch.inference_mode():
        _, logits, _ = net.at_stride(image)
    assert_recorded(logits, recorded["output"])
    histogram = np.bincount(logits[0].argmax(0).numpy().ravel(), minlength=19)
    assert np.abs(histogram - recorded["histogram"]).sum() <= 2


def test_an_imported_discriminator_computes_what_the_released_code_computes(
    tmp_path, blank_file, relighting_file, released_state, released_figures
):
    path = tmp_path / "d.pth"
    torch.save(released_state("discriminator", build_discriminator()), path)
    _, _, (day, night) = import_official("deeplabv2", blank_file("deeplabv2"), relighting_file, (path, path))
    logits = torch.from_numpy(np.random.default_rng(5).standard_normal((1, 19, 96, 128)).astype(np.float32))
    assert_recorded(day(torch.softmax(logits, 1)), released_figures["discriminator"]["output"])
    assert torch.equal(day.conv1.weight, night.conv1.weight)
    assert day.conv1.weight.data_ptr() != night.conv1.weight.data_ptr()


def test_a_module_prefix_is_removed(tmp_path, blank_file, relighting_file):
    state = torch.load(relighting_file, weights_only=True)
    wrapped = tmp_path / "wrapped.pth"
    torch.save({f"module.{key}": tensor for key, tensor in state.items()}, wrapped)
    net, _, _ = import_official("deeplabv2", blank_file("deeplabv2"), wrapped)
    assert torch.equal(net.relighting.encoder[1].weight, state["model.1.weight"])


@pytest.fixture
def imported(tmp_path, blank_file):
    """Imports a relighting checkpoint with this content beside blank weights; gives the network."""
    blank = blank_file("deeplabv2")

    def load(content):
        torch.save(content, tmp_path / "relighting.pth")
        return import_official("deeplabv2", blank, tmp_path / "relighting.pth")[0]

    return load


def prefixed(state, prefix):
    return {prefix + key: tensor for key, tensor in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {
            "state_dict": state,
            "epoch": 3,
            "best_miou": 0.5,
            "optimizer": {"state": {0: {}}, "lr": [1e-3]},
        },
        lambda state: {"model": state},
        lambda state: {"model_state": prefixed(state, "module."), "iteration": 7},
        lambda state: {"net": {"state_dict": prefixed(state, "module.model.")}},
        lambda state: prefixed(state, "_orig_mod.module."),
        lambda state: {"state_dict": prefixed(state, "student.light.")},
        lambda state: prefixed(state, "model."),  # the released keys begin with model. themselves
        lambda state: {"segmentation": {"conv1.weight": torch.zeros(1)}, "relighting": state},
    ],
)
def test_the_wrappers_of_training_programs_are_taken_off(wrap, imported, relighting_file):
    state = torch.load(relighting_file, weights_only=True)
    net = imported(wrap(state))
    for key, tensor in net.relighting.state_dict().items():
        assert torch.equal(tensor, state[released_key("relighting", key)]), key


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_single(imported, relighting_file, dtype):
    state = torch.load(relighting_file, weights_only=True)
    half = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    weight = imported(half).relighting.encoder[1].weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, half["model.1.weight"].float())


def test_counters_that_old_checkpoints_lack_are_zero(imported, relighting_file):
    state = torch.load(relighting_file, weights_only=True)
    without = {key: tensor for key, tensor in state.items() if "num_batches_tracked" not in key}
    counters = [t for key, t in imported(without).relighting.state_dict().items() if "num_batches_tracked" in key]
    assert len(counters) == len(state) - len(without) > 0
    assert all(int(counter) == 0 and counter.dtype == torch.int64 for counter in counters)


def test_two_state_dicts_that_fit_are_named_and_mixed_contents_say_what_to_do(imported, relighting_file):
    state = torch.load(relighting_file, weights_only=True)
    with pytest.raises(
        ModelFileError, match=r"got 2 state dicts that fit, 'model' and 'ema.state': save the one"
    ) as two:
        imported({"model": state, "ema": {"state": state}})
    assert "torch.load(FILE)['model']" in str(two.value)
    with pytest.raises(ModelFileError, match=r"entry 'epoch' is a int, .*torch.save\(model.state_dict\(\), FILE\)"):
        imported({**state, "epoch": 3})
    with pytest.raises(
        ModelFileError, match="entry 'epoch' is a int, expected tensors by name there or in a dict inside"
    ):
        imported({"epoch": 3, "model": "resnet"})
    with pytest.raises(ModelFileError, match=r"key 'model.1.weight': got nothing, expected shape"):
        imported({"state_dict": {key: tensor for key, tensor in state.items() if key != "model.1.weight"}})


def test_imported_weights_do_not_share_memory(blank_file, relighting_file):
    net, _, _ = import_official("deeplabv2", blank_file("deeplabv2"), relighting_file)
    net.segmentation.backbone.stem[0].weight.data.fill_(1.0)
    assert float(net.segmentation.backbone.stem[1].running_mean.abs().max()) == 0.0
    assert not net.training


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clf_conv.bias": None}, r"key 'clf_conv.bias': got nothing, expected shape \(19,\)"),
        ({"extra": torch.zeros(2, 3)}, r"key 'extra': got shape \(2, 3\), expected no such key"),
        ({"bn1.weight": torch.zeros(32)}, r"key 'bn1.weight': got shape \(32,\), expected \(64,\)"),
        ({"bn1.bias": torch.full((64,), torch.nan)}, r"key 'bn1.bias' holds NaN"),
        ({"bn1.bias": "text"}, r"entry 'bn1.bias' is a str, expected tensors"),
    ],
)
def test_the_first_key_that_does_not_fit_is_named_with_both_shapes(changes, message, blank_file, relighting_file):
    with pytest.raises(ModelFileError, match=message) as caught:
        import_official("refinenet", blank_file("refinenet", **changes), relighting_file)
    assert "\n" not in str(caught.value)


def test_the_checkpoint_of_another_architecture_is_refused(blank_file, relighting_file):
    with pytest.raises(ModelFileError, match=r"deeplabv2.pth: key 'conv1.weight': got shape \(64, 3, 7, 7\), expected"):
        import_official("pspnet", blank_file("deeplabv2"), relighting_file)
    with pytest.raises(SettingsError, match="arch: got 'lraspp'"):
        import_official("lraspp", blank_file("deeplabv2"), relighting_file)


def test_an_object_in_a_checkpoint_is_named_with_what_to_do(tmp_path, relighting_file):
    torch.save({"state_dict": {}, "args": _Hostile()}, tmp_path / "a.pth")
    with pytest.raises(
        ModelFileError, match=r"holds '\w+', an object whose code is never run: .*torch.save\("
    ) as caught:
        import_official("pspnet", tmp_path / "a.pth", relighting_file)
    assert "\x1b" not in str(caught.value)


class _Hostile:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def _hostile_torch(path: Path) -> None:
    torch.save({"conv1.weight": _Hostile()}, path)


def _hostile_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"conv1.weight": _Hostile()}))


def _truncated(path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    "write",
    [
        _hostile_torch,
        _hostile_pickle,
        _truncated,
        Path.mkdir,
        Path.touch,
        lambda path: path.write_bytes(b"\x80\x02."),
        lambda path: path.write_text("<html>not found</html>"),
        lambda path: torch.save([torch.zeros(1)], path),
        lambda path: torch.save({}, path),
        lambda _: None,
    ],
    ids=["code", "pickle", "truncated", "folder", "empty", "bytes", "html", "list", "no-tensors", "missing"],
)
def test_a_wrong_or_hostile_file_is_refused_in_one_line(write, tmp_path, monkeypatch, relighting_file):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "released.pth"
    write(path)
    with pytest.raises(ModelFileError) as caught:
        import_official("pspnet", path, relighting_file)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert not Path("executed").exists()
