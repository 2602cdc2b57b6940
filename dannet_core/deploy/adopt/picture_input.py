"""How a foreign graph wants its picture: size, memory order, colours, normalisation; given, recognised or defaults."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dannet_core.deploy.adopt.foreign import ForeignGraph, shown
from dannet_core.deploy.adopt.normalization import (
    AS_THEY_ARE,
    IMAGENET,
    Normalization,
    Triple,
    normalization_beside,
    triple,
)
from dannet_core.deploy.adopt.own_normalization import own_normalization
from dannet_core.errors import ModelFileError, SettingsError
from dannet_core.pixels import IMAGENET_MEAN, IMAGENET_STD, MAX_SIDE, MIN_SIDE, Rgb

COLORS: Final = ("rgb", "bgr")
LAYOUTS: Final = {"nchw": (0, 1, 2, 3), "nhwc": (0, 2, 3, 1), "chw": (1, 2, 3), "hwc": (2, 3, 1)}
"""Memory orders, with the axes of 1 x 3 x H x W that they take."""
_MATTERS: Final = "a wrong choice costs labels"


class PictureOptions(NamedTuple):
    """What the caller says; None = to be recognised.

    Attributes:
        size: (height, width) in pixels.
        layout: one of `LAYOUTS`.
        color: ``rgb`` or ``bgr``.
        mean, std: by the graph's channels, of pixels up to ``pixel_range``.
        pixel_range: 1 or 255, what white is before mean and std.
    """

    size: tuple[int, int] | None = None
    layout: str | None = None
    color: str | None = None
    mean: Triple | None = None
    std: Triple | None = None
    pixel_range: float | None = None


class PictureInput(NamedTuple):
    """What the graph takes.

    Attributes:
        size: (height, width) in pixels.
        layout: one of `LAYOUTS`.
        kind: NumPy's name of the type.
        color: ``rgb`` or ``bgr``.
        divisor, mean, std: see `Normalization`.
        said: a line each on where these come from.
    """

    size: tuple[int, int]
    layout: str
    kind: str
    color: str
    divisor: float
    mean: Triple
    std: Triple
    said: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the graph's input."""
        full = (1, 3, *self.size)
        return tuple(full[axis] for axis in LAYOUTS[self.layout])

    @property
    def takes_bytes(self) -> bool:
        """Whether it takes pixels 0..255 as they are."""
        return (self.divisor, self.mean, self.std) == AS_THEY_ARE

    @property
    def is_imagenet(self) -> bool:
        """Whether its normalisation is the one that the networks here expect, but for the order of the channels."""
        ours, theirs = np.array([IMAGENET_MEAN, IMAGENET_STD]), np.array([self.mean, self.std])
        return bool(np.allclose(theirs[:, :: self._step] * self.divisor / 255, ours, rtol=1e-6, atol=0))

    @property
    def _step(self) -> int:
        return 1 if self.color == "rgb" else -1

    def apply(self, rgb: Rgb) -> npt.NDArray[Any]:
        """A picture as the graph's own program would hand it over: H x W x 3 uint8 RGB in, ``shape`` out."""
        values = rgb[..., :: self._step].astype(np.float32)
        if not self.takes_bytes:
            values = values / np.float32(self.divisor)
            values = (values - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        batch = values.transpose(2, 0, 1)[None].astype(self.kind)
        return np.ascontiguousarray(batch.transpose(_to(self.layout)).reshape(self.shape))


def _to(layout: str) -> tuple[int, ...]:
    axes = LAYOUTS[layout]
    return axes if len(axes) == 4 else (0, *axes)


def picture_input(foreign: ForeignGraph, options: PictureOptions) -> PictureInput:
    """Put together what is given and what the graph, or a file beside it, says.

    Raises:
        SettingsError: an option contradicts the graph, or is needed.
        ModelFileError: no picture of three channels, or of one at a time, goes in.
    """
    layout = _layout(foreign, options.layout)
    size = _size(foreign, layout, options.size)
    normalization, said = _normalization(foreign, options)
    color = options.color or normalization.color or "rgb"
    if options.color is not None:
        said += (f"colour order: {color.upper()}, given",)
    elif normalization.color is not None:
        said += (f"colour order: {color.upper()}, {normalization.where}",)
    else:
        said += (f"colour order: RGB taken, the default: {_MATTERS}: give --color bgr where it is not so",)
    return PictureInput(
        size, layout, foreign.kind, color, normalization.divisor, normalization.mean, normalization.std, said
    )


def _layout(foreign: ForeignGraph, wanted: str | None) -> str:
    shape = foreign.shape
    fitting = [name for name, axes in LAYOUTS.items() if len(axes) == len(shape) and shape[axes.index(1)] in (3, None)]
    if wanted is not None:
        if wanted not in fitting:
            raise SettingsError(f"layout: got {wanted}, but input '{foreign.input}' is {shown(shape)}")
        fitting = [wanted]
    certain = [name for name in fitting if shape[LAYOUTS[name].index(1)] == 3]
    chosen = fitting if len(fitting) == 1 else certain
    if not fitting:
        raise ModelFileError(
            f"{foreign.path}: input '{foreign.input}' is {shown(shape)}, expected one of 3 channels: 1 x 3 x H x W or "
            "1 x H x W x 3"
        )
    if len(chosen) != 1:
        raise SettingsError(
            f"layout: input '{foreign.input}' is {shown(shape)}, which may be {' or '.join(fitting)}: give --layout"
        )
    if len(shape) == 4 and shape[0] not in (1, None):
        raise ModelFileError(
            f"{foreign.path}: takes {shape[0]} pictures at once, expected 1: export it for a batch of one"
        )
    return chosen[0]


def _size(foreign: ForeignGraph, layout: str, wanted: tuple[int, int] | None) -> tuple[int, int]:
    axes = LAYOUTS[layout]
    fixed = tuple(foreign.shape[axes.index(axis)] for axis in (2, 3))
    if wanted is None:
        if None in fixed:
            raise SettingsError(
                f"input_size: input '{foreign.input}' of {foreign.path} is {shown(foreign.shape)}, of any size: "
                "give one with --input-size H W"
            )
        wanted = (int(fixed[0] or 0), int(fixed[1] or 0))
    if any(side not in (None, given) for side, given in zip(fixed, wanted, strict=True)):
        raise SettingsError(
            f"input_size: got {wanted}, but input '{foreign.input}' is {shown(foreign.shape)}: leave --input-size out"
        )
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in wanted):
        raise SettingsError(f"input_size: got {wanted}, expected height and width of {MIN_SIDE} to {MAX_SIDE} pixels")
    return wanted


