"""The light loss (DANNet, section 3.3, equations 3 to 6): relit images of one brightness, smooth, true to the original.

All images are ImageNet-normalised RGB, as in the released code, so that the constants keep their meaning.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dannet_core.errors import ImageError
from dannet_core.losses.inputs import check_option, check_same_shape, in_full_precision

TV_KINDS: Final = ("mean", "released")
EXPOSURE_KINDS: Final = ("l1", "l1_intensity", "released")
LIGHT_WEIGHTS: Final = (10.0, 1.0, 1.0)
"""Weights of total variation, exposure and SSIM in equation 6."""

EXPOSURE_PATCH: Final = 32
SSIM_C1: Final = 0.01**2
SSIM_C2: Final = 0.03**2


class LightTerms(NamedTuple):
    """The light loss and its unweighted terms, each a scalar.

    Attributes:
        total: equation 6.
        tv: equation 3.
        exposure: equation 4.
        ssim: equation 5.
    """

    total: Tensor
    tv: Tensor
    exposure: Tensor
    ssim: Tensor


@in_full_precision
def tv_loss(residual: Tensor, kind: str = "mean") -> Tensor:
    """Total variation of what relighting adds (equation 3).

    Args:
        residual: N x C x H x W, relit image minus image (its sign does not matter).
        kind: ``mean``: mean squared vertical plus mean squared horizontal difference. ``released``: 2 C times that
            (6 for RGB): the released code does not divide by the channels and doubles the sum.

    Returns:
        Scalar, at least 0.

    Raises:
        SettingsError: unknown ``kind``.
    """
    check_option("tv", kind, TV_KINDS)
    vertical = _mean_square(residual[..., 1:, :] - residual[..., :-1, :])
    horizontal = _mean_square(residual[..., 1:] - residual[..., :-1])
    scale = 2 * residual.shape[1] if kind == "released" else 1
    return (vertical + horizontal) * scale


def _mean_square(difference: Tensor) -> Tensor:
    return difference.square().sum() / max(difference.numel(), 1)


@in_full_precision
def mean_intensity(night: Tensor, per_image: bool = False) -> Tensor:
    """E of equation 4: mean over pixels and channels of the night images, before relighting.

    Args:
        night: N x 3 x H x W.
        per_image: one value an image instead of one for the batch. The released code takes the batch's; an image's own
            does not change with the split of a batch over processes.

    Returns:
        Scalar, or (N,) per image.
    """
    means = night.mean(dim=(1, 2, 3))
    return means if per_image else means.mean()


@in_full_precision
def exposure_loss(relit: Tensor, intensity: Tensor, kind: str = "l1") -> Tensor:
    """Distance of 32 x 32 patch means from the night's mean intensity (equation 4).

    Args:
        relit: N x 3 x H x W. The patches tile it from the top left, what is left over at the bottom and right is not
            looked at; a side below 32 pixels is one patch long.
        intensity: scalar or (N,): E, see `mean_intensity`.
        kind: ``l1``: absolute distance of every channel's patch mean. ``l1_intensity``: absolute distance of the patch
            mean over the channels, which leaves the colour free. ``released``: its square.

    Returns:
        Scalar, at least 0.

    Raises:
        ImageError: ``intensity`` is neither a scalar nor one value an image.
        SettingsError: unknown ``kind``.
    """
    check_option("exposure", kind, EXPOSURE_KINDS)
    if intensity.numel() not in (1, relit.shape[0]):
        raise ImageError(
            f"exposure: got {intensity.numel()} intensities for {relit.shape[0]} images, expected one or one an image"
        )
    image = relit if kind == "l1" else relit.mean(dim=1, keepdim=True)
    patch = (min(EXPOSURE_PATCH, relit.shape[2]), min(EXPOSURE_PATCH, relit.shape[3]))
    distance = functional.avg_pool2d(image, patch) - intensity.reshape(-1, 1, 1, 1)
    return distance.square().mean() if kind == "released" else distance.abs().mean()


@in_full_precision
def ssim_loss(image: Tensor, relit: Tensor) -> Tensor:
    """Half of one minus the structural similarity (equation 5).

    Means, variances and covariance are taken over 3 x 3 blocks (divided by 9) of the images mirrored by one pixel;
    C1 = 0.01^2 and C2 = 0.03^2.

    Args:
        image: N x C x H x W, sides of at least 2 pixels.
        relit: N x C x H x W.

    Returns:
        Scalar in 0..1, the mean over all pixels and channels.

    Raises:
        ImageError: the shapes differ.
    """
    check_same_shape("ssim", image, relit)
    x = functional.pad(image, (1, 1, 1, 1), mode="reflect")
    y = functional.pad(relit, (1, 1, 1, 1), mode="reflect")
    mean_x, mean_y = _block_mean(x), _block_mean(y)
    squares = mean_x.square() + mean_y.square()
    product = mean_x * mean_y
    # Only the sum of the two variances is needed, which saves one pooling of a full image.
    variances = _block_mean(x.square() + y.square()) - squares
    covariance = _block_mean(x * y) - product
    similarity = ((2 * product + SSIM_C1) * (2 * covariance + SSIM_C2)) / ((squares + SSIM_C1) * (variances + SSIM_C2))
    return ((1 - similarity) / 2).clamp(0, 1).mean()


def _block_mean(image: Tensor) -> Tensor:
    return functional.avg_pool2d(image, 3, stride=1)


@in_full_precision
def light_loss(
    image: Tensor,
    relit: Tensor,
    intensity: Tensor,
    tv: str = "mean",
    exposure: str = "l1",
    weights: tuple[float, float, float] = LIGHT_WEIGHTS,
) -> LightTerms:
    """The light loss (equation 6) and its terms.

    Args:
        image: N x 3 x H x W, before relighting.
        relit: N x 3 x H x W, after.
        intensity: scalar or (N,), see `mean_intensity`.
        tv: see `tv_loss`.
        exposure: see `exposure_loss`.
        weights: of total variation, exposure and SSIM.

    Raises:
        ImageError: the shapes do not fit.
        SettingsError: an unknown option.
    """
    check_same_shape("light loss", image, relit)
    terms = (tv_loss(relit - image, tv), exposure_loss(relit, intensity, exposure), ssim_loss(image, relit))
    total = torch.stack([weight * term for weight, term in zip(weights, terms, strict=True)]).sum()
    return LightTerms(total, *terms)


class LightLoss(nn.Module):
    """`light_loss` with its options held.

    Args:
        tv: ``mean`` or ``released``.
        exposure: ``l1``, ``l1_intensity`` or ``released``.
        weights: of total variation, exposure and SSIM.

    Raises:
        SettingsError: an unknown option.
    """

    def __init__(
        self, tv: str = "mean", exposure: str = "l1", weights: tuple[float, float, float] = LIGHT_WEIGHTS
    ) -> None:
        super().__init__()
        check_option("tv", tv, TV_KINDS)
        check_option("exposure", exposure, EXPOSURE_KINDS)
        self.tv, self.exposure, self.weights = tv, exposure, weights

    def forward(self, image: Tensor, relit: Tensor, intensity: Tensor) -> LightTerms:
        """See `light_loss`."""
        return light_loss(image, relit, intensity, self.tv, self.exposure, self.weights)
