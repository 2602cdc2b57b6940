import numpy as np
import pytest

from dannet_core import pixels
from dannet_core.classes import CLASS_COLORS
from dannet_core.errors import ImageError, OutputError


def test_normalize_equals_the_formula(night_rgb):
    expected = (night_rgb / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    normalized = pixels.normalize(night_rgb)
    assert normalized.shape == (1, 3, 120, 200)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized[0].transpose(1, 2, 0), expected, atol=1e-6)


def test_denormalize_undoes_normalize_to_the_byte(night_rgb):
    np.testing.assert_array_equal(pixels.denormalize(pixels.normalize(night_rgb)[0]), night_rgb)


def test_denormalize_clips_instead_of_wrapping():
    image = np.stack([np.full((64, 64), v, np.float32) for v in (-9.0, 0.0, 9.0)])
    assert pixels.denormalize(image)[0, 0].tolist() == [0, 116, 255]


def test_colorize_uses_rgb_order_and_black_for_unknown():
    labels = np.array([[0, 13, 18, 255, 200]], dtype=np.uint8)
    expected = [CLASS_COLORS[0], CLASS_COLORS[13], CLASS_COLORS[18], (0, 0, 0), (0, 0, 0)]
    assert pixels.colorize(labels)[0].tolist() == [list(color) for color in expected]


def test_overlay_blends_between_picture_and_colors(night_rgb):
    labels = np.zeros(night_rgb.shape[:2], np.uint8)
    np.testing.assert_array_equal(pixels.overlay(night_rgb, labels, 0.0), night_rgb)
    np.testing.assert_array_equal(pixels.overlay(night_rgb, labels, 1.0), pixels.colorize(labels))
    half = pixels.overlay(night_rgb, labels, 0.5).astype(int)
    expected = (night_rgb.astype(int) + pixels.colorize(labels)) / 2
    assert np.abs(half - expected).max() <= 0.5


def test_overlay_refuses_another_size_and_an_alpha_out_of_range(night_rgb):
    with pytest.raises(ImageError, match=r"\(120, 200\) and labels of \(10, 10\)"):
        pixels.overlay(night_rgb, np.zeros((10, 10), np.uint8))
    with pytest.raises(ImageError, match=r"alpha: got 1\.5"):
        pixels.overlay(night_rgb, np.zeros((120, 200), np.uint8), 1.5)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (None, "NoneType"),
        (np.zeros((100, 100), np.uint8), r"\(100, 100\)"),
        (np.zeros((100, 100, 4), np.uint8), r"\(100, 100, 4\)"),
        (np.zeros((100, 100, 3), np.float32), "float32"),
        (np.zeros((63, 100, 3), np.uint8), "100x63"),
        (np.zeros((0, 100, 3), np.uint8), "100x0"),
    ],
)
def test_check_rgb_says_what_it_got(image, said):
    with pytest.raises(ImageError, match=said):
        pixels.check_rgb(image)


def test_png_round_trip_keeps_labels_and_colors(tmp_path, night_rgb):
    pixels.write_png(tmp_path / "a.png", night_rgb)
    np.testing.assert_array_equal(pixels.read_rgb(tmp_path / "a.png"), night_rgb)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_reading_names_the_file_that_is_missing_or_broken(tmp_path):
    with pytest.raises(ImageError, match="no such image file"):
        pixels.read_rgb(tmp_path / "absent.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError, match=r"broken\.png: not a readable image"):
        pixels.read_rgb(tmp_path / "broken.png")


def test_writing_into_a_missing_folder_is_one_error(tmp_path, night_rgb):
    with pytest.raises(OutputError, match="cannot write: No such file"):
        pixels.write_png(tmp_path / "no" / "a.png", night_rgb)
