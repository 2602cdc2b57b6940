"""Pictures of two bytes a sample: each is its sibling of one byte, once a table made one of two."""

import numpy as np
import pytest

from dannet_core.errors import ImageError
from dannet_core.inference.camera_image import DEEP_ENCODINGS, ENCODINGS, CameraImage
from dannet_core.tone import ToneMapper, ToneSettings, curve

HEIGHT, WIDTH = 66, 80


def eight_bits(encoding: str) -> np.ndarray:
    channels = ENCODINGS[DEEP_ENCODINGS[encoding]].bytes_per_pixel
    return np.random.default_rng(4).integers(0, 256, (HEIGHT, WIDTH, channels)).astype(np.uint8)


def deep(samples: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False) -> CameraImage:
    rows = samples.reshape(len(samples), -1).astype(">u2" if big_endian else "<u2").view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAA)
    return CameraImage(rows.reshape(-1), *samples.shape[:2], rows.shape[1], encoding)


@pytest.mark.parametrize("padding", [0, 1, 6])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", DEEP_ENCODINGS)
def test_a_deep_picture_becomes_what_its_bytes_are(encoding, big_endian, padding):
    levels = eight_bits(encoding)
    camera = deep(levels.astype(np.uint16) * 257, encoding, padding, big_endian)
    toned = camera.toned(ToneMapper(ToneSettings("linear")), big_endian=big_endian)
    same = CameraImage(levels.reshape(-1), HEIGHT, WIDTH, levels[0].size, DEEP_ENCODINGS[encoding])
    np.testing.assert_array_equal(toned.to_rgb(), same.to_rgb())
    assert toned.mean_intensity() == pytest.approx(same.mean_intensity())


def test_samples_of_a_file_become_a_camera_picture():
    rng = np.random.default_rng(5)
    for shape, name in (((HEIGHT, WIDTH), "mono16"), ((HEIGHT, WIDTH, 3), "rgb16")):
        samples = rng.integers(0, 4096, shape).astype(np.uint16)
        camera = CameraImage.from_samples(samples, ToneMapper())
        assert camera.encoding == name
        expected = curve("gamma", 12)[samples]
        np.testing.assert_array_equal(camera.to_rgb(), np.dstack([expected] * 3) if expected.ndim == 2 else expected)


@pytest.mark.parametrize("bit_depth", [0, 12])
@pytest.mark.parametrize("encoding", ["rgba16", "bgra16"])
def test_alpha_says_nothing_about_the_depth(encoding, bit_depth):
    samples = np.random.default_rng(5).integers(0, 4096, (HEIGHT, WIDTH, 4)).astype(np.uint16)
    samples[:, :, 3] = 65535
    rgb = deep(samples, encoding).toned(ToneMapper(ToneSettings(bit_depth=bit_depth))).to_rgb()
    order = [0, 1, 2] if encoding == "rgba16" else [2, 1, 0]
    np.testing.assert_array_equal(rgb, curve("gamma", 12)[samples[:, :, order]])


def test_pictures_of_one_byte_have_no_tone():
    camera = CameraImage.from_rgb(np.zeros((70, 80, 3), np.uint8))
    assert camera.toned(ToneMapper()) is camera


def test_without_a_table_there_are_no_colours():
    with pytest.raises(ImageError, match="encoding: mono16 without a table"):
        deep(np.zeros((HEIGHT, WIDTH), np.uint16), "mono16").to_rgb()


def test_an_odd_number_of_bytes_is_refused_where_rows_have_an_even_one():
    data = np.zeros(HEIGHT * WIDTH * 2 + 1, np.uint8)
    with pytest.raises(ImageError, match="data: got 10561 bytes, expected an even number: mono16 has two each"):
        CameraImage(data, HEIGHT, WIDTH, WIDTH * 2, "mono16")
    with pytest.raises(ImageError, match="data: got 10559 bytes, expected 10560 for 66 rows"):
        CameraImage(data[:-2], HEIGHT, WIDTH, WIDTH * 2, "mono16")
    CameraImage(np.zeros(65 * (WIDTH * 2 + 1), np.uint8), 65, WIDTH, WIDTH * 2 + 1, "mono16")
