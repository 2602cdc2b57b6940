import pytest
import torch
from torch import nn
from torch.nn import functional

from dannet_core.losses.adversarial import (
    SOURCE_LABEL,
    TARGET_LABEL,
    AdversarialLoss,
    DiscriminatorLoss,
    adversarial_loss,
    discriminator_loss,
)


@pytest.fixture
def scores(pattern):
    return pattern(2, 1, 9, 13, seed=1, scale=2.0), pattern(2, 1, 12, 11, seed=2, scale=2.0)


def test_generator_pays_the_mean_square_distance_from_the_source_label(scores):
    _, target = scores
    expected = functional.mse_loss(target, torch.full_like(target, SOURCE_LABEL))
    assert adversarial_loss(target).item() == pytest.approx(expected.item(), rel=1e-6)
    assert AdversarialLoss()(target).item() == adversarial_loss(target).item()


def test_discriminator_pays_half_for_each_domain(scores):
    source, target = scores
    on_source = functional.mse_loss(source, torch.full_like(source, SOURCE_LABEL))
    on_target = functional.mse_loss(target, torch.full_like(target, TARGET_LABEL))
    assert discriminator_loss(source, target).item() == pytest.approx((on_source + on_target).item() / 2, rel=1e-6)
    assert DiscriminatorLoss()(source, target).item() == discriminator_loss(source, target).item()


def test_who_is_right_pays_nothing():
    source, target = torch.zeros(1, 1, 3, 3), torch.ones(1, 1, 3, 3)
    assert discriminator_loss(source, target).item() == 0.0
    assert discriminator_loss(target, source).item() == 1.0
    assert adversarial_loss(source).item() == 0.0
    assert adversarial_loss(target).item() == 1.0


def test_generator_and_discriminator_pull_target_scores_apart():
    target = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    adversarial_loss(target).backward()
    towards_source = target.grad.clone()
    target.grad = None
    discriminator_loss(torch.zeros(1, 1, 2, 2), target).backward()
    assert (towards_source > 0).all()
    assert (target.grad < 0).all()


def test_passes_through_a_frozen_discriminator_to_the_prediction(pattern):
    discriminator = nn.Conv2d(19, 1, 4, stride=2).requires_grad_(False)
    logits = pattern(1, 19, 12, 12, seed=3).requires_grad_()
    adversarial_loss(discriminator(logits.softmax(dim=1))).backward()
    assert logits.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in discriminator.parameters())


def test_gradients_are_those_of_the_values(pattern):
    source = pattern(1, 1, 2, 3, seed=1, dtype=torch.float64).requires_grad_()
    target = pattern(1, 1, 3, 2, seed=2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(adversarial_loss, (target,))
    assert torch.autograd.gradcheck(discriminator_loss, (source, target))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_are_squared_in_float32(dtype):
    # 300 squared is more than float16 can hold, and 90001 falls between two bfloat16 numbers.
    scores = torch.tensor([300.0, 1.0], dtype=dtype)
    assert adversarial_loss(scores).item() == pytest.approx((300.0**2 + 1) / 2)
    assert discriminator_loss(scores, scores).dtype == torch.float32
