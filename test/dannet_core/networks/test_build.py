from __future__ import annotations

import pytest
import torch

from dannet_core.errors import ImageError, SettingsError
from dannet_core.networks import DANNet, build_dannet, build_discriminator
from dannet_core.networks.build import shapes_only
from dannet_core.networks.dannet import upsample

SMALL = {
    "pspnet": {"backbone": "resnet18", "relighting_width": 8},
    "deeplabv2": {"backbone": "resnet18", "relighting_width": 8},
    "refinenet": {"backbone": "resnet18", "relighting_width": 8},
    "lraspp": {"backbone": "mobilenet_v3_large", "relighting_width": 8},
}
STRIDE = {"pspnet": 8, "deeplabv2": 8, "refinenet": 4, "lraspp": 8}


@pytest.fixture(scope="module", params=list(SMALL))
def small(request) -> tuple[str, DANNet]:
    torch.manual_seed(1)
    return request.param, build_dannet(request.param, **SMALL[request.param])


@pytest.mark.parametrize("size", [(64, 64), (65, 67), (66, 103)])
def test_any_size_from_64_comes_back_at_that_size(small, size):
    arch, net = small
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        out = net.eval()(image)
    assert out.logits.shape == (1, 19, *size)
    assert out.relit.shape == image.shape
    assert out.aux is None
    for got, side in zip(out.stride_logits.shape[-2:], size, strict=True):
        assert abs(got - side / STRIDE[arch]) < 1.5
    # Nothing was padded and cropped between the two: consumers may upsample the stride logits to any size.
    assert torch.equal(out.logits, upsample(out.stride_logits, size))


def test_training_reaches_every_trainable_weight_in_use(small):
    arch, net = small
    out = net.train()(torch.randn(1, 3, 64, 66, generator=torch.Generator().manual_seed(3)))
    assert (out.aux is not None) == (arch in {"pspnet", "deeplabv2"})
    total = out.logits.square().mean() + out.relit.square().mean()
    if out.aux is not None:
        assert out.aux.shape == out.logits.shape
        total = total + out.aux.square().mean()
    total.backward()
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
    net.zero_grad(set_to_none=True)


@pytest.mark.parametrize("shape", [(1, 3, 63, 64), (1, 3, 64, 63), (1, 4, 64, 64), (3, 64, 64)])
def test_an_input_that_is_too_small_or_no_image_batch_is_refused(shape):
    with shapes_only():
        net = build_dannet("pspnet", backbone="resnet18")
    with pytest.raises(ImageError, match="network input: got"):
        net(torch.zeros(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arch": "unet"}, "arch: got 'unet', expected one of pspnet, deeplabv2, refinenet, efficientvit, lraspp"),
        ({"arch": "pspnet", "backbone": "resnet34"}, "backbone: got 'resnet34'"),
        ({"arch": "lraspp", "backbone": "resnet18"}, "expected one of mobilenet_v3_large for lraspp"),
        ({"arch": "pspnet", "num_classes": 1}, "num_classes: got 1, expected 2 to 255"),
        ({"arch": "pspnet", "relighting_width": 3}, "relighting_width: got 3, expected 0, or 4 to 256"),
        ({"arch": "pspnet", "relighting_width": 10**9}, "relighting_width: got 1000000000"),
        ({"arch": "deeplabv2", "aspp_branches": 3}, "aspp_branches: got 3, expected 4"),
        ({"arch": "pspnet", "aspp_branches": 4}, "expected 0 for pspnet"),
    ],
)
def test_a_network_that_does_not_exist_is_named_in_one_line(arguments, message):
    with pytest.raises(SettingsError, match=message):
        build_dannet(**arguments)


def test_classes_and_default_backbones_follow_the_arguments():
    with shapes_only():
        net = build_dannet("pspnet", num_classes=7)
        assert net.segmentation.classifier.out_channels == 7
        assert len(net.segmentation.backbone.layer3) == 23
        assert build_discriminator(7).conv1.in_channels == 7
    with pytest.raises(SettingsError, match="num_classes"):
        build_discriminator(0)


def test_without_relighting_the_relit_image_is_the_input():
    net = build_dannet("deeplabv2", backbone="resnet18", relighting_width=0).eval()
    image = torch.randn(1, 3, 64, 66)
    with torch.inference_mode():
        assert torch.equal(net(image).relit, image)
    assert not any(key.startswith("relighting") for key in net.state_dict())


def test_shapes_only_draws_no_numbers_and_takes_no_memory():
    state = torch.get_rng_state()
    with shapes_only():
        net = build_dannet("pspnet", backbone="resnet18")
    assert all(tensor.is_meta for tensor in net.state_dict().values())
    assert torch.equal(state, torch.get_rng_state())
