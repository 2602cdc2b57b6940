"""Pixels: colour order, normalisation, colouring of labels. NumPy and OpenCV, no models."""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.atomic_files import write_whole
from dannet_core.class_set import CITYSCAPES
from dannet_core.errors import ImageError
from dannet_core.formats.image_files import ReadDeep, decode_image

Rgb = npt.NDArray[np.uint8]
"""H x W x 3 uint8, red first."""
Labels = npt.NDArray[np.uint8]
"""H x W uint8 train ids 0..18, 255 = unknown."""

IMAGENET_MEAN: Final = np.array([0.485, 0.456, 0.406], dtype=np.float32)
IMAGENET_STD: Final = np.array([0.229, 0.224, 0.225], dtype=np.float32)
"""RGB mean and standard deviation of pixels scaled to 0..1, as every network here expects them."""
BYTE_SCALE: Final = IMAGENET_STD * 255
BYTE_OFFSET: Final = IMAGENET_MEAN * 255
"""A normalised value times the one plus the other is a byte."""

MIN_SIDE: Final = 64
MAX_SIDE: Final = 16384
"""Smallest and largest image side in pixels that is accepted."""


Colormap = npt.NDArray[np.uint8]
"""256 x 3 uint8 RGB by train id, see `dannet_core.class_set.ClassSet`."""
COLORMAP: Final = CITYSCAPES.colormap
"""Cityscapes colours, black for everything else (255 included)."""


def check_rgb(image: object) -> Rgb:
    """Return ``image`` if it is an H x W x 3 uint8 array with sides of 64 to 16384 pixels.

    Raises:
        ImageError: anything else, saying what was got.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(f"image: got {type(image).__name__}, expected an H x W x 3 uint8 RGB numpy array")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(f"image: got shape {image.shape} {image.dtype}, expected H x W x 3 uint8 RGB")
    height, width = image.shape[:2]
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        raise ImageError(f"image: got {width}x{height} pixels, expected sides of {MIN_SIDE} to {MAX_SIDE}")
    return cast("Rgb", image)


def normalize(rgb: Rgb) -> npt.NDArray[np.float32]:
    """H x W x 3 uint8 RGB to 1 x 3 x H x W float32, ImageNet-normalised."""
    out = np.empty((1, 3, *rgb.shape[:2]), dtype=np.float32)
    # One table look-up per byte is faster than a multiply and add on floats, and exact.
    for plane, table, target in zip(cv2.split(rgb), NORMALIZED, out[0], strict=True):
        cv2.LUT(plane, table, dst=target)
    return out


def denormalize(image: npt.NDArray[np.float32]) -> Rgb:
    """3 x H x W float32, ImageNet-normalised RGB, to H x W x 3 uint8 RGB; values outside 0..255 are clipped."""
    scaled = image.transpose(1, 2, 0) * BYTE_SCALE + BYTE_OFFSET
    return np.asarray(np.clip(np.rint(scaled), 0, 255), dtype=np.uint8)


def colorize(labels: Labels, out: Rgb | None = None, colormap: Colormap = COLORMAP) -> Rgb:
    """Labels to the colours of their classes: H x W uint8 train ids to H x W x 3 uint8 RGB, 255 to black.

    Args:
        labels: H x W uint8.
        out: where to write, H x W x 3 uint8 and contiguous; None = a new array.
        colormap: of the class set; Cityscapes' unless another is given.
    """
    colored = cv2.applyColorMap(labels, colormap[:, None, :], dst=out)
    return np.asarray(colored, dtype=np.uint8)


def overlay(rgb: Rgb, labels: Labels, alpha: float = 0.5, colormap: Colormap = COLORMAP, out: Rgb | None = None) -> Rgb:
    """Blend the label colours over a picture: ``(1 - alpha) * rgb + alpha * colour``; both H x W, alpha in 0..1.

    ``out`` is where to write, H x W x 3 uint8 and contiguous; None = a new array.
    """
    if not 0.0 <= alpha <= 1.0:
        raise ImageError(f"alpha: got {alpha}, expected 0 (picture only) to 1 (colours only)")
    if rgb.shape[:2] != labels.shape:
        raise ImageError(f"overlay: got a picture of {rgb.shape[:2]} and labels of {labels.shape}, expected one size")
    colors = colorize(labels, colormap=colormap)
    return np.asarray(cv2.addWeighted(rgb, 1.0 - alpha, colors, alpha, 0.0, dst=out), dtype=np.uint8)


def read_rgb(path: str | Path, deep: ReadDeep | None = None) -> Rgb:
    """Read an image file as H x W x 3 uint8 RGB, EXIF rotation applied; see `dannet_core.formats.image_files`.

    ``deep`` makes bytes of samples of 16 bits; None = as the file declares them.

    Raises:
        ImageError: the file is missing, not a readable image, cut off, of unknown depth, or with transparent pixels.
    """
    if not Path(path).is_file():
        raise ImageError(f"{path}: no such image file")
    try:
        return decode_image(np.fromfile(path, np.uint8), deep=deep)
    except OSError as error:
        raise ImageError(f"{path}: cannot read: {error.strerror}") from error
    except ImageError as error:
        raise ImageError(f"{path}: not a readable image: {error}") from error


def write_png(path: str | Path, image: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    """Write H x W (grey) or H x W x 3 (RGB) as PNG; the file appears whole or not at all.

    Raises:
        ImageError: the array is neither.
        OutputError: the folder cannot be written to.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    ok, data = cv2.imencode(".png", bgr)
    if not ok:
        raise ImageError(f"{path}: cannot encode {image.shape} {image.dtype} as PNG")
    write_whole(path, data.tobytes())


NORMALIZED: Final = (
    (np.arange(256, dtype=np.float32)[None] / 255 - IMAGENET_MEAN[:, None]) / IMAGENET_STD[:, None]
).astype(np.float32)
"""3 x 256 float32: what each byte of red, green and blue is normalised to."""
