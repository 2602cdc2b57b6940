"""Day pictures as a night camera would have seen them, with the day's labels; not part of the paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from dannet_core.classes import IGNORE_ID
from dannet_core.data.loaders import seeded
from dannet_core.pixels import IMAGENET_MEAN, IMAGENET_STD
from dannet_core.training import streams
from dannet_core.training.domain_step import Part

GAMMAS: Final = (1.0, 2.2)
"""A picture of 0 to 1 is raised to a power between these: shadows fall faster than lamps."""
EXPOSURES: Final = (0.3, 1.3)
CASTS: Final = (0.85, 1.15)
"""A class's mean becomes that of the night pixels under it, times a number, and one a channel."""
SHADES: Final = (0.5, 1.5)
_SHADE_GRID: Final = (4, 5)
"""The light of lamps falls unevenly: a coarse grid of such factors lies over the picture."""
MAX_HAZE: Final = 0.05
"""Added everywhere: a night camera's black is not black."""
MAX_NOISE: Final = 0.05
MAX_BLUR: Final = 1.2
"""Standard deviations: of the noise, in a picture of 0 to 1, and of the blur, in pixels."""
GRAINS: Final = (1.0, 2.5)
"""Sides of the noise's specks in pixels."""
MAX_LAMPS: Final = 12
MAX_WINDOWS: Final = 40
LAMP_RADII: Final = (0.006, 0.06)
WINDOW_SIDES: Final = (0.004, 0.025)
"""Of lights, in heights of a picture."""
COLOURS: Final = ((1.0, 0.75, 0.4), (1.0, 0.95, 0.85), (1.0, 0.8, 0.5), (1.0, 0.1, 0.1))
"""Of lights, RGB: sodium, white, bulb, rear lamp."""
_BLUR_RADIUS: Final = 3


View = Callable[[Tensor, Tensor, Tensor, torch.Generator], Tensor]
"""Shows a day picture by night, as `shown_by_night` does; of a day picture, a night picture, the day's labels."""


class SourceDarkening:
    """Shows the source pass a share of its pictures darkened: labels of every class, by night.

    Args:
        share: of the pictures that are darkened, 0 to 1.
        seed: of the run.
        view: how they are shown; None = `shown_by_night`.
    """

    def __init__(self, share: float, seed: int, view: View | None = None) -> None:
        self._share = share
        self._seed = seed
        self._view = shown_by_night if view is None else view

    def __call__(self, part: Part) -> Tensor:
        """The source pictures of a part, N x 3 x h x w, some of them darkened."""
        inputs, nights = part.inputs, part.inputs.target_images("night")
        size = (inputs.source.shape[-2], inputs.source.shape[-1])
        seen = []
        with streams.own_stream(inputs.source.device, self._seed, streams.DARKENING, inputs.step, inputs.places[0]):
            for index, place in enumerate(inputs.places):
                generator = seeded(self._seed, streams.DARKENING, inputs.step, place, 1)
                picture = inputs.source[index]
                if float(torch.rand((), generator=generator)) < self._share:
                    night = functional.interpolate(nights[index][None], size, mode="bilinear", align_corners=False)[0]
                    picture = self._view(picture, night, inputs.labels[index], generator)
                seen.append(picture)
        return torch.stack(seen)


