"""Files that are not what they look like: deep, transparent, cut off, in other colours."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from dannet_core.errors import ImageError
from dannet_core.formats.image_files import decode_image
from dannet_core.pixels import read_rgb


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def grey(most: int = 255) -> np.ndarray:
    return np.linspace(0, most, 80 * 90).round().astype(np.uint16).reshape(80, 90)


def encode(picture: Image.Image, form: str, **options: object) -> np.ndarray:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return array(file.getvalue())


def png(samples: np.ndarray, *chunks: tuple[bytes, bytes]) -> np.ndarray:
    """A PNG with ``chunks`` behind its header."""
    data = cv2.imencode(".png", samples)[1].tobytes()
    more = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return array(data[:33] + more + data[33:])


def tiff(rows: bytes, size: tuple[int, int], bits: int, big: bool = False, order: str = "<", **tags: int) -> np.ndarray:
    """An uncompressed TIFF of one grey strip, packed as the caller did; ``tags`` by name."""
    numbers = {"photometric": 262, "max_sample": 281, "format": 339}
    values = {256: size[1], 257: size[0], 258: bits, 259: 1, 262: 1, 273: 0, 277: 1, 278: size[0], 279: len(rows)}
    values |= {numbers[name]: value for name, value in tags.items()}
    entry = 20 if big else 12
    values[273] = (16 + 8 + 8 if big else 8 + 2 + 4) + entry * len(values)
    out = (b"II" if order == "<" else b"MM") + struct.pack(order + "HHHQ" if big else order + "HI", 43 if big else 42,
                                                           *((8, 0, 16) if big else (8,)))  # fmt: skip
    out += struct.pack(order + ("Q" if big else "H"), len(values))
    for tag, value in sorted(values.items()):
        out += struct.pack(order + ("HHQI4x" if big else "HHII"), tag, 4, 1, value)
    return array(out + bytes(8 if big else 4) + rows)


def test_samples_that_fill_16_bits_lose_the_lower_half():
    for deep in (grey(65535), grey(40000), grey(255) * 257, grey(99) * 257):
        for data in (png(deep), tiff(deep.tobytes(), deep.shape, 16)):
            np.testing.assert_array_equal(decode_image(data), np.dstack([deep >> 8] * 3))


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_a_declared_depth_scales_what_lies_at_the_lower_end(bits):
    deep = grey((1 << bits) - 1)
    expected = np.dstack([deep >> (bits - 8)] * 3)
    np.testing.assert_array_equal(decode_image(png(deep, (b"sBIT", bytes([bits])))), expected)
    for order, big in (("<", False), (">", False), ("<", True)):
        rows = deep.astype(f"{order}u2").tobytes()
        data = tiff(rows, deep.shape, 16, big, order, max_sample=(1 << bits) - 1)
        np.testing.assert_array_equal(decode_image(data), expected)
    color = np.dstack([deep, deep // 2, deep // 4])
    data = png(np.ascontiguousarray(color[:, :, ::-1]), (b"sBIT", bytes([bits] * 3)))
    np.testing.assert_array_equal(decode_image(data), color >> (bits - 8))


def test_a_declared_depth_that_is_scaled_already_is_not_scaled_again():
    deep = grey(4095) << 4
    np.testing.assert_array_equal(decode_image(png(deep, (b"sBIT", b"\x0c"))), np.dstack([deep >> 8] * 3))
    dark = grey(9000)
    np.testing.assert_array_equal(decode_image(png(dark, (b"sBIT", b"\x10"))), np.dstack([dark >> 8] * 3))


@pytest.mark.parametrize(("most", "bits"), [(200, 8), (1023, 10), (4095, 12), (16383, 14), (30000, 15)])
def test_an_undeclared_depth_is_refused_never_read_as_black(most, bits):
    for data, kind in ((png(grey(most)), "PNG"), (tiff(grey(most).tobytes(), (80, 90), 16), "TIFF")):
        with pytest.raises(
            ImageError, match=rf"{kind} of 16 bits whose samples end at {most}: {bits} bits in 16, or dark"
        ):
            decode_image(data)


def test_packed_12_bits_are_scaled():
    deep = grey(4095).astype(np.uint32).reshape(-1)
    even, odd = deep[0::2], deep[1::2]
    rows = np.stack([even >> 4, (even & 15) << 4 | odd >> 8, odd & 255], axis=1).astype(np.uint8).tobytes()
    try:
        got = decode_image(tiff(rows, (80, 90), 12))
    except ImageError as error:  # older OpenCV
        assert "expected PNG" in str(error)  # noqa: PT017
    else:
        np.testing.assert_array_equal(got[:, :, 0].reshape(-1), deep >> 4)


def test_other_samples_are_refused():
    with pytest.raises(ImageError, match=r"int16 samples, expected 8 or 16 bits without sign|expected PNG"):
        decode_image(tiff(grey(255).tobytes(), (80, 90), 16, format=2))
    with pytest.raises(ImageError, match=r"float32|expected PNG"):
        decode_image(tiff(grey(255).astype(np.float32).tobytes(), (80, 90), 32, format=3))
    with pytest.raises(ImageError, match="photometric interpretation 32803"):
        decode_image(tiff(grey(255).astype(np.uint8).tobytes(), (80, 90), 8, photometric=32803))
    with pytest.raises(ImageError, match="0 is white"):
        decode_image(tiff(grey(65535).tobytes(), (80, 90), 16, photometric=0))


def test_white_is_zero_is_turned_over_in_8_bits():
    levels = grey(255).astype(np.uint8)
    np.testing.assert_array_equal(
        decode_image(tiff((255 - levels).tobytes(), (80, 90), 8, photometric=0)), np.dstack([levels] * 3)
    )


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("GIF", {})])
def test_transparent_pixels_are_refused_and_opaque_ones_are_not(night_rgb, form, options):
    alpha = np.full(night_rgb.shape[:2], 255, np.uint8)
    opaque = encode(Image.fromarray(np.dstack([night_rgb, alpha])), form, **options)
    if form != "GIF":
        np.testing.assert_array_equal(decode_image(opaque), night_rgb)
    alpha[:60] = 0
    with pytest.raises(ImageError, match="transparent in 50% of its pixels"):
        decode_image(encode(Image.fromarray(np.dstack([night_rgb, alpha])), form, **options))


def test_grey_with_alpha_and_palettes_keep_their_colours(night_rgb):
    levels = night_rgb[:, :, 0]
    with_alpha = Image.merge("LA", [Image.fromarray(levels), Image.new("L", levels.shape[::-1], 255)])
    np.testing.assert_array_equal(decode_image(encode(with_alpha, "PNG")), np.dstack([levels] * 3))
    with_palette = Image.fromarray(night_rgb).quantize(64)
    np.testing.assert_array_equal(decode_image(encode(with_palette, "PNG")), np.asarray(with_palette.convert("RGB")))
    with pytest.raises(ImageError, match="transparent in"):
        decode_image(encode(with_palette, "PNG", transparency=int(np.asarray(with_palette)[0, 0])))


def test_cmyk_is_right_with_the_marker_that_says_how_and_refused_without(night_rgb):
    data = encode(Image.fromarray(night_rgb).convert("CMYK"), "JPEG", quality=95).tobytes()
    assert np.abs(decode_image(array(data)).astype(int) - night_rgb).mean() < 6
    at = data.index(b"\xff\xee")
    without = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    with pytest.raises(ImageError, match="CMYK JPEG without Adobe's marker"):
        decode_image(array(without))


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP", "TIFF", "GIF"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.95, 0.999])
def test_a_file_that_is_cut_off_is_refused(night_rgb, form, kept, capfd):
    data = encode(Image.fromarray(night_rgb), form)
    with pytest.raises(ImageError):
        decode_image(data[: int(len(data) * kept)])
    capfd.readouterr()  # OpenCV has its say too


def test_what_follows_a_png_changes_nothing(night_rgb):
    data = cv2.imencode(".png", night_rgb[:, :, ::-1])[1].tobytes()
    for behind in (bytes(100), b"\xff" * 100, data, b"\n"):
        np.testing.assert_array_equal(decode_image(array(data + behind)), night_rgb)


def test_a_byte_of_a_png_that_changed_is_noticed(night_rgb, capfd):
    data = cv2.imencode(".png", night_rgb)[1].ravel()
    rng = np.random.default_rng(0)
    for at in rng.integers(8, len(data), 200):
        changed = data.copy()
        changed[at] ^= rng.integers(1, 256)
        with pytest.raises(ImageError, match=r"(damaged|truncated) PNG|PNG of|transparent"):
            decode_image(changed)
    capfd.readouterr()


def test_files_are_turned_as_exif_says_and_messages_are_not(night_rgb, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(night_rgb).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    assert read_rgb(tmp_path / "turned.jpg").shape == (200, 120, 3)
    assert decode_image(np.fromfile(tmp_path / "turned.jpg", np.uint8), upright=False).shape == (120, 200, 3)


def test_the_file_is_named(tmp_path, night_rgb):
    Image.fromarray(night_rgb).save(tmp_path / "cut.jpg")
    data = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[:900])
    with pytest.raises(ImageError, match=r"cut\.jpg: not a readable image: truncated JPEG of 900 bytes"):
        read_rgb(tmp_path / "cut.jpg")
