"""Camera picture to network input: resize, then normalise."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.errors import SettingsError, require
from dannet_core.pixels import Rgb, normalize

RESIZE_METHODS: Final = ("area", "antialiased")
"""``area``: OpenCV, averages when shrinking, bilinear when enlarging. ``antialiased``: Pillow's bilinear filter, as the
released code's torchvision Resize uses."""
SIZE_MULTIPLE: Final = 8


def network_size(image_size: tuple[int, int], wanted: tuple[int, int] | None) -> tuple[int, int]:
    """The network's input size for a picture: ``wanted``, or the picture's own, rounded to multiples of 8.

    Args:
        image_size: (height, width) of the camera picture.
        wanted: (height, width) to run at; None = the picture's.
    """
    if wanted is not None:
        return wanted
    height, width = (max(64, round(side / SIZE_MULTIPLE) * SIZE_MULTIPLE) for side in image_size)
    return height, width


def preprocess(rgb: Rgb, size: tuple[int, int], resize: str = "area") -> npt.NDArray[np.float32]:
    """H x W x 3 uint8 RGB to 1 x 3 x h x w float32, resized to ``size`` = (h, w) and ImageNet-normalised.

    Raises:
        SettingsError: ``resize`` is not one of `RESIZE_METHODS`.
        MissingPackageError: ``antialiased`` without Pillow.
    """
    return normalize(_resize(rgb, size, resize))


def _resize(rgb: Rgb, size: tuple[int, int], resize: str) -> Rgb:
    if rgb.shape[:2] == size:
        return rgb
    height, width = size
    if resize == "area":
        shrinking = height * width < rgb.shape[0] * rgb.shape[1]
        method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(rgb, (width, height), interpolation=method), dtype=np.uint8)
    if resize == "antialiased":
        pillow = require("PIL.Image", "resize as the released code does", "pip install pillow")
        picture = pillow.fromarray(rgb).resize((width, height), pillow.Resampling.BILINEAR)
        return np.asarray(picture, dtype=np.uint8)
    raise SettingsError(f"resize: got '{resize}', expected one of {', '.join(RESIZE_METHODS)}")
