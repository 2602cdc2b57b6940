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


def semi_planar(yuv: np.ndarray, encoding: str, step: int) -> np.ndarray:
    """Y, U, V of every pixel as the encoding lays them out, rows ``step`` bytes apart, padding not zero."""
    colors = yuv[:, :, 1:] if encoding == "nv24" else yuv[::2, ::2, 1:]
    colors = colors[:, :, ::-1] if encoding == "nv21" else colors
    long = step * (2 if encoding == "nv24" else 1)
    planes = [(yuv[:, :, 0], step), (colors.reshape(len(colors), -1), long)]
    padded = [np.pad(plane, ((0, 0), (0, row - plane.shape[1])), constant_values=170) for plane, row in planes]
    return np.concatenate([plane.reshape(-1) for plane in padded])


@pytest.mark.parametrize("padding", [0, 16])
@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
def test_planes_of_colour_have_the_right_order_and_place(encoding, padding):
    """Blocks of 2 x 2 pixels of one colour, so that half the colour rows lose nothing; BT.601, 16..235."""
    rng = np.random.default_rng(2)
    yuv = rng.integers(30, 220, (32, 40, 3)).repeat(2, axis=0).repeat(2, axis=1)
    y, u, v = (yuv[:, :, i].astype(float) - (16, 128, 128)[i] for i in range(3))
    rgb = np.stack([1.164 * y + 1.596 * v, 1.164 * y - 0.813 * v - 0.391 * u, 1.164 * y + 2.018 * u], axis=2)
    data = semi_planar(yuv.astype(np.uint8), encoding, 80 + padding)
    camera = CameraImage(data, 64, 80, 80 + padding, encoding)
    assert np.abs(camera.to_rgb() - rgb.clip(0, 255)).max() <= 2
    assert camera.mean_intensity() == pytest.approx(1.164 * y[::7, ::7].mean(), abs=0.1)


def test_nv24_has_a_colour_for_each_pixel():
    yuv = np.full((64, 67, 3), 128, np.uint8)
    yuv[:, 33:, 1], yuv[:, 33:, 2] = 90, 240
    rgb = CameraImage(semi_planar(yuv, "nv24", 67), 64, 67, 67, "nv24").to_rgb()
    assert rgb[5, 32].tolist() == [130, 130, 130]
    assert rgb[5, 33].tolist() == [255, 54, 54]


@pytest.mark.parametrize(
    ("encoding", "size", "said"),
    [
        (
            "nv12",
            64 * 80 * 3,
            "got 15360 bytes, expected 7680 for 64 rows of grey and 32 of colour, 80 bytes each: rows",
        ),
        ("nv12", 80 * (72 + 36), "got 8640 bytes, expected 7680"),  # the planes of 72 rows
        ("nv21", 80 * (72 + 32), "got 8320 bytes, expected 7680"),  # or one of them
        ("nv12", 64 * 80, "got 5120 bytes, expected 7680 .* (does height count the rows of colour?)"),
        ("nv24", 64 * 80 * 3 // 2, "got 7680 bytes, expected 15360 for 64 rows of grey and 128 of colour"),
    ],
)
def test_planes_that_may_lie_elsewhere_are_refused(encoding, size, said):
    with pytest.raises(ImageError, match=said.replace("(", r"\(").replace("?)", r"\?\)")):
        CameraImage(np.zeros(size, np.uint8), 64, 80, 80, encoding)


@pytest.mark.parametrize("behind", [0, 79, 512])
def test_less_than_a_row_or_the_rest_of_a_page_may_follow_the_planes(behind):
    data = np.random.default_rng(1).integers(0, 256, (96, 80), dtype=np.uint8)
    more = np.concatenate([data.reshape(-1), np.zeros(behind, np.uint8)])
    np.testing.assert_array_equal(
        CameraImage(more, 64, 80, 80, "nv12").to_rgb(), cv2.cvtColor(data, cv2.COLOR_YUV2RGB_NV12)
    )


def test_the_last_row_needs_no_padding():
    data = np.zeros(64 * 100 - 20, np.uint8)
    assert CameraImage(data, 64, 80, 100, "mono8").to_rgb().shape == (64, 80, 3)
    with pytest.raises(ImageError, match=r"data: got 6379 bytes, expected 6380 for 64 rows"):
        CameraImage(data[:-1], 64, 80, 100, "mono8")


@pytest.mark.parametrize(
    ("height", "width", "step", "encoding", "said"),
    [
        (64, 80, 240, "rgb12", "encoding: got 'rgb12', expected one of rgb8, bgr8"),
        (64, 80, 479, "rgb16", "step: got 479, expected at least 480 bytes for 80 pixels"),
        (64, 80, 158, "mono16", "step: got 158, expected at least 160 bytes for 80 pixels"),
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
