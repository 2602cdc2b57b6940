import numpy as np
import pytest
import torch

from dannet_core.errors import ImageError, SettingsError
from dannet_core.losses.light import (
    LightLoss,
    exposure_loss,
    light_loss,
    mean_intensity,
    ssim_loss,
    tv_loss,
)


@pytest.fixture
def scene(pattern):
    """A night batch, what relighting made of it, and the mean intensity it is to be brought to."""
    image = pattern(2, 3, 70, 90, seed=1, scale=2.0)
    relit = image + pattern(2, 3, 70, 90, seed=2, scale=0.5)
    return image, relit, mean_intensity(pattern(2, 3, 70, 90, seed=3) - 1)


def test_tv_of_a_constant_difference_is_zero(pattern):
    image = pattern(1, 3, 8, 9, seed=1)
    assert tv_loss(torch.full_like(image, 0.7)).item() == 0.0
    assert tv_loss((image + 0.5) - image).item() < 1e-13


def test_tv_by_hand():
    # Vertical differences 3 and -1, horizontal ones 1 and -3: both squares have the mean 5.
    residual = torch.tensor([[0.0, 1.0], [3.0, 0.0]]).expand(2, 3, 2, 2)
    assert tv_loss(residual).item() == pytest.approx(10.0)
    assert tv_loss(residual, "released").item() == pytest.approx(60.0)
    assert tv_loss(-residual).item() == tv_loss(residual).item()


def test_tv_of_unequal_sides_is_the_mean_over_each_direction(pattern):
    residual = pattern(2, 3, 5, 11, seed=4)
    squares = [np.square(np.diff(residual.double().numpy(), axis=axis)).mean() for axis in (2, 3)]
    assert tv_loss(residual).item() == pytest.approx(sum(squares), rel=1e-6)


def test_tv_of_a_single_row_has_no_vertical_part():
    assert tv_loss(torch.tensor([[[[0.0, 2.0, 2.0]]]])).item() == pytest.approx(2.0)


def test_ssim_of_identical_images_is_no_loss(pattern):
    image = pattern(2, 3, 16, 20, seed=1, scale=2.0)
    assert ssim_loss(image, image).item() == 0.0
    assert ssim_loss(image, image + 0.1).item() > 0.0


def test_ssim_agrees_with_scikit_image(pattern):
    metrics = pytest.importorskip("skimage.metrics", reason="pip install scikit-image")
    image = pattern(1, 3, 20, 27, seed=1, scale=2.0, dtype=torch.float64)
    relit = image + pattern(1, 3, 20, 27, seed=2, scale=0.5, dtype=torch.float64)
    mirrored = [np.pad(x[0].numpy(), ((0, 0), (1, 1), (1, 1)), mode="reflect") for x in (image, relit)]
    _, similarity = metrics.structural_similarity(
        *mirrored, win_size=3, channel_axis=0, data_range=1.0, use_sample_covariance=False, full=True
    )
    expected = (1 - similarity[:, 1:-1, 1:-1]).mean() / 2
    assert ssim_loss(image, relit).item() == pytest.approx(expected, rel=1e-9)
    assert 0.05 < expected < 0.95


def test_ssim_does_not_care_which_image_comes_first(scene):
    image, relit, _ = scene
    assert ssim_loss(image, relit).item() == ssim_loss(relit, image).item()


def test_ssim_of_opposite_contrast_at_one_brightness_is_nearly_the_whole_loss():
    board = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2).float()[None, None] * 2 - 1
    assert ssim_loss(3 + board, 3 - board).item() == pytest.approx(1.0, abs=0.05)


def test_exposure_by_hand():
    # Two patches a channel: channels at 0, 1, 5 on the left and at 3 everywhere on the right; E = 2.
    relit = torch.full((1, 3, 32, 64), 3.0)
    relit[..., :32] = torch.tensor([0.0, 1.0, 5.0]).reshape(3, 1, 1)
    target = torch.tensor(2.0)
    assert exposure_loss(relit, target, "l1").item() == pytest.approx((2 + 1 + 3 + 1 + 1 + 1) / 6)
    assert exposure_loss(relit, target, "l1_intensity").item() == pytest.approx((0 + 1) / 2)
    assert exposure_loss(relit, target * 0, "released").item() == pytest.approx((2**2 + 3**2) / 2)


@pytest.mark.parametrize("kind", ["l1_intensity", "released"])
def test_intensity_exposure_leaves_the_colour_free(kind):
    coloured = torch.tensor([1.0, -2.0, 1.0]).reshape(1, 3, 1, 1).expand(1, 3, 32, 32)
    assert exposure_loss(coloured, torch.tensor(0.0), kind).item() == 0.0
    assert exposure_loss(coloured, torch.tensor(0.0), "l1").item() == pytest.approx(4 / 3)


