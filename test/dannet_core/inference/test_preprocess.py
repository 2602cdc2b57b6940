import numpy as np
import pytest

from dannet_core.errors import SettingsError
from dannet_core.inference.preprocess import network_size, preprocess
from dannet_core.pixels import denormalize, normalize


@pytest.mark.parametrize(
    ("image", "wanted", "size"),
    [
        ((1080, 1920), None, (1080, 1920)),
        ((721, 1283), None, (720, 1280)),
        ((64, 67), None, (64, 64)),
        ((1080, 1920), (540, 960), (540, 960)),
    ],
)
def test_network_size_is_the_wanted_one_or_a_multiple_of_eight(image, wanted, size):
    assert network_size(image, wanted) == size


def test_a_picture_of_the_right_size_is_only_normalised(night_rgb):
    np.testing.assert_array_equal(preprocess(night_rgb, (120, 200)), normalize(night_rgb))


def test_area_halving_averages_two_by_two(night_rgb):
    halved = denormalize(preprocess(night_rgb, (60, 100))[0])
    expected = night_rgb.reshape(60, 2, 100, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - expected).max() <= 1


def test_antialiased_equals_the_torchvision_resize_of_the_released_code(night_rgb):
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is the reference")
    from PIL import Image

    reference = transforms.Compose(
        [
            transforms.Resize((54, 96)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )(Image.fromarray(night_rgb))
    np.testing.assert_allclose(preprocess(night_rgb, (54, 96), "antialiased")[0], reference.numpy(), atol=1e-6)


def test_an_unknown_resize_is_named(night_rgb):
    with pytest.raises(SettingsError, match="resize: got 'nearest', expected one of area, antialiased"):
        preprocess(night_rgb, (64, 64), "nearest")
