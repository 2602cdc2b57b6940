"""Where a JPEG ends: every case with the pixels or the words that it must give."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from dannet_core.errors import ImageError
from dannet_core.formats.image_files import decode_image
from dannet_core.formats.jpeg import read_jpeg

EOI = b"\xff\xd9"


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def street(height: int = 96, width: int = 136) -> np.ndarray:
    rng = np.random.default_rng(4)
    rgb = np.full((height, width, 3), (30, 28, 40), np.uint8)
    cv2.circle(rgb, (width // 3, height // 3), 12, (250, 220, 150), -1)
    return np.clip(rgb.astype(int) + rng.integers(-9, 10, rgb.shape), 0, 255).astype(np.uint8)


def encode(rgb: np.ndarray, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).convert(mode).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


VARIANTS = {
    "baseline": {},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "optimised": {"optimize": True},
    "restarts": {"restart_marker_blocks": 3},
    "progressive with restarts": {"progressive": True, "restart_marker_blocks": 5},
    "grey": {"mode": "L"},
    "CMYK": {"mode": "CMYK"},
    "thumbnail in EXIF": {"exif": b"Exif\0\0" + encode(street(64, 64)) * 3},
    "markers in a comment": {"comment": b"\xff\xd8\xff\xd9" * 50},
}


@pytest.fixture(scope="module", params=VARIANTS)
def whole(request) -> bytes:
    return encode(street(), **VARIANTS[request.param])


@pytest.fixture(scope="module")
def plain() -> bytes:
    return cv2.imencode(".jpg", street())[1].tobytes()


def segments(data: bytes) -> list[tuple[int, int, int]]:
    """Marker, start and end of each segment before the first scan's data."""
    at, found = 2, []
    while not found or found[-1][0] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((data[at + 1], at, end))
        at = end
    return found


@pytest.mark.parametrize(
    "behind",
    [b"", bytes(4096), b"\xff" * 4096, b"\r\n", EOI, bytes(range(256)) * 20, encode(street(64, 64)), b"\xff\xd8"],
    ids=["nothing", "zeros", "FF", "newline", "EOI", "stale bytes", "another picture", "its start"],
)
def test_what_follows_the_end_changes_nothing(whole, behind):
    assert read_jpeg(array(whole + behind)).end == len(whole)
    np.testing.assert_array_equal(decode_image(array(whole + behind)), decode_image(array(whole)))


def test_what_is_said_of_a_picture(plain):
    found = read_jpeg(array(plain))
    assert (found.height, found.width, found.bits, len(found.components)) == (96, 136, 8, 3)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9, 0.98, 0.998])
@pytest.mark.parametrize("behind", [b"", EOI], ids=["nothing", "EOI"])
def test_a_picture_that_ends_early_is_refused(whole, kept, behind):
    with pytest.raises(ImageError, match=r"(truncated|damaged) JPEG of \d+ bytes"):
        decode_image(array(whole[: int(len(whole) * kept)] + behind))


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.98])
@pytest.mark.parametrize("behind", [bytes(100), bytes(100) + EOI, bytes(5000) + EOI], ids=["no EOI", "some", "many"])
def test_zeros_do_not_stand_in_for_the_rest(plain, kept, behind):
    with pytest.raises(ImageError, match=r"truncated JPEG of \d+ bytes"):
        decode_image(array(plain[: int(len(plain) * kept)] + behind))


