"""JPEG and PNG bytes of a message to pixels, after looking at what the bytes and the format claim."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError
from dannet_core.formats import jpeg, png
from dannet_core.formats.image_files import decode_deep_png, decode_jpeg, decode_png
from dannet_core.inference.camera_image import CameraImage
from dannet_core.pixels import MAX_SIDE, MIN_SIDE, Rgb
from dannet_core.tone import ToneMapper
from dannet_ros.compressed_format import Format, read_format

Pixels = npt.NDArray[Any]
"""H x W x 3 uint8 or uint16 RGB; of a grey picture of 16 bits H x W."""

MAX_PIXELS: Final = 64_000_000
"""Largest picture that is decoded, in pixels (192 MB of RGB): a few kilobytes of PNG can unfold into gigabytes."""

NO_TONE: Final = "how many of 16 bits count is known of a camera, not of a picture: pass ToneMapper(ToneSettings(...))"

_GREY_PNG: Final = 0


def decode(data: npt.NDArray[np.uint8], form: str = "") -> Rgb:
    """See `decode_camera`; a mosaic is turned into colours as a raw one is."""
    return decode_camera(data, form).to_rgb()


def decode_camera(data: npt.NDArray[np.uint8], form: str = "", tone: ToneMapper | None = None) -> CameraImage:
    """Decode one JPEG or PNG.

    The size is read from the file's own header first, and its end is looked for, because decoders fill the missing part
    of a truncated JPEG with grey and say so only on stderr. EXIF rotation is not applied: labels have to match the
    camera's geometry.

    Args:
        data: 1-D uint8.
        form: what the message's ``format`` says; empty = nothing.
        tone: what makes bytes of the samples of a PNG of 16 bits; None = they are refused.

    Returns:
        RGB or grey pixels, or the mosaic where ``form`` says that the camera's pixels lie in the file as they came.

    Raises:
        ImageError: not a JPEG or PNG, truncated, damaged, transparent, of a size or of samples that are refused, or
            of another depth than ``form`` says.
    """
    said = read_format(form)
    try:
        pixels, grey = _pixels(data)
    except ImageError as error:
        raise ImageError(f"data: {error}") from error
    bits = 8 * pixels.itemsize
    if said.bits not in (0, bits):
        raise ImageError(f"format: says {said.bits} bits a sample, but the picture has {bits}")
    mosaic = _mosaic(pixels, grey, said)
    if bits > 8:
        if tone is None:
            raise ImageError(f"data: got {bits} bits a sample, expected 8, or a ToneMapper: {NO_TONE}")
        samples, name = (pixels, "") if mosaic is None else (mosaic, said.bayer)
        return CameraImage.from_samples(samples, tone, name)
    if mosaic is None:
        return CameraImage.from_rgb(pixels)
    height, width = mosaic.shape
    return CameraImage(mosaic.reshape(-1), height, width, width, said.bayer)


def _mosaic(pixels: Pixels, grey: bool, said: Format) -> Pixels | None:
    """The camera's own samples, H x W; None where they are none, or have been turned into colours."""
    if not said.bayer:
        return None
    if said.colors_inside:
        if grey:
            raise ImageError(f"format: says that {said.bayer} was turned into colours, but the picture is grey")
        return None
    mosaic = np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[:, :, 1])
    if not grey and not (mosaic[:, :, None] == pixels).all():
        return None  # colours, whatever the camera's own pixels were
    return mosaic


def _pixels(data: npt.NDArray[np.uint8]) -> tuple[Pixels, bool]:
    """The pixels, and whether the file holds one channel."""
    head = data[: len(png.START)].tobytes()
    if head.startswith(jpeg.START):
        of_jpeg = jpeg.read_jpeg(data)
        _check_size("JPEG", of_jpeg.height, of_jpeg.width)
        return decode_jpeg(data, of_jpeg, upright=False), len(of_jpeg.components) == 1
    if head == png.START:
        of_png = png.read_png(data)
        _check_size("PNG", of_png.height, of_png.width)
        if of_png.bits > 8:
            samples = decode_deep_png(data, of_png, upright=False)
            return samples, samples.ndim == 2
        return decode_png(data, of_png, upright=False), of_png.color_type == _GREY_PNG
    raise ImageError(f"got {len(data)} bytes starting with {head.hex(' ') or 'nothing'}, expected JPEG or PNG")


def _check_size(kind: str, height: int, width: int) -> None:
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE) or height * width > MAX_PIXELS:
        raise ImageError(
            f"{kind} of {width}x{height} pixels, expected sides of {MIN_SIDE} to {MAX_SIDE} "
            f"and at most {MAX_PIXELS // 1_000_000} megapixels"
        )
