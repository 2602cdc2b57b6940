"""JPEG and PNG bytes of a message to pixels, after looking at what the bytes and the format claim."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError
from dannet_core.formats import jpeg, png
from dannet_core.formats.image_files import decode_jpeg, decode_png
from dannet_core.inference.camera_image import CameraImage
from dannet_core.pixels import MAX_SIDE, MIN_SIDE, Rgb
from dannet_ros.compressed_format import read_format

MAX_PIXELS: Final = 64_000_000
"""Largest picture that is decoded, in pixels (192 MB of RGB): a few kilobytes of PNG can unfold into gigabytes."""

_GREY_PNG: Final = 0


def decode(data: npt.NDArray[np.uint8], form: str = "") -> Rgb:
    """See `decode_camera`; a mosaic is turned into colours as a raw one is."""
    return decode_camera(data, form).to_rgb()


def decode_camera(data: npt.NDArray[np.uint8], form: str = "") -> CameraImage:
    """Decode one JPEG or PNG.

    The size is read from the file's own header first, and its end is looked for, because decoders fill the missing part
    of a truncated JPEG with grey and say so only on stderr. EXIF rotation is not applied: labels have to match the
    camera's geometry.

    Args:
        data: 1-D uint8.
        form: what the message's ``format`` says; empty = nothing.

    Returns:
        RGB pixels, or the mosaic where ``form`` says that the camera's pixels lie in the file as they came.

    Raises:
        ImageError: not a JPEG or PNG, truncated, damaged, not 8-bit, transparent, or of a size that is refused.
    """
    said = read_format(form)
    try:
        rgb, grey = _pixels(data)
    except ImageError as error:
        raise ImageError(f"data: {error}") from error
    if not said.bayer:
        return CameraImage.from_rgb(rgb)
    if said.colors_inside:
        if grey:
            raise ImageError(f"format: says that {said.bayer} was turned into colours, but the picture is grey")
        return CameraImage.from_rgb(rgb)
    mosaic = np.ascontiguousarray(rgb[:, :, 1])
    if not grey and not (mosaic[:, :, None] == rgb).all():
        return CameraImage.from_rgb(rgb)  # colours, whatever the camera's own pixels were
    height, width = mosaic.shape
    return CameraImage(mosaic.reshape(-1), height, width, width, said.bayer)


def _pixels(data: npt.NDArray[np.uint8]) -> tuple[Rgb, bool]:
    """RGB, and whether the file holds one channel."""
    head = data[: len(png.START)].tobytes()
    if head.startswith(jpeg.START):
        of_jpeg = jpeg.read_jpeg(data)
        _check_size("JPEG", of_jpeg.height, of_jpeg.width)
        return decode_jpeg(data, of_jpeg, upright=False), len(of_jpeg.components) == 1
    if head == png.START:
        of_png = png.read_png(data)
        _check_size("PNG", of_png.height, of_png.width)
        if of_png.bits > 8:
            raise ImageError("PNG of 16 bits, expected 8: mono16, 16UC1 and rgb16 are refused in raw pictures too")
        return decode_png(data, of_png, upright=False), of_png.color_type == _GREY_PNG
    raise ImageError(f"got {len(data)} bytes starting with {head.hex(' ') or 'nothing'}, expected JPEG or PNG")


def _check_size(kind: str, height: int, width: int) -> None:
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE) or height * width > MAX_PIXELS:
        raise ImageError(
            f"{kind} of {width}x{height} pixels, expected sides of {MIN_SIDE} to {MAX_SIDE} "
            f"and at most {MAX_PIXELS // 1_000_000} megapixels"
        )
