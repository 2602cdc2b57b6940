import cv2
import numpy as np
import pytest

from dannet_core.data.image_header import ImageHeader, read_header
from dannet_core.errors import ImageError

PICTURE = np.random.default_rng(0).integers(0, 256, (70, 101, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("suffix", "picture", "expected"),
    [
        (".png", PICTURE, ImageHeader(70, 101, 3, 8)),
        (".png", PICTURE[..., 0], ImageHeader(70, 101, 1, 8)),
        (".png", PICTURE[..., 0].astype(np.uint16), ImageHeader(70, 101, 1, 16)),
        (".png", np.dstack([PICTURE, PICTURE[..., 0]]), ImageHeader(70, 101, 4, 8)),
        (".jpg", PICTURE, ImageHeader(70, 101, 3, 8)),
        (".jpg", PICTURE[..., 0], ImageHeader(70, 101, 1, 8)),
    ],
)
def test_reads_size_channels_and_depth_without_decoding(tmp_path, suffix, picture, expected):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), picture)
    assert read_header(path) == expected


def test_reads_progressive_jpegs_and_skips_long_segments_before_the_size(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    pillow.fromarray(PICTURE).save(tmp_path / "a.jpg", progressive=True, icc_profile=bytes(200_000))
    assert read_header(tmp_path / "a.jpg").size == (70, 101)


def test_a_palette_counts_as_colours(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    pillow.fromarray(PICTURE).quantize(16).save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png").channels == 3


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_data_behind_the_end_is_allowed_and_a_missing_end_is_not(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), PICTURE)
    whole = path.read_bytes()
    path.write_bytes(whole + b"trailer")
    assert read_header(path).size == (70, 101)
    path.write_bytes(whole[:-40])
    with pytest.raises(ImageError, match="cut off before its end"):
        read_header(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_more_padding_than_usual_is_looked_behind(tmp_path, suffix):
    """Buffers of a fixed size, as cameras send them, saved as they came."""
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), PICTURE)
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(70_000))
    assert read_header(path) == ImageHeader(70, 101, 3, 8)
    path.write_bytes(whole[: len(whole) // 2] + bytes(70_000))
    with pytest.raises(ImageError, match=r"a\.\w+: .*: copy the file again"):
        read_header(path)


def test_fill_bytes_between_the_parts_of_a_jpeg_are_skipped(tmp_path):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), PICTURE)
    whole = path.read_bytes()
    table = whole.index(b"\xff\xdb")
    path.write_bytes(whole[:table] + b"\xff\xff\xff" + whole[table:])
    assert read_header(path) == ImageHeader(70, 101, 3, 8)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty file"),
        (b"GIF89a", "neither PNG nor JPEG"),
        (b"\x89PNG\r\n\x1a\n\0\0", "damaged image header"),
        (b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\0\0\0\1\0\0\0\1\x08\x09", "damaged image header"),
        (b"\xff\xd8\xff\xe0", "damaged image header"),
    ],
)
def test_what_is_no_image_is_one_line(tmp_path, content, said):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=said) as caught:
        read_header(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"absent\.png: cannot read: No such file"):
        read_header(tmp_path / "absent.png")
