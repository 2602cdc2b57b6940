"""Backbones filled from a library's state dict: the same features as the library's own network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dannet_core.errors import ModelFileError, SettingsError
from dannet_core.metadata import ModelMetadata
from dannet_core.networks import build_dannet, save_weights
from dannet_core.networks.backbone_weights import library_key, library_of, load_backbone_weights
from dannet_core.networks.build import shapes_only
from dannet_core.networks.resnet import ResNet

torchvision = pytest.importorskip("torchvision", reason="pip install torchvision")
timm = pytest.importorskip("timm", reason="pip install timm")

TIMM_NAMES = {
    ("efficientvit", "b0"): "efficientvit_b0.r224_in1k",
    ("efficientvit", "b1"): "efficientvit_b1.r224_in1k",
    ("pspnet", "resnet50"): "resnet50s.gluon_in1k",
    ("pspnet", "resnet101"): "resnet101s.gluon_in1k",
}
TORCHVISION_NAMES = {
    ("deeplabv2", "resnet18"): "resnet18",
    ("deeplabv2", "resnet101"): "resnet101",
    ("refinenet", "resnet50"): "resnet50",
    ("lraspp", "mobilenet_v3_large"): "mobilenet_v3_large",
}


def library_net(arch: str, backbone: str) -> nn.Module:
    if (arch, backbone) in TIMM_NAMES:
        return timm.create_model(TIMM_NAMES[arch, backbone])
    return getattr(torchvision.models, TORCHVISION_NAMES[arch, backbone])(weights=None)


def segmentation(arch: str, backbone: str) -> nn.Module:
    return build_dannet(arch, backbone=backbone, relighting_width=0).segmentation.eval()


def picture() -> torch.Tensor:
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def stir(net: nn.Module) -> nn.Module:
    """Random scales, shifts and statistics of batch norms too, which new networks have at 1 and 0."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.7, 1.1)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(0, 0.1)
    return net.eval()


def resnet_stages(net: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    act = getattr(net, "relu", None) or net.act1
    x = net.maxpool(act(net.bn1(net.conv1(image))))
    stages = []
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        x = stage(x)
        stages.append(x)
    return stages


@pytest.mark.parametrize(
    ("arch", "backbone", "depth"),
    [("refinenet", "resnet18", 18), ("refinenet", "resnet50", 50), ("pspnet", "resnet50", 50)],
)
def test_a_residual_network_computes_the_librarys_features(arch, backbone, depth, tmp_path):
    TORCHVISION_NAMES.setdefault((arch, backbone), backbone)
    theirs = stir(library_net(arch, backbone))
    torch.save(theirs.state_dict(), tmp_path / "library.pth")
    net = segmentation(arch, backbone)
    load_backbone_weights(net, arch, backbone, str(tmp_path / "library.pth"))
    # PSPNet's own is dilated, the library's is not: the same weights without dilation.
    ours = ResNet(depth, deep_stem=arch == "pspnet").eval()
    ours.load_state_dict(net.backbone.state_dict())
    with torch.inference_mode():
        for one, other in zip(ours(picture()), resnet_stages(theirs, picture()), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


def test_the_light_networks_compute_the_librarys_features(tmp_path):
    image = picture()
    theirs = stir(torchvision.models.mobilenet_v3_large(weights=None, dilated=True))
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "mobilenet.pth")
    light = segmentation("lraspp", "mobilenet_v3_large")
    load_backbone_weights(light, "lraspp", "mobilenet_v3_large", str(tmp_path / "mobilenet.pth"))
    vit = stir(library_net("efficientvit", "b0"))
    torch.save(vit.state_dict(), tmp_path / "vit.pth")
    efficientvit = segmentation("efficientvit", "b0")
    load_backbone_weights(efficientvit, "efficientvit", "b0", str(tmp_path / "vit.pth"))
    with torch.inference_mode():
        torch.testing.assert_close(light.high(light.low(image)), theirs.features(image), rtol=0, atol=1e-5)
        torch.testing.assert_close(efficientvit.backbone(image)[-1], vit.forward_features(image), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("arch", "backbone"), [*TIMM_NAMES, *TORCHVISION_NAMES])
def test_every_key_of_a_backbone_has_the_librarys_name_and_shape(arch, backbone):
    with shapes_only():
        own = build_dannet(arch, backbone=backbone, relighting_width=0).segmentation.state_dict()
        theirs = library_net(arch, backbone).state_dict()
    library = library_of(arch, backbone)
    names = {library_key(library, key): tensor.shape for key, tensor in own.items() if key.startswith(library.backbone)}
    assert names == {key: tensor.shape for key, tensor in theirs.items() if not key.startswith(library.unused)}


@pytest.mark.parametrize(("arch", "backbone"), [("efficientvit", "b0"), ("lraspp", "mobilenet_v3_large")])
def test_imagenet_asks_the_library_and_moves_no_random_number(arch, backbone, monkeypatch):
    theirs = stir(library_net(arch, backbone))
    if arch == "efficientvit":
        assert set(timm.list_pretrained()) >= set(TIMM_NAMES.values())
        create = timm.create_model
        monkeypatch.setattr(
            timm, "create_model", lambda name, pretrained=False, **k: theirs if pretrained else create(name, **k)
        )
    else:
        weights = torchvision.models.MobileNet_V3_Large_Weights
        monkeypatch.setattr(weights, "get_state_dict", lambda _weights, **_: theirs.state_dict())
    net = segmentation(arch, backbone)
    head = {key: tensor.clone() for key, tensor in net.state_dict().items() if "classifier" in key}
    torch.manual_seed(8)
    said = load_backbone_weights(net, arch, backbone, "imagenet")
    drawn = torch.rand(1)
    torch.manual_seed(8)
    assert torch.equal(drawn, torch.rand(1))
    assert said.startswith(f"{arch}: ")
    assert f"tensors of the backbone {backbone} from" in said
    assert "(ImageNet); random:" in said
    assert "classifier" in said
    assert "\n" not in said
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in head.items())


