"""Pictures shrunk by whole numbers, against the way that shrinks by any."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba compiles them: pip install numba")

from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.compiled.outputs import CompiledOutputs
from dannet_core.inference.compiled.pictures import CHANNELS, make_how, make_layout, shrink_rows
from dannet_core.inference.compiled.whole_ratio import averages, shrink_wholly, whole_ratio
from dannet_core.pixels import NORMALIZED

SIZES = [
    ((272, 480), (68, 120)),
    ((270, 480), (90, 160)),  # by three: ninths cannot be written in binary
    ((270, 480), (270, 160)),  # one side only
    ((270, 480), (27, 480)),
    ((64, 1600), (4, 100)),  # sixteen by sixteen bytes nearly fill sixteen bits
]


def shrunk_by_any_ratio(camera: CameraImage, wanted: tuple[int, int]) -> np.ndarray:
    image, how = np.empty((3, *wanted), np.float32), make_how(camera.size, wanted)
    shrink_rows(camera.data, make_layout(camera), how, NORMALIZED, image, (0, wanted[0]))
    return image


@pytest.mark.parametrize("encoding", CHANNELS)
@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize(("size", "wanted"), SIZES)
def test_bits_are_those_of_any_ratio(size, wanted, padding, encoding):
    step = size[1] * CHANNELS[encoding][0] + padding
    data = np.random.default_rng(4).integers(0, 256, step * size[0] - padding, dtype=np.uint8)
    camera, ratio = CameraImage(data, *size, step, encoding), whole_ratio(size, wanted)
    image = np.full((3, *wanted), np.nan, np.float32)
    # In two goes, as threads have it.
    for which in ((0, 3), (3, wanted[0])):
        shrink_wholly(data, make_layout(camera), ratio, averages(int(ratio[0] * ratio[1])), image, which)
    np.testing.assert_array_equal(image, shrunk_by_any_ratio(camera, wanted))


@pytest.mark.parametrize("value", [0, 255])
def test_ends_of_the_range(value):
    camera = CameraImage.from_rgb(np.full((64, 1600, 3), value, np.uint8))
    maker = CompiledOutputs(1)
    image = maker.prepare(camera, (4, 100), "area")
    np.testing.assert_array_equal(image, np.broadcast_to(NORMALIZED[None, :, value, None, None], image.shape))


@pytest.mark.parametrize(
    ("size", "wanted", "ratio"),
    [
        ((1080, 1920), (270, 480), (4, 4)),
        ((1080, 1920), (360, 640), (3, 3)),
        ((1080, 1920), (1080, 960), (1, 2)),
        ((1080, 1920), (544, 960), None),
        ((1080, 1920), (540, 961), None),
        ((257, 100), (1, 100), (257, 1)),
        ((258, 100), (1, 100), None),  # its sum needs more than sixteen bits
    ],
)
def test_whole_ratios(size, wanted, ratio):
    found = whole_ratio(size, wanted)
    assert (found if found is None else tuple(map(int, found))) == ratio
