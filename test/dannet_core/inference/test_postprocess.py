import numpy as np
import pytest

from dannet_core.classes import CITYSCAPES_CLASS_SHARES, reweighting_vector
from dannet_core.errors import SettingsError
from dannet_core.inference.postprocess import class_scaling, scale_logits, upsample_confidence, upsample_labels

torch = pytest.importorskip("torch", reason="torch is the reference: pip install torch")


def smooth_logits(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """K x h x w with regions of one class, as a network makes them."""
    coarse = torch.from_numpy(rng.normal(0, 4, (1, 19, 4, 5)).astype(np.float32))
    field = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0].numpy()
    return field + rng.normal(0, 0.2, field.shape).astype(np.float32)


def reference(scores: np.ndarray, size: tuple[int, int], align_corners: bool) -> np.ndarray:
    tensor = torch.from_numpy(scores.transpose(2, 0, 1).copy())[None]
    return torch.nn.functional.interpolate(tensor, size, mode="bilinear", align_corners=align_corners)[0].numpy()


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(
    ("stride_size", "size"), [((34, 60), (270, 480)), ((17, 30), (271, 483)), ((30, 40), (20, 33)), ((1, 5), (64, 70))]
)
def test_labels_and_confidence_equal_the_plain_way(stride_size, size, align_corners):
    scores = scale_logits(
        smooth_logits(np.random.default_rng(1), *stride_size), class_scaling("none", CITYSCAPES_CLASS_SHARES, 0)
    )
    full = reference(scores, size, align_corners)
    labels = upsample_labels(scores, size, align_corners)
    best_two = np.sort(full, axis=0)[-2:]
    tied = best_two[1] - best_two[0] < 1e-4
    assert labels.dtype == np.uint8
    assert tied.mean() < 0.01
    np.testing.assert_array_equal(labels[~tied], full.argmax(axis=0)[~tied])
    likelihoods = torch.softmax(torch.from_numpy(full), dim=0).numpy()
    np.testing.assert_allclose(upsample_confidence(scores, size, align_corners), likelihoods.max(axis=0), atol=1e-5)


def test_a_picture_of_one_class_needs_no_interpolation_and_noise_everywhere_is_still_exact():
    rng = np.random.default_rng(2)
    one = np.zeros((9, 11, 19), np.float32)
    one[..., 4] = 1
    assert (upsample_labels(one, (100, 120)) == 4).all()
    noise = rng.normal(0, 5, (9, 11, 19)).astype(np.float32)
    expected = reference(noise, (100, 120), True).argmax(axis=0)
    assert (upsample_labels(noise, (100, 120)) == expected).mean() > 0.9999


def test_offset_on_logits_is_the_weight_on_likelihoods():
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 1, (19, 20, 30)).astype(np.float32)
    weights = reweighting_vector(CITYSCAPES_CLASS_SHARES, 0.16)
    likelihoods = torch.softmax(torch.from_numpy(logits), dim=0).numpy() * weights[:, None, None]
    scores = scale_logits(logits, class_scaling("probabilities", CITYSCAPES_CLASS_SHARES, 0.16))
    np.testing.assert_array_equal(scores.argmax(axis=2), likelihoods.argmax(axis=0))
    assert (scores.argmax(axis=2) != logits.argmax(axis=0)).any()


def test_weights_on_logits_multiply_each_class():
    logits = np.random.default_rng(4).normal(0, 1, (19, 3, 3)).astype(np.float32)
    weights = reweighting_vector(CITYSCAPES_CLASS_SHARES, 0.16)
    scores = scale_logits(logits, class_scaling("logits", CITYSCAPES_CLASS_SHARES, 0.16))
    np.testing.assert_allclose(scores.transpose(2, 0, 1), logits * weights[:, None, None], rtol=1e-6)


def test_an_unknown_method_is_named():
    with pytest.raises(SettingsError, match="reweight: got 'odds', expected one of probabilities, logits, none"):
        class_scaling("odds", CITYSCAPES_CLASS_SHARES, 0.16)