def test_a_model_of_this_project_gives_its_backbone(tmp_path):
    metadata = ModelMetadata("efficientvit", "b0", relighting_width=4, align_corners=False)
    trained = build_dannet("efficientvit", backbone="b0", relighting_width=4)
    path = save_weights(trained, tmp_path / "trained.safetensors", metadata)
    net = segmentation("efficientvit", "b0")
    classifier = net.classifier.weight.clone()
    said = load_backbone_weights(net, "efficientvit", "b0", str(path))
    assert "186 tensors of the backbone b0 from" in said
    assert "random: blocks, classifier, expansion, projections" in said
    for key, tensor in trained.segmentation.backbone.state_dict().items():
        assert torch.equal(net.backbone.state_dict()[key], tensor), key
    assert torch.equal(net.classifier.weight, classifier)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("layer1.0.conv1.weight"),
            r"key 'layer1.0.conv1.weight': got nothing, expected shape \(64, 64",
        ),
        (lambda s: s.update(other=torch.zeros(3)), r"key 'other': got shape \(3,\), expected no such key"),
        (
            lambda s: s.update({"conv1.weight": torch.zeros(64, 1, 7, 7)}),
            r"key 'conv1.weight': got shape \(64, 1, 7, 7\), expected \(64, 3, 7, 7\)",
        ),
        (lambda s: s["bn1.weight"].fill_(torch.nan), "key 'bn1.weight' holds NaN"),
    ],
)
def test_a_wrong_file_is_refused_by_its_first_key_and_changes_nothing(change, message, tmp_path):
    state = torchvision.models.resnet18(weights=None).state_dict()
    change(state)
    torch.save(state, tmp_path / "wrong.pth")
    net = segmentation("refinenet", "resnet18")
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(ModelFileError, match=message) as caught:
        load_backbone_weights(net, "refinenet", "resnet18", str(tmp_path / "wrong.pth"))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in before.items())


def test_old_files_without_batch_counts_and_half_files_are_taken(tmp_path):
    state = torchvision.models.resnet18(weights=None).state_dict()
    old = {key: tensor.half() for key, tensor in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    net = segmentation("refinenet", "resnet18")
    load_backbone_weights(net, "refinenet", "resnet18", str(tmp_path / "old.pth"))
    assert torch.equal(net.backbone.stem[0].weight, old["conv1.weight"].float())


def test_what_cannot_be_had_is_said(monkeypatch):
    with pytest.raises(SettingsError, match="got 'imagenet', but there are none for pspnet with resnet18"):
        load_backbone_weights(segmentation("pspnet", "resnet18"), "pspnet", "resnet18", "imagenet")

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host\nsecond line")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", offline)
    with pytest.raises(
        ModelFileError, match=r"cannot be downloaded \(no route to host\): give a file, or none"
    ) as caught:
        load_backbone_weights(segmentation("refinenet", "resnet18"), "refinenet", "resnet18", "imagenet")
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelFileError, match="no such checkpoint file"):
        load_backbone_weights(segmentation("refinenet", "resnet18"), "refinenet", "resnet18", "absent.pth")
