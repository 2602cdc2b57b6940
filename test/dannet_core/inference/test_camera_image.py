import cv2
import numpy as np
import pytest

from dannet_core.errors import ImageError
from dannet_core.inference.camera_image import ENCODINGS, CameraImage


def test_an_rgb_array_becomes_a_view_whatever_the_distance_of_its_rows():
    wide = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    part = wide[:, 5:85]
    camera = CameraImage.from_rgb(part)
    assert (camera.size, camera.step, camera.encoding) == ((70, 80), 270, "rgb8")
    assert np.shares_memory(camera.data, wide)
    np.testing.assert_array_equal(camera.to_rgb(), part)


@pytest.mark.parametrize("turned", [lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a[:, :, ::-1], np.rot90])
def test_other_layouts_are_copied_into_order(turned):
    rgb = turned(np.random.default_rng(0).integers(0, 256, (70, 80, 3), dtype=np.uint8))
    np.testing.assert_array_equal(CameraImage.from_rgb(rgb).to_rgb(), rgb)


def test_nv12_has_half_as_many_colour_rows_behind_its_grey_ones():
    data = np.random.default_rng(1).integers(0, 256, (96, 80), dtype=np.uint8)
    camera = CameraImage(data.reshape(-1), 64, 80, 80, "nv12")
    np.testing.assert_array_equal(camera.to_rgb(), cv2.cvtColor(data, cv2.COLOR_YUV2RGB_NV12))


def test_the_last_row_needs_no_padding():
    data = np.zeros(64 * 100 - 20, np.uint8)
    assert CameraImage(data, 64, 80, 100, "mono8").to_rgb().shape == (64, 80, 3)
    with pytest.raises(ImageError, match=r"data: got 6379 bytes, expected 6380 for 64 rows"):
        CameraImage(data[:-1], 64, 80, 100, "mono8")


@pytest.mark.parametrize(
    ("height", "width", "step", "encoding", "said"),
    [
        (64, 80, 240, "rgb16", "encoding: got 'rgb16', expected one of rgb8, bgr8"),
        (63, 80, 240, "rgb8", "width, height: got 80x63, expected 64 to 16384 pixels"),
        (64, 80, 239, "rgb8", "step: got 239, expected at least 240 bytes"),
        (64, 81, 200, "uyvy", "got 81x64, expected even ones for uyvy"),
        (65, 80, 80, "nv12", "got 80x65, expected even ones for nv12"),
    ],
)
def test_contradicting_fields_are_named(height, width, step, encoding, said):
    with pytest.raises(ImageError, match=said):
        CameraImage(np.zeros(100_000, np.uint8), height, width, step, encoding)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8", "bayer_rggb8", "bayer_gbrg8"])
def test_mean_intensity_is_that_of_the_picture(encoding):
    """A picture in which every phase of a mosaic has another brightness."""
    channels = ENCODINGS[encoding].bytes_per_pixel
    rows = np.tile(np.array([[10, 60], [90, 240]], np.uint8), (49, 56))[:, :, None].repeat(channels, axis=2)
    padded = np.pad(rows.reshape(98, -1), ((0, 0), (0, 5)), constant_values=255)
    camera = CameraImage(padded.reshape(-1), 98, 112, padded.shape[1], encoding)
    assert camera.mean_intensity() == pytest.approx(100)


def test_mean_intensity_leaves_alpha_out():
    rgba = np.full((70, 70, 4), 255, np.uint8)
    rgba[:, :, :3] = (10, 20, 60)
    assert CameraImage(rgba.reshape(-1), 70, 70, 280, "rgba8").mean_intensity() == pytest.approx(30)


@pytest.mark.parametrize("encoding", ["uyvy", "yuyv", "nv12"])
@pytest.mark.parametrize("grey", [0, 100, 255])
def test_mean_intensity_of_yuv_is_its_stretched_luma(encoding, grey):
    luma = round(16 + grey * 219 / 255)
    if encoding == "nv12":
        rows = np.vstack([np.full((64, 80), luma), np.full((32, 80), 128)])
    else:
        rows = np.full((64, 80, 2), 128)
        rows[:, :, int(encoding == "uyvy")] = luma
    camera = CameraImage(rows.astype(np.uint8).reshape(-1), 64, 80, rows.size // len(rows), encoding)
    assert camera.mean_intensity() == pytest.approx(camera.to_rgb().mean(), abs=1)
    assert camera.mean_intensity() == pytest.approx(grey, abs=1)