def _normalization(foreign: ForeignGraph, options: PictureOptions) -> tuple[Normalization, tuple[str, ...]]:
    takes_bytes = Normalization(*AS_THEY_ARE, None, "the input's type is uint8") if foreign.kind == "uint8" else None
    found = _given(options) or normalization_beside(foreign.path) or own_normalization(foreign) or takes_bytes
    if found is None:
        advice = "give --mean, --std and --pixel-range where it is not so"
        said = f"mean, std, range: ImageNet's of pixels 0..1 taken, the default: {_MATTERS}: {advice}"
        mean, std = (triple(values[:: -1 if options.color == "bgr" else 1]) for values in IMAGENET)
        return Normalization(255.0, mean, std, None, "the default"), (said,)
    if takes_bytes is not None and not found.changes_nothing:
        raise SettingsError(
            f"mean, std, pixel_range: input '{foreign.input}' takes bytes, got {found}, {found.where}: leave them out"
        )
    return found, (f"mean, std, range: {found}, {found.where}",)


def _given(options: PictureOptions) -> Normalization | None:
    values = (options.mean, options.std, options.pixel_range)
    if values == (None, None, None):
        return None
    if (options.mean is None) != (options.std is None):
        raise SettingsError(f"mean, std: got {options.mean} and {options.std}, expected both or neither")
    if options.std is not None and not all(np.isfinite(options.std) & (np.array(options.std) > 0)):
        raise SettingsError(f"std: got {options.std}, expected numbers above 0")
    mean, std = options.mean or (0.0, 0.0, 0.0), options.std or (1.0, 1.0, 1.0)
    pixel_range = options.pixel_range
    if pixel_range is None:
        # Nobody takes 123.675 off a pixel of 0..1, nor 0.485 off one of 0..255.
        pixel_range = 255.0 if max(map(abs, mean)) > 1.5 or max(std) > 1.5 else 1.0
    return Normalization(255.0 / pixel_range, mean, std, None, "given")
