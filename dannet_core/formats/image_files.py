"""Image files to 8-bit RGB, after looking at what they claim: cut off, deeper than 8 bits or transparent is said."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final, cast

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError
from dannet_core.formats import jpeg, png, tiff

Bytes = npt.NDArray[np.uint8]
Rgb = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.uint16]
ReadDeep = Callable[[Samples], Rgb]
"""What makes H x W x 3 bytes of H x W x 3 samples of 16 bits, whose depth it knows."""

EXPECTED: Final = "expected PNG, JPEG, BMP, TIFF or WebP"
_BMP_START: Final = b"BM"
_TIFF_COLORS: Final = frozenset({0, 1, 2, 3, 5, 6})
"""Photometric interpretations that OpenCV reads right: grey either way round, RGB, palette, CMYK, YCbCr."""
_GREY_AS_BYTES: Final = 257
"""What 8-bit samples are multiplied by to fill 16 bits."""


def decode_image(data: Bytes, upright: bool = True, deep: ReadDeep | None = None) -> Rgb:
    """Decode an image file.

    Args:
        data: 1-D uint8, the bytes of a PNG, JPEG, BMP, TIFF or WebP.
        upright: turn the picture as its EXIF data say.
        deep: what 16-bit samples become, whatever the file declares; None = as below.

    Returns:
        H x W x 3 uint8 RGB. 16-bit samples are scaled by the depth that the file declares (sBIT of a PNG,
        MaxSampleValue of a TIFF), or by 16 bits where the picture uses the upper half of their range.

    Raises:
        ImageError: not such a file, cut off, damaged, of unknown depth, or with transparent pixels.
    """
    head = data[: len(png.START)].tobytes()
    if head.startswith(jpeg.START):
        return decode_jpeg(data, jpeg.read_jpeg(data), upright)
    if head == png.START:
        return decode_png(data, png.read_png(data), upright, deep)
    return _decode_other(data, upright, deep)


def decode_jpeg(data: Bytes, facts: jpeg.Jpeg, upright: bool) -> Rgb:
    """See `decode_image`; ``facts`` are what `jpeg.read_jpeg` read from ``data``."""
    if facts.bits != 8 or len(facts.components) not in (1, 3, 4):
        raise ImageError(
            f"JPEG of {len(facts.components)} x {facts.bits} bits a pixel, expected 8 bits of grey, colour or CMYK"
        )
    if len(facts.components) == 4 and not facts.adobe:
        raise ImageError("CMYK JPEG without Adobe's marker, which says whether 0 is ink or paper: save it as RGB")
    rgb = _decode(facts.decodable(data), "JPEG", (facts.height, facts.width), upright)
    if facts.may_end_early(rgb) and _changes_with_more_data(data, facts):
        raise ImageError(f"truncated JPEG of {len(data)} bytes: its data end before the picture does")
    return rgb


def decode_png(data: Bytes, facts: png.Png, upright: bool, deep: ReadDeep | None = None) -> Rgb:
    """See `decode_image`; ``facts`` are what `png.read_png` read from ``data``."""
    data = data[: facts.end]
    if facts.alpha:
        _refuse_transparent(data)
    if facts.bits < 16:
        return _decode(data, "PNG", (facts.height, facts.width), upright)
    samples = _decode(data, "PNG", (facts.height, facts.width), upright, cv2.IMREAD_ANYDEPTH)
    return _eight_bits(samples, facts.significant_bits, "PNG") if deep is None else deep(samples.astype(np.uint16))


def decode_deep_png(data: Bytes, facts: png.Png, upright: bool) -> Samples:
    """The samples of a PNG of 16 bits, whatever their depth: H x W of a grey one, else H x W x 3 RGB.

    Raises:
        ImageError: damaged, or with transparent pixels.
    """
    data = data[: facts.end]
    if facts.alpha:
        _refuse_transparent(data)
    samples = _decode(data, "PNG", (facts.height, facts.width), upright, cv2.IMREAD_ANYDEPTH).astype(np.uint16)
    return samples if facts.is_color else np.ascontiguousarray(samples[:, :, 0])


def _decode_other(data: Bytes, upright: bool, deep: ReadDeep | None) -> Rgb:
    start = data[:4].tobytes()
    is_tiff = start in tiff.STARTS
    tags = tiff.read_tags(data) if is_tiff else {}
    kind = "TIFF" if is_tiff else "image"
    if tags.get(tiff.PHOTOMETRIC, 1) not in _TIFF_COLORS:
        raise ImageError(f"TIFF of photometric interpretation {tags[tiff.PHOTOMETRIC]}: save it as RGB")
    samples = _imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, upright)
    if samples is None:
        raise ImageError(EXPECTED)
    if not start.startswith(_BMP_START):  # the fourth byte of a bitmap's pixel is nothing in particular
        _refuse_transparent(data)
    if samples.dtype == np.uint8:
        return np.asarray(cv2.cvtColor(samples, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    if samples.dtype != np.uint16:
        raise ImageError(f"{kind} of {samples.dtype} samples, expected 8 or 16 bits without sign: convert it to 8 bits")
    if tags.get(tiff.PHOTOMETRIC) == tiff.WHITE_IS_ZERO:
        raise ImageError("TIFF of 16 bits in which 0 is white: convert it to 8 bits")
    rgb = np.asarray(cv2.cvtColor(samples, cv2.COLOR_BGR2RGB), dtype=np.uint16)
    if tags.get(tiff.BITS_PER_SAMPLE, 16) < 16:  # packed samples; OpenCV moves them up to 16 bits
        return np.asarray(rgb >> 8, dtype=np.uint8)
    return _eight_bits(rgb, _whole_bits(tags.get(tiff.MAX_SAMPLE_VALUE, 0)), kind) if deep is None else deep(rgb)


def _eight_bits(samples: npt.NDArray[np.uint8 | np.uint16], declared: int, kind: str) -> Rgb:
    """Many cameras put 10, 12 or 14 bits into the lower end of 16: read as 16 bits such a picture is black."""
    highest = int(samples.max())
    if 8 <= declared < 16 and highest < 1 << declared:
        return np.asarray(samples >> (declared - 8), dtype=np.uint8)
    fills_16_bits = highest >= 1 << 15 or not (samples % _GREY_AS_BYTES).any()
    if not (declared >= 8 or fills_16_bits):
        raise ImageError(
            f"{kind} of 16 bits whose samples end at {highest}: {max(highest.bit_length(), 8)} bits in 16, or dark? "
            f"declare the depth (PNG: sBIT, TIFF: MaxSampleValue; predict: --bit-depth), or scale it to 16 or 8 bits"
        )
    return np.asarray(samples >> 8, dtype=np.uint8)


def _whole_bits(highest: int) -> int:
    """Bits of the largest sample, where it is the largest of a depth and not just that of a picture."""
    return highest.bit_length() if highest & (highest + 1) == 0 else 0


def _refuse_transparent(data: Bytes) -> None:
    """Colours behind transparency are whatever a program left there."""
    whole = _imdecode(data, cv2.IMREAD_UNCHANGED, upright=False)
    if whole is None or whole.ndim != 3 or whole.shape[2] != 4:
        return
    clear = whole[:, :, 3] != np.iinfo(whole.dtype).max
    if clear.any():
        raise ImageError(f"transparent in {clear.mean():.0%} of its pixels: save it without the alpha channel")


def _changes_with_more_data(data: Bytes, facts: jpeg.Jpeg) -> bool:
    own = _as_pillow_reads(facts.decodable(data))
    return any(not np.array_equal(own, _as_pillow_reads(more)) for more in facts.continued(data))


def _as_pillow_reads(data: Bytes) -> npt.NDArray[np.uint8]:
    """Pixels, or an empty array; unlike OpenCV it does not write the decoder's warnings to stderr."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data.tobytes())) as picture:
            return np.asarray(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return np.empty(0, np.uint8)


def _decode(data: Bytes, kind: str, size: tuple[int, int], upright: bool, flags: int = 0) -> npt.NDArray[np.uint8]:
    bgr = _imdecode(data, cv2.IMREAD_COLOR | flags, upright)
    if bgr is None or (bgr.shape[:2] != size and not (upright and bgr.shape[1::-1] == size)):
        raise ImageError(f"damaged {kind} of {len(data)} bytes")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def _imdecode(data: Bytes, flags: int, upright: bool) -> npt.NDArray[np.uint8] | None:
    try:
        decoded = cv2.imdecode(data, flags if upright else flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return cast("npt.NDArray[np.uint8] | None", decoded)
