import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from dannet_core.data.augmentation import Window, crop_images, crop_labels, draw_window  # noqa: E402 - after the skip
from dannet_core.errors import SettingsError  # noqa: E402
from dannet_core.pixels import denormalize, normalize  # noqa: E402


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_windows_lie_inside_the_image_and_span_the_asked_scales():
    windows = [draw_window(generator(i), (1024, 2048), (512, 512), (0.5, 1.0)) for i in range(300)]
    assert all(w.top >= 0 and w.left >= 0 for w in windows)
    assert all(w.top + w.height <= 1024 and w.left + w.width <= 2048 for w in windows)
    heights = [w.height for w in windows]
    assert min(heights) < 540
    assert max(heights) > 980
    assert 512 <= min(heights) <= max(heights) <= 1024
    assert 90 < sum(w.flip for w in windows) < 210


def test_a_window_larger_than_the_image_shrinks_to_it_and_keeps_its_shape():
    window = draw_window(generator(0), (360, 480), (512, 512), (0.5, 1.0))
    assert window == Window(0, window.left, 360, 360, window.flip)


def test_scales_the_wrong_way_round_are_refused():
    with pytest.raises(SettingsError, match=r"scale: got \(1.0, 0.5\)"):
        draw_window(generator(0), (100, 100), (64, 64), (1.0, 0.5))


def test_a_crop_at_scale_one_is_the_pixels_themselves(night_rgb):
    image = torch.from_numpy(night_rgb).permute(2, 0, 1)
    batch = crop_images([image, image], [Window(10, 20, 64, 96, False), Window(10, 20, 64, 96, True)], (64, 96))
    expected = night_rgb[10:74, 20:116]
    np.testing.assert_array_equal(denormalize(batch[0].numpy()), expected)
    np.testing.assert_array_equal(denormalize(batch[1].numpy()), expected[:, ::-1])
    np.testing.assert_allclose(batch[0].numpy(), normalize(expected)[0], atol=1e-6)


def test_labels_follow_the_image_and_are_never_blended():
    labels = torch.zeros(128, 128, dtype=torch.uint8)
    labels[:, 64:] = 18
    image = labels[None].repeat(3, 1, 1) * 10
    window = Window(0, 0, 128, 128, True)
    cropped = crop_labels([labels], [window], (64, 64))
    assert cropped.dtype == torch.int64
    assert set(cropped.unique().tolist()) == {0, 18}
    bright = denormalize(crop_images([image], [window], (64, 64))[0].numpy())[..., 0] > 90
    np.testing.assert_array_equal(bright, cropped[0].numpy() == 18)
