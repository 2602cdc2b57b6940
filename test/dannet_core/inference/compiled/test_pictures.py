"""Network input and relit picture, compiled, against OpenCV's and NumPy's."""

import numpy as np
import pytest

from dannet_core import pixels
from dannet_core.errors import NotFiniteError
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.outputs import NumpyOutputs
from dannet_core.inference.preprocess import preprocess

pytest.importorskip("numba", reason="numba compiles them: pip install numba")

from dannet_core.inference.compiled.outputs import CompiledOutputs
from dannet_core.inference.compiled.pictures import CHANNELS, shrinks_faster

LEVEL = float(np.abs(1 / (255 * pixels.IMAGENET_STD)).max()) + 1e-6
"""A grey level, at most, in normalised units."""
SIZES = [
    ((270, 480), (68, 120)),  # nothing divides
    ((272, 480), (68, 120)),  # both sides by four
    ((270, 480), (90, 160)),  # by three: ninths cannot be written in binary
    ((271, 483), (136, 240)),
    ((271, 483), (270, 482)),  # hardly smaller
    ((271, 483), (271, 240)),  # one side only
    ((271, 483), (64, 483)),
    ((64, 1500), (8, 16)),
]


@pytest.fixture(scope="module")
def maker():
    made = CompiledOutputs(2)
    yield made
    made.close()


def camera_of(encoding: str, size: tuple[int, int], padding: int = 0, tail: bool = True) -> CameraImage:
    """Noise as a camera sends it: rows ``padding`` bytes apart, the last one with them or not."""
    step = size[1] * CHANNELS[encoding][0] + padding
    data = np.random.default_rng(4).integers(0, 256, step * size[0], dtype=np.uint8)
    return CameraImage(data if tail else data[: len(data) - padding], *size, step, encoding)


@pytest.mark.parametrize("encoding", CHANNELS)
@pytest.mark.parametrize(("size", "wanted"), SIZES)
def test_input_is_opencvs_but_for_a_grey_level_in_a_few_values(maker, size, wanted, encoding):
    camera = camera_of(encoding, size)
    assert shrinks_faster(camera, wanted, "area")
    difference = np.abs(maker.prepare(camera, wanted, "area") - preprocess(camera.to_rgb(), wanted))
    assert difference.max() <= LEVEL
    assert np.count_nonzero(difference > 1e-6) <= 0.003 * difference.size


@pytest.mark.parametrize("tail", [True, False])
def test_rows_may_be_any_distance_apart_and_the_last_may_end_with_its_pixels(maker, tail):
    apart, close = camera_of("rgb8", (271, 483), padding=13, tail=tail), camera_of("rgb8", (271, 483))
    rgb = apart.to_rgb()
    assert not np.array_equal(rgb, close.to_rgb())
    together = CameraImage.from_rgb(np.ascontiguousarray(rgb))
    for wanted in ((136, 240), (271, 240), (270, 482)):
        np.testing.assert_array_equal(maker.prepare(apart, wanted, "area"), maker.prepare(together, wanted, "area"))


def test_threads_change_nothing(maker):
    alone, camera = CompiledOutputs(1), camera_of("bgr8", (271, 483))
    np.testing.assert_array_equal(alone.prepare(camera, (68, 120), "area"), maker.prepare(camera, (68, 120), "area"))
    alone.close()


@pytest.mark.parametrize(
    ("encoding", "wanted", "resize"),
    [
        ("rgb8", (136, 242), "area"),  # half of both sides, where OpenCV is faster
        ("rgb8", (272, 484), "area"),  # as it is
        ("bgr8", (400, 600), "area"),  # larger
        ("rgb8", (100, 600), "area"),
        ("rgb8", (68, 120), "antialiased"),
    ],
)
def test_what_it_does_not_do_itself_is_opencvs_to_the_bit(maker, encoding, wanted, resize):
    camera = camera_of(encoding, (272, 484))
    assert not shrinks_faster(camera, wanted, resize)
    np.testing.assert_array_equal(maker.prepare(camera, wanted, resize), NumpyOutputs().prepare(camera, wanted, resize))


def test_a_mosaic_is_converted_first(maker):
    data = np.random.default_rng(4).integers(0, 256, 270 * 480, dtype=np.uint8)
    camera = CameraImage(data, 270, 480, 480, "bayer_rggb8")
    assert not maker.reads(camera.encoding)
    np.testing.assert_array_equal(maker.prepare(camera, (68, 120), "area"), preprocess(camera.to_rgb(), (68, 120)))


def test_relit_picture_is_numpys_to_the_bit(maker):
    image = np.random.default_rng(3).normal(0, 2, (3, 67, 121)).astype(np.float32)  # beyond 0..255 on both sides
    np.testing.assert_array_equal(maker.denormalize(image), NumpyOutputs().denormalize(image))
    rounded = pixels.normalize(maker.denormalize(image))[0]
    np.testing.assert_array_equal(maker.denormalize(rounded), maker.denormalize(image))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_relit_value_that_is_no_number_is_refused_and_counted(maker, bad):
    image = np.zeros((3, 67, 121), np.float32)
    image[0, 3, 5] = image[2, 66, 120] = bad
    for outputs in (maker, NumpyOutputs()):
        with pytest.raises(NotFiniteError, match=f"relit: 2 of {image.size} values"):
            outputs.denormalize(image)
