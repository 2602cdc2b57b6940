"""Whatever bytes and format a CompressedImage has: the right picture or an ImageError, nothing else.

DANNET_FUZZ_MESSAGES says how many examples.
"""

from __future__ import annotations

import io
import os
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("hypothesis", reason="hypothesis makes the messages")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dannet_core.errors import ImageError
from dannet_core.tone import ToneMapper, curve
from dannet_ros.conversions import compressed_to_rgb

EXAMPLES = int(os.environ.get("DANNET_FUZZ_MESSAGES", "150"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == 150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    database=None,
)
EOI = b"\xff\xd9"
NEUTRAL = [
    "",
    "jpeg",
    "png",
    "jpg",
    "rgb8; jpeg compressed bgr8",
    "bgr8; png compressed bgr8",
    "mono8; jpeg compressed ",
]
REFUSED = [
    "16UC1; png compressed ", "mono16; jpeg compressed ", "32FC1; png compressed", "16UC1; compressedDepth png", "zstd",
    "h264", "nv12", "bayer_rggb16; png compressed ", "rgb16; png compressed bgr16", "mono16; png compressed ", "16SC1",
    "compressedDepth",
]  # fmt: skip
BEHIND = st.one_of(
    st.sampled_from([b"", bytes(300), b"\xff" * 300, b"\r\n", EOI, EOI * 3, b"\xff\xd8\xff"]), st.binary(max_size=300)
)


def picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rgb = cv2.GaussianBlur(rng.integers(0, 256, (70 + seed, 90, 3), dtype=np.uint8), (0, 0), 2)
    return np.clip(rgb.astype(int) * 2 - 128 + rng.integers(-5, 6, rgb.shape), 0, 255).astype(np.uint8)


def jpeg(rgb: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).convert(options.pop("mode", "RGB")).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


JPEGS = [
    jpeg(picture(seed), **options)
    for seed, options in enumerate(
        [
            {}, {"subsampling": 0}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 2},
            {"mode": "L"}, {"mode": "CMYK"}, {"exif": b"Exif\0\0" + jpeg(picture(0)) + EOI},
            {"progressive": True, "mode": "L"},
        ]
    )
]  # fmt: skip
PNGS = [
    cv2.imencode(".png", picture(seed)[:, :, channels])[1].tobytes()
    for seed, channels in enumerate([[0, 1, 2], 0, [2, 2, 2]])
]


def read(data: bytes, form: str) -> np.ndarray | None:
    """The picture; None = refused in one line. Anything else raised fails the test."""
    try:
        return compressed_to_rgb(SimpleNamespace(format=form, data=data), ToneMapper())
    except ImageError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 400
    return None


def is_right_or_refused(data: bytes, form: str, whole: bytes) -> None:
    got = read(data, form)
    if got is not None:
        np.testing.assert_array_equal(got, read(whole, ""))


@FUZZ
@given(st.sampled_from(JPEGS + PNGS), BEHIND, st.sampled_from(NEUTRAL))
def test_a_whole_picture_is_taken_whatever_follows_it(whole: bytes, behind: bytes, form: str) -> None:
    got = read(whole + behind, form)
    assert got is not None
    np.testing.assert_array_equal(got, read(whole, ""))


@FUZZ
@given(
    st.sampled_from(JPEGS + PNGS), st.data(), st.sampled_from([b"", EOI, EOI + bytes(9), b"\xff" * 99, b"\xff\xff\xd9"])
)
def test_a_picture_that_is_cut_off_is_refused_or_right(whole: bytes, data: Any, behind: bytes) -> None:
    kept = data.draw(st.integers(0, len(whole) - 3))
    is_right_or_refused(whole[:kept] + behind, "", whole)


@FUZZ
@given(st.sampled_from(JPEGS), st.sampled_from(JPEGS), st.data())
def test_the_next_picture_in_the_buffer_does_not_complete_this_one(one: bytes, other: bytes, data: Any) -> None:
    first_scan = one.rindex(b"\xff\xda") + 14
    is_right_or_refused(one[: data.draw(st.integers(first_scan, len(one) - 3))] + other, "", one)


@FUZZ
@given(st.sampled_from(PNGS), st.lists(st.tuples(st.integers(0, 60_000), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_png_with_other_bytes_is_refused_or_right(whole: bytes, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(whole)
    for at, change in changes:
        changed[at % len(changed)] ^= change
    is_right_or_refused(bytes(changed), "", whole)


@FUZZ
@given(
    st.sampled_from(JPEGS), st.lists(st.tuples(st.integers(0, 60_000), st.binary(max_size=4)), min_size=1, max_size=4)
)
def test_a_jpeg_with_other_bytes_has_its_size_or_is_refused(whole: bytes, changes: list[tuple[int, bytes]]) -> None:
    """Nothing in a JPEG tells changed data from others; what must hold is that nothing else is raised."""
    changed = bytearray(whole)
    for at, change in changes:
        changed[at % len(changed) : at % len(changed) + len(change)] = change
    got = read(bytes(changed), "")
    assert got is None or (got.dtype == np.uint8 and got.shape[2] == 3 and min(got.shape[:2]) >= 64)


@FUZZ
@given(st.sampled_from(JPEGS + PNGS), st.one_of(st.sampled_from(REFUSED), st.sampled_from(REFUSED).map(str.lower)))
def test_formats_of_other_pixels_are_always_refused(whole: bytes, form: str) -> None:
    assert read(whole, form) is None


@FUZZ
@given(st.one_of(st.sampled_from(JPEGS + PNGS), st.binary(max_size=300)), st.text(max_size=60))
def test_any_text_as_format_gives_the_picture_or_an_error(data: bytes, form: str) -> None:
    got = read(data, form)
    if got is not None and "bayer" not in form.lower():
        np.testing.assert_array_equal(got, read(data, ""))


@FUZZ
@given(st.sampled_from([10, 12, 14, 16]), st.sampled_from(NEUTRAL), st.integers(0, 2**16 - 1), st.booleans())
def test_deep_samples_are_read_unless_the_format_contradicts(bits: int, form: str, seed: int, color: bool) -> None:
    shape = (64, 80, 3) if color else (64, 80)
    samples = np.random.default_rng(seed).integers(0, 1 << bits, shape, dtype=np.uint16)
    samples[0, 0] = (1 << bits) - 1
    got = read(cv2.imencode(".png", samples)[1].tobytes(), form)
    if "8" in form:
        assert got is None
        return
    assert got is not None
    expected = curve("gamma", bits)[samples]
    np.testing.assert_array_equal(got, expected[:, :, ::-1] if color else np.dstack([expected] * 3))
