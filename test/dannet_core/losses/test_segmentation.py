import numpy as np
import pytest
import torch
from torch.nn import functional

from dannet_core.classes import CITYSCAPES_CLASS_SHARES, reweighting_vector
from dannet_core.errors import ImageError, SettingsError
from dannet_core.losses.segmentation import SegmentationLoss, segmentation_divisor, segmentation_loss

WEIGHTS = torch.from_numpy(reweighting_vector(CITYSCAPES_CLASS_SHARES, std=0.05))


@pytest.fixture
def batch(pattern, label_pattern):
    return pattern(2, 19, 24, 32, seed=4, scale=6.0), label_pattern(2, 24, 32, seed=5, above=19)


def equation_7_sum(logits, labels, weights):
    """The sum over classes and pixels written out, in double precision."""
    scores = logits.double().numpy()
    likelihoods = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    total = 0.0
    for k, weight in enumerate(weights.double().numpy()):
        total -= weight * np.log(likelihoods[:, k][labels.numpy() == k]).sum()
    return total


def test_is_pytorchs_weighted_cross_entropy(batch):
    logits, labels = batch
    for weights in (None, WEIGHTS):
        expected = functional.cross_entropy(logits, labels.long(), weights, ignore_index=255)
        assert segmentation_loss(logits, labels, weights).item() == pytest.approx(expected.item(), rel=1e-6)


def test_follows_equation_7_written_out(batch):
    logits, labels = batch
    total, count = equation_7_sum(logits, labels, WEIGHTS), int((labels != 255).sum())
    assert 0 < count < labels.numel()
    by_pixels = segmentation_loss(logits, labels, WEIGHTS, "pixels").item()
    assert by_pixels == pytest.approx(total / count, rel=1e-6)
    as_printed = segmentation_loss(logits, labels, WEIGHTS, "pixels_and_classes").item()
    assert as_printed == pytest.approx(total / count / 19, rel=1e-6)


def test_gives_the_released_codes_figures(batch):
    logits, labels = batch
    logits.requires_grad_()
    loss = segmentation_loss(logits, labels, WEIGHTS)
    loss.backward()
    assert loss.item() == pytest.approx(6.3969502, rel=1e-5)
    assert logits.grad.norm().item() == pytest.approx(0.03295610, rel=1e-5)


@pytest.mark.parametrize("divide_by", ["released", "pixels", "pixels_and_classes"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_without_a_labelled_pixel_loss_and_gradients_are_zero(batch, divide_by, weights):
    logits, labels = batch
    logits.requires_grad_()
    loss = segmentation_loss(logits, torch.full_like(labels, 255), weights, divide_by)
    loss.backward()
    assert loss.item() == 0.0
    assert (logits.grad == 0).all()


def test_ignored_pixels_get_no_gradient_and_labelled_ones_do(batch):
    logits, labels = batch
    logits.requires_grad_()
    segmentation_loss(logits, labels, WEIGHTS).backward()
    touched = (logits.grad != 0).any(dim=1)
    assert torch.equal(touched, labels != 255)


def test_a_single_labelled_pixel_of_a_batch_of_one(pattern):
    logits, labels = pattern(1, 19, 8, 8, seed=1), torch.full((1, 8, 8), 255)
    labels[0, 3, 4] = 7
    expected = -logits[0, :, 3, 4].log_softmax(0)[7].item()
    assert segmentation_loss(logits, labels, WEIGHTS).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("divide_by", ["released", "pixels", "pixels_and_classes"])
def test_shares_of_a_batch_with_one_divisor_average_to_the_whole(batch, divide_by):
    logits, labels = batch
    labels[0, :, 8:] = 255
    whole = segmentation_loss(logits, labels, WEIGHTS, divide_by)
    divisors = [segmentation_divisor(labels[i : i + 1], 19, WEIGHTS, divide_by) for i in range(2)]
    assert divisors[0] < divisors[1] / 2
    shared = torch.stack(divisors).float().mean()
    parts = [segmentation_loss(logits[i : i + 1], labels[i : i + 1], WEIGHTS, divide_by, shared) for i in range(2)]
    assert sum(parts).item() / 2 == pytest.approx(whole.item(), rel=1e-6)


def test_rare_classes_weigh_more(pattern):
    logits, labels = torch.zeros(1, 19, 2, 2), torch.tensor([[[0, 17], [0, 17]]])
    logits.requires_grad_()
    segmentation_loss(logits, labels, WEIGHTS).backward()
    road, motorcycle = logits.grad[0, 0, 0, 0], logits.grad[0, 17, 0, 1]
    assert (motorcycle / road).item() == pytest.approx((WEIGHTS[17] / WEIGHTS[0]).item(), rel=1e-5)


def test_gradients_are_those_of_the_values(pattern):
    logits = pattern(2, 5, 3, 4, seed=1, scale=3.0, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([[[0, 1, 2, 3], [4, 255, 255, 1], [0, 0, 2, 2]]]).expand(2, 3, 4)
    assert torch.autograd.gradcheck(lambda x: segmentation_loss(x, labels, WEIGHTS[:5].double()), (logits,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(batch, dtype):
    logits, labels = batch[0].to(dtype), batch[1]
    loss = segmentation_loss(logits, labels, WEIGHTS)
    assert loss.dtype == torch.float32
    assert loss.item() == segmentation_loss(logits.float(), labels, WEIGHTS).item()


def test_module_holds_the_weights_outside_of_checkpoints(batch):
    module = SegmentationLoss(WEIGHTS, "pixels")
    assert module(*batch).item() == segmentation_loss(*batch, WEIGHTS, "pixels").item()
    assert not module.state_dict()
    assert module.double().class_weights.dtype == torch.float64


def test_refuses_what_does_not_fit(batch):
    logits, labels = batch
    with pytest.raises(ImageError, match=r"logits \(2, 19, 24, 32\) and labels \(2, 24, 31\).*upsample"):
        segmentation_loss(logits, labels[..., :-1])
    with pytest.raises(SettingsError, match="divide_by: got 'batch', expected one of released, pixels"):
        SegmentationLoss(divide_by="batch")
