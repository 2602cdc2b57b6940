"""Random crops on the device: whole uint8 images in, normalised batches out (DANNet, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dannet_core.errors import SettingsError
from dannet_core.pixels import IMAGENET_MEAN, IMAGENET_STD


class Window(NamedTuple):
    """The part of an image that becomes a crop, in its pixels, and whether it is mirrored."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


def draw_window(
    generator: torch.Generator, image_size: tuple[int, int], crop: tuple[int, int], scales: tuple[float, float]
) -> Window:
    """Choose where to crop: an image scaled by s and cropped to ``crop`` is a window of ``crop`` / s in the image.

    Args:
        generator: on the CPU; the same state gives the same window.
        image_size: (height, width).
        crop: (height, width) of the crop.
        scales: smallest and largest s, uniformly drawn. Where the window would not fit, s grows until it does.

    Raises:
        SettingsError: a scale is not above 0, or they are the wrong way round.
    """
    if not 0 < scales[0] <= scales[1]:
        raise SettingsError(f"scale: got {scales}, expected two numbers above 0, the smaller first")
    uniform = torch.rand(4, generator=generator).tolist()
    scale = scales[0] + uniform[0] * (scales[1] - scales[0])
    scale = max(scale, crop[0] / image_size[0], crop[1] / image_size[1])
    height, width = (min(round(c / scale), side) for c, side in zip(crop, image_size, strict=True))
    top, left = int(uniform[1] * (image_size[0] - height + 1)), int(uniform[2] * (image_size[1] - width + 1))
    return Window(top, left, height, width, uniform[3] < 0.5)


def crop_images(images: Sequence[Tensor], windows: Sequence[Window], size: tuple[int, int]) -> Tensor:
    """Cut, resize (bilinear, antialiased), mirror and normalise.

    Args:
        images: each 3 x H x W uint8 RGB, on the device that is to do the work.
        windows: one an image.
        size: (h, w) of the result.

    Returns:
        N x 3 x h x w float32, ImageNet-normalised.
    """
    crops = []
    for image, window in zip(images, windows, strict=True):
        crop = _cut(image, window)[None].float()
        if crop.shape[-2:] != size:
            crop = functional.interpolate(crop, size, mode="bilinear", align_corners=False, antialias=True)
        crops.append(crop.flip(-1) if window.flip else crop)
    batch = torch.cat(crops)
    mean, std = (torch.from_numpy(values).to(batch.device).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (batch / 255 - mean) / std


def whole_images(images: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Resize whole images, whatever their sides, and normalise; see `crop_images`."""
    return crop_images(images, [Window(0, 0, image.shape[-2], image.shape[-1], False) for image in images], size)


def crop_labels(labels: Sequence[Tensor], windows: Sequence[Window], size: tuple[int, int]) -> Tensor:
    """Cut, resize (nearest) and mirror label maps: each H x W uint8 train ids, to N x h x w int64."""
    crops = []
    for label, window in zip(labels, windows, strict=True):
        crop = _cut(label, window)[None, None].float()
        if crop.shape[-2:] != size:
            crop = functional.interpolate(crop, size, mode="nearest-exact")
        crops.append(crop[0].flip(-1) if window.flip else crop[0])
    return torch.cat(crops).long()


def _cut(image: Tensor, window: Window) -> Tensor:
    rows = slice(window.top, window.top + window.height)
    return image[..., rows, window.left : window.left + window.width]
