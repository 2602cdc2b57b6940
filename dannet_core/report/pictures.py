"""Pictures inside a page: small, and as data URIs."""

from __future__ import annotations

import base64
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.pixels import Rgb

_LOSSLESS: Final = 101
"""cv2 writes WebP without loss above 100."""


def shrink(picture: npt.NDArray[np.uint8], width: int, *, labels: bool = False) -> npt.NDArray[np.uint8]:
    """A picture at most ``width`` pixels wide.

    Args:
        picture: H x W or H x W x 3 uint8.
        width: in pixels.
        labels: values are classes, or their colours, which an average of two would change.
    """
    size = (
        min(width, picture.shape[1]),
        max(1, round(picture.shape[0] * min(width, picture.shape[1]) / picture.shape[1])),
    )
    method = cv2.INTER_NEAREST if labels else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, size, interpolation=method), dtype=np.uint8)


def encode(picture: Rgb, *, labels: bool = False, quality: int = 80) -> bytes:
    """A picture as WebP, or as JPEG or PNG where this OpenCV has no WebP; ``labels`` are kept to the bit."""
    if cv2.haveImageWriter("picture.webp"):
        suffix, options = ".webp", [cv2.IMWRITE_WEBP_QUALITY, _LOSSLESS if labels else quality]
    else:
        suffix, options = (".png", list[int]()) if labels else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])
    _, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    return bytes(data.tobytes())


def data_uri(data: bytes) -> str:
    """An encoded picture as the ``src`` of an ``img``."""
    kinds = {b"RIFF": "webp", b"\x89PNG": "png"}
    return f"data:image/{kinds.get(data[:4], 'jpeg')};base64,{base64.b64encode(data).decode()}"