def shown_by_night(day: Tensor, night: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """A day picture as dark as a night picture (`darken`), with lamps and lit windows anywhere (`with_lights`)."""
    return with_lights(darken(day, night, labels, generator), generator)


def darken(day: Tensor, night: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """A day picture as the camera of a night picture would have seen it: exposure, colour cast, blur, noise.

    Args:
        day: 3 x H x W, ImageNet-normalised.
        night: the same. Every class of the day takes the brightness and tint of the night pixels under it, and none
            gets brighter by that: a night sky is the darkest thing in a picture, where by day it is the brightest.
        labels: H x W int64 train ids of the day, 255 = not labelled.
        generator: on the CPU, of the numbers; the noise comes from torch's own stream of the device.

    Returns:
        3 x H x W, ImageNet-normalised.
    """
    gamma, blur, noise, grain, haze, exposure, *casts = torch.rand(9, generator=generator).tolist()
    lit = shown(day) ** _between(GAMMAS, gamma)
    factors = [_between(EXPOSURES, exposure) * _between(CASTS, cast) for cast in casts]
    aim, own = _sums(shown(night), labels) * day.new_tensor(factors).view(3, 1), _sums(lit, labels)
    gain = (aim / own.clamp(min=1e-3)).clamp(max=1)
    dark = _blurred(lit * gain[:, labels] * _shade(day, generator), MAX_BLUR * blur)
    dark = dark + MAX_HAZE * haze + MAX_NOISE * noise * _noise(day, _between(GRAINS, grain))
    return normalised(dark.clamp(0, 1))


def with_lights(image: Tensor, generator: torch.Generator) -> Tensor:
    """A dark picture with lamps and lit windows at random places; what they outshine keeps its label.

    Args:
        image: 3 x H x W, ImageNet-normalised.
        generator: on the CPU.

    Returns:
        3 x H x W, ImageNet-normalised.
    """
    bright = shown(image)
    lamps, windows = torch.rand(2, generator=generator).tolist()
    for _ in range(round(lamps * MAX_LAMPS)):
        bright = _add_lamp(bright, generator)
    for _ in range(round(windows * MAX_WINDOWS)):
        _light_window(bright, generator)
    return normalised(bright.clamp(0, 1))


def _add_lamp(bright: Tensor, generator: torch.Generator) -> Tensor:
    """A glow, brightest in its middle; many small ones, few large ones."""
    y, x, size, strength, colour = torch.rand(5, generator=generator).tolist()
    height, width = bright.shape[-2:]
    radius = _between(LAMP_RADII, size**2) * height
    down = torch.arange(height, device=bright.device) - y * height
    across = torch.arange(width, device=bright.device) - x * width
    fall_off = torch.exp(-0.5 * (down / radius) ** 2)[:, None] * torch.exp(-0.5 * (across / radius) ** 2)
    lit: Tensor = bright + _tint(bright, colour) * (1.5 * strength) * fall_off
    return lit


def _light_window(bright: Tensor, generator: torch.Generator) -> None:
    """A small rectangle of light, in place; nothing gets darker."""
    y, x, tall, wide, strength, colour = torch.rand(6, generator=generator).tolist()
    height, width = bright.shape[-2:]
    top, left = int(y * height), int(x * width)
    rows, columns = (max(1, int(_between(WINDOW_SIDES, side) * height)) for side in (tall, wide))
    pane = bright[:, top : top + rows, left : left + columns]
    pane.copy_(torch.maximum(pane, _tint(bright, colour) * (0.3 + 0.6 * strength)))


def _tint(bright: Tensor, share: float) -> Tensor:
    return bright.new_tensor(COLOURS[int(share * len(COLOURS))]).view(3, 1, 1)


def _shade(image: Tensor, generator: torch.Generator) -> Tensor:
    """Factors of brightness that change slowly over the picture: 1 x H x W."""
    grid = SHADES[0] + torch.rand(1, 1, *_SHADE_GRID, generator=generator) * (SHADES[1] - SHADES[0])
    size = (image.shape[-2], image.shape[-1])
    shade: Tensor = functional.interpolate(grid.to(image.device), size, mode="bilinear", align_corners=False)[0]
    return shade


def shown(image: Tensor) -> Tensor:
    """An ImageNet-normalised picture, 3 x H x W, in 0 to 1."""
    values: Tensor = (image * _constant(IMAGENET_STD, image) + _constant(IMAGENET_MEAN, image)).clamp(0, 1)
    return values


def normalised(image: Tensor) -> Tensor:
    """The reverse of `shown`."""
    values: Tensor = (image - _constant(IMAGENET_MEAN, image)) / _constant(IMAGENET_STD, image)
    return values


def _constant(values: npt.NDArray[np.float32], like: Tensor) -> Tensor:
    constant: Tensor = torch.from_numpy(values).to(like.device).view(3, 1, 1)
    return constant


def _sums(image: Tensor, labels: Tensor) -> Tensor:
    """Sum of each channel over the pixels of each label: 3 x 256."""
    return image.new_zeros(3, IGNORE_ID + 1).index_add_(1, labels.flatten(), image.flatten(1))


def _noise(image: Tensor, grain: float) -> Tensor:
    """Noise of standard deviation 1 in the shape of a 3 x H x W picture, with specks of ``grain`` pixels."""
    height, width = image.shape[-2:]
    coarse = torch.randn(1, 3, max(1, int(height / grain)), max(1, int(width / grain)), device=image.device)
    fine: Tensor = functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)[0]
    return fine / fine.std().clamp(min=1e-6)


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of a 3 x H x W picture with sides above 3 pixels."""
    offsets = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offsets / max(sigma, 1e-2)) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(image[:, None], (_BLUR_RADIUS,) * 4, mode="reflect")
    across = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(across, kernel.view(1, 1, -1, 1))[:, 0]


def _between(limits: tuple[float, float], share: float) -> float:
    return limits[0] + share * (limits[1] - limits[0])