@pytest.mark.parametrize("kind", ["l1", "l1_intensity", "released"])
def test_exposure_of_an_image_smaller_than_a_patch_takes_the_whole_image(kind):
    relit = torch.zeros(1, 3, 20, 48)
    relit[..., 40:] = 1000.0
    assert exposure_loss(relit, torch.tensor(1.0), kind).item() == pytest.approx(1.0)


def test_exposure_compares_each_image_with_its_own_intensity(pattern):
    relit = pattern(2, 3, 64, 64, seed=1)
    own = mean_intensity(pattern(2, 3, 64, 64, seed=2, scale=2.0), per_image=True)
    apart = [exposure_loss(relit[i : i + 1], own[i]).item() for i in range(2)]
    assert exposure_loss(relit, own).item() == pytest.approx(sum(apart) / 2)
    assert own.mean().item() == pytest.approx(mean_intensity(pattern(2, 3, 64, 64, seed=2, scale=2.0)).item(), abs=1e-6)


def test_exposure_refuses_a_wrong_number_of_intensities():
    with pytest.raises(ImageError, match="got 3 intensities for 2 images"):
        exposure_loss(torch.zeros(2, 3, 32, 32), torch.zeros(3))


def test_light_loss_is_the_weighted_sum_of_its_terms(scene):
    terms = light_loss(*scene)
    assert terms.total.item() == pytest.approx(10 * terms.tv.item() + terms.exposure.item() + terms.ssim.item())
    custom = light_loss(*scene, weights=(0.0, 2.0, 3.0))
    assert custom.total.item() == pytest.approx(2 * terms.exposure.item() + 3 * terms.ssim.item())


def test_module_gives_what_the_function_gives(scene):
    assert LightLoss("released", "released", (1, 2, 3))(*scene) == light_loss(*scene, "released", "released", (1, 2, 3))
    assert not LightLoss().state_dict()


def test_released_variants_give_the_released_codes_figures(scene):
    image, relit, intensity = scene
    relit.requires_grad_()
    terms = light_loss(image, relit, intensity, "released", "released")
    terms.total.backward()
    figures = [term.item() for term in terms]
    assert figures == pytest.approx([21.2590847, 2.0147572, 0.9904519, 0.1210615], rel=1e-5)
    assert relit.grad.norm().item() == pytest.approx(0.8036073, rel=1e-5)


def test_gradients_are_those_of_the_values(pattern):
    image = pattern(2, 2, 3, 4, seed=1, dtype=torch.float64)
    relit = (image + pattern(2, 2, 3, 4, seed=2, dtype=torch.float64)).requires_grad_()
    target = torch.tensor([0.1, -0.3], dtype=torch.float64)
    for tv, exposure in (("mean", "l1"), ("mean", "l1_intensity"), ("released", "released")):
        assert torch.autograd.gradcheck(
            lambda x, t=tv, e=exposure: light_loss(image, x, target, t, e), (relit,), fast_mode=True
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_images_are_computed_in_float32(scene, dtype):
    image, relit, intensity = (value.to(dtype) for value in scene)
    expected = light_loss(image.float(), relit.float(), intensity.float())
    terms = light_loss(image, relit, intensity)
    assert terms == expected
    assert {term.dtype for term in terms} == {torch.float32}


def test_half_precision_gradients_are_finite_on_flat_bright_images():
    # Here E[x^2] - E[x]^2 in half precision would be noise a hundred times C2.
    image = torch.full((1, 3, 64, 64), 2.6, dtype=torch.float16)
    relit = (image + 0.01).requires_grad_()
    terms = light_loss(image, relit, torch.tensor(-1.0))
    terms.total.backward()
    assert terms.ssim.item() < 1e-4
    assert relit.grad.isfinite().all()


def test_refuses_what_does_not_fit(scene):
    image, relit, intensity = scene
    with pytest.raises(ImageError, match="light loss: got shapes"):
        light_loss(image, relit[..., :-1], intensity)
    with pytest.raises(ImageError, match="ssim: got shapes"):
        ssim_loss(image, relit[:1])
    with pytest.raises(SettingsError, match="tv: got 'sum', expected one of mean, released"):
        LightLoss(tv="sum")
    with pytest.raises(SettingsError, match="exposure: got 'l2', expected one of l1, l1_intensity, released"):
        light_loss(image, relit, intensity, exposure="l2")