def test_the_next_picture_is_not_the_rest_of_this_one(plain):
    with pytest.raises(ImageError, match="another picture begins before its end"):
        decode_image(array(plain[: len(plain) // 2] + plain))


def test_large_pictures_are_looked_at_only_where_a_corner_is_grey():
    whole = encode(street(600, 804))
    np.testing.assert_array_equal(decode_image(array(whole + bytes(9))), decode_image(array(whole)))
    for kept in (0.3, 0.7, 0.99):
        with pytest.raises(ImageError, match="its data end before the picture does"):
            decode_image(array(whole[: int(len(whole) * kept)] + EOI))


@pytest.mark.parametrize(
    ("size", "options"),
    [((600, 800), {}), ((593, 785), {}), ((594, 786), {"subsampling": 0}), ((600, 801), {"mode": "L"})],
)
def test_only_what_may_be_filled_is_decoded_again(size, options):
    whole = encode(street(*size), **options)
    facts, picture = read_jpeg(array(whole)), street(*size)
    picture[-1, -1] = 121  # the grey of a picture is not that of a decoder
    assert not facts.may_end_early(picture)
    picture[-16:, -16:] = 128
    assert facts.may_end_early(picture)
    assert facts.may_end_early(np.rot90(picture))
    for kept in (0.4, 0.9):
        with pytest.raises(ImageError, match="its data end before the picture does"):
            decode_image(array(whole[: int(len(whole) * kept)] + EOI))


@pytest.mark.parametrize("size", [(96, 136), (600, 800)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
def test_a_grey_picture_is_a_picture(size, options):
    """The very grey that decoders fill with."""
    grey = np.full((*size, 3), 128, np.uint8)
    np.testing.assert_array_equal(decode_image(array(encode(grey, **options))), grey)


def test_missing_huffman_tables_are_the_standard_ones(plain):
    tables = [(start, end) for marker, start, end in segments(plain) if marker == 0xC4]
    assert tables
    kept = zip([0, *(end for _, end in tables)], [*(start for start, _ in tables), len(plain)], strict=True)
    without = b"".join(plain[start:end] for start, end in kept)
    assert read_jpeg(array(without)).missing_tables == {(0, 0), (0, 1), (1, 0), (1, 1)}
    np.testing.assert_array_equal(decode_image(array(without)), decode_image(array(plain)))
    some = plain[: tables[0][0]] + plain[tables[0][1] :]
    np.testing.assert_array_equal(decode_image(array(some)), decode_image(array(plain)))


def test_fill_bytes_may_stand_before_every_marker(plain):
    parts, at = [plain[:2]], 2
    for _, start, end in segments(plain):
        parts.append(plain[at:start] + b"\xff" * 3 + plain[start:end])
        at = end
    filled = b"".join(parts) + plain[at:-2] + b"\xff" * 500 + EOI
    np.testing.assert_array_equal(decode_image(array(filled)), decode_image(array(plain)))


def test_a_lost_interval_is_noticed_although_the_end_is_there():
    whole = encode(street(), restart_marker_blocks=3)
    second, third = whole.index(b"\xff\xd1"), whole.index(b"\xff\xd2")
    with pytest.raises(ImageError, match=r"restart markers, expected \d+ in order"):
        decode_image(array(whole[:second] + whole[third:]))


def test_scans_that_are_not_there_are_missed():
    whole = encode(street(), progressive=True)
    scans = [i for i in range(len(whole) - 1) if whole[i : i + 2] == b"\xff\xda"]
    assert len(scans) > 3
    for scan in scans[1:]:
        with pytest.raises(ImageError, match="before all of its scans are there"):
            read_jpeg(array(whole[:scan] + EOI))


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\xff\x00", b"\xff\xd0", b"\xff\xe0\x00\x02", b"\xff\x01"])
def test_a_large_heap_of_markers_is_refused_at_once(plain, filler):
    with pytest.raises(ImageError, match="JPEG of"):
        read_jpeg(array(plain[:-2] + filler * (3_000_000 // len(filler))))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xe0\x00\x00",
        b"\xff\xd8\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00",
        b"\xff\xd8\xff\xc0\x00\x02",
        b"\xff\xd8\xff\xd8",
        b"\xff\xd8abc",
    ],
)
def test_no_picture_at_all_is_one_error(data):
    with pytest.raises(ImageError, match=r"(truncated|damaged) JPEG of \d+ bytes"):
        read_jpeg(array(data))
