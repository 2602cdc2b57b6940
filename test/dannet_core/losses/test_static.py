import math

import pytest
import torch
from torch.nn import functional

from dannet_core.classes import CITYSCAPES_CLASS_SHARES, reweighting_vector
from dannet_core.errors import ImageError, SettingsError
from dannet_core.losses.static import STATIC_VARIANTS, StaticLoss, static_divisor, static_loss

WEIGHTS = torch.from_numpy(reweighting_vector(CITYSCAPES_CLASS_SHARES, std=0.05))
ROAD, BUILDING, SKY, PERSON, CAR = 0, 2, 10, 11, 13


@pytest.fixture
def batch(pattern, label_pattern):
    return pattern(2, 19, 24, 32, seed=4, scale=6.0), label_pattern(2, 24, 32, seed=6, above=11)


def equations_8_and_9(logits, labels, gamma):
    """Pixel by pixel and neighbour by neighbour, as the paper has it."""
    likelihoods = logits.double().softmax(dim=1)
    batch, height, width = labels.shape
    losses = []
    for n in range(batch):
        for row in range(height):
            for column in range(width):
                if labels[n, row, column] > SKY:
                    continue
                rows = range(max(row - 1, 0), min(row + 2, height))
                columns = range(max(column - 1, 0), min(column + 2, width))
                near = {int(labels[n, r, c]) for r in rows for c in columns} & set(range(SKY + 1))
                p = max(likelihoods[n, k, row, column].item() for k in near)
                losses.append(-((1 - p) ** gamma) * math.log(p))
    return sum(losses) / len(losses)


def logits_of(likelihoods):
    """N x 19 x H x W logits with the given likelihoods by class, the rest of the mass on the last class."""
    height, width = next(iter(likelihoods.values())).shape
    result = torch.full((1, 19, height, width), 1e-12, dtype=torch.float64)
    for k, value in likelihoods.items():
        result[0, k] = value
    result[0, 18] = 1 - result[0, :18].sum(0)
    return result.log()


def focal(p):
    return -(1 - p) * math.log(p)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_follows_equations_8_and_9_written_out(batch, gamma):
    logits, labels = (value[:, :13, :18] if value.dim() == 3 else value[..., :13, :18] for value in batch)
    expected = equations_8_and_9(logits, labels, gamma)
    assert static_loss(logits, labels, gamma=gamma).item() == pytest.approx(expected, rel=1e-5)


def test_a_neighbours_class_counts_where_it_is_likelier_than_the_own():
    road, building = torch.full((3, 3), 0.2), torch.full((3, 3), 0.1)
    building[1, 1] = 0.6
    labels = torch.full((1, 3, 3), ROAD)
    labels[0, 2, 2] = BUILDING
    logits = logits_of({ROAD: road, BUILDING: building})
    # Only the centre and the pixels around the building's corner see it: at the corner itself road (0.2) is likelier.
    assert static_loss(logits, labels).item() == pytest.approx((8 * focal(0.2) + focal(0.6)) / 9, rel=1e-6)
    own_only = (8 * focal(0.2) + focal(0.1)) / 9
    assert static_loss(logits, labels, "focal").item() == pytest.approx(own_only, rel=1e-6)


def test_two_pixels_away_is_not_a_neighbour():
    likelihoods = {ROAD: torch.full((1, 3), 0.2), BUILDING: torch.tensor([[0.7, 0.1, 0.3]])}
    labels = torch.tensor([[[ROAD, ROAD, BUILDING]]])
    loss = static_loss(logits_of(likelihoods), labels)
    assert loss.item() == pytest.approx((focal(0.2) + focal(0.2) + focal(0.3)) / 3, rel=1e-6)


@pytest.mark.parametrize("ignored", [PERSON, CAR, 18, 255])
def test_ignored_neighbours_never_count_and_ignored_pixels_pay_nothing(ignored):
    likelihoods = {ROAD: torch.full((3, 3), 0.2), PERSON: torch.full((3, 3), 0.3), CAR: torch.full((3, 3), 0.4)}
    labels = torch.full((1, 3, 3), ignored)
    labels[0, 1, 1] = ROAD
    logits = logits_of(likelihoods).requires_grad_()
    loss = static_loss(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx(focal(0.2), rel=1e-6)
    touched = (logits.grad != 0).any(dim=1)
    assert touched.sum().item() == 1
    assert touched[0, 1, 1]


def test_image_borders_bring_no_class_from_the_other_side():
    likelihoods = {ROAD: torch.full((4, 4), 0.2), BUILDING: torch.full((4, 4), 0.5)}
    labels = torch.full((1, 4, 4), ROAD)
    labels[0, :, 3] = BUILDING
    # Column 2 and 3 see the building; columns 0 and 1 do not.
    loss = static_loss(logits_of(likelihoods), labels)
    assert loss.item() == pytest.approx((focal(0.2) + focal(0.5)) / 2, rel=1e-6)


def test_images_of_a_batch_are_not_neighbours(batch):
    logits, labels = batch
    counts = [static_divisor(labels[i : i + 1]) for i in range(2)]
    apart = [static_loss(logits[i : i + 1], labels[i : i + 1]) * counts[i] for i in range(2)]
    assert static_loss(logits, labels).item() == pytest.approx((sum(apart) / sum(counts)).item(), rel=1e-6)


def test_cross_entropy_variant_is_pytorchs(batch):
    logits, labels = batch
    expected = functional.cross_entropy(logits, labels.long(), ignore_index=255)
    assert static_loss(logits, labels, "cross_entropy").item() == pytest.approx(expected.item(), rel=1e-6)


def test_focal_variant_scales_each_pixels_cross_entropy(batch):
    logits, labels = batch
    nll = functional.cross_entropy(logits, labels.long(), ignore_index=255, reduction="none")
    expected = ((1 - (-nll).exp()) ** 2 * nll)[labels != 255].mean()
    assert static_loss(logits, labels, "focal", gamma=2.0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_neighbourhood_never_costs_more_than_the_own_label(batch):
    assert static_loss(*batch, "paper") < static_loss(*batch, "focal") < static_loss(*batch, "cross_entropy")


def test_official_variant_gives_the_released_codes_figures(batch):
    logits, labels = batch
    # The released code overwrites labels near the border while it shifts them; a frame of ignored pixels keeps it off.
    labels[:, :4], labels[:, -4:], labels[..., :4], labels[..., -4:] = 255, 255, 255, 255
    logits.requires_grad_()
    loss = static_loss(logits, labels, "official", 1.0, WEIGHTS)
    loss.backward()
    assert loss.item() == pytest.approx(5.6074820, rel=1e-5)
    assert logits.grad.norm().item() == pytest.approx(0.05067761, rel=1e-5)


def test_official_variant_looks_at_the_static_classes_only(batch):
    logits, labels = batch
    loss = static_loss(logits, labels, "official", 1.0, WEIGHTS)
    shifted = torch.cat([logits[:, :11], logits[:, 11:] + 50], dim=1)
    assert static_loss(shifted, labels, "official", 1.0, WEIGHTS[:11]).item() == loss.item()
    assert static_loss(shifted, labels) > 5 * static_loss(logits, labels)


def test_official_variant_weighs_likelihoods_inside_the_logarithm():
    static_logits = torch.zeros(1, 11, 1, 1)
    p = WEIGHTS[SKY].item() / 11
    loss = static_loss(static_logits, torch.full((1, 1, 1), SKY), "official", 1.0, WEIGHTS)
    assert loss.item() == pytest.approx(focal(p), rel=1e-6)


def test_official_variant_stays_finite_where_weighted_likelihoods_pass_one(pattern):
    logits = torch.zeros(1, 11, 2, 2)
    logits[:, 6] = 100.0
    logits.requires_grad_()
    labels = torch.tensor([[[6, 6], [3, 255]]])
    loss = static_loss(logits, labels, "official", 1.0, WEIGHTS)
    loss.backward()
    # Two certain pixels cost nothing, the impossible one -log 1e-7.
    assert loss.item() == pytest.approx(-math.log(1e-7) / 3, rel=1e-4)
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("variant", STATIC_VARIANTS)
@pytest.mark.parametrize("label", [255, PERSON])
def test_without_a_static_pixel_loss_and_gradients_are_zero(batch, variant, label):
    logits, labels = batch
    logits.requires_grad_()
    loss = static_loss(logits, torch.full_like(labels, label), variant, 1.0, WEIGHTS)
    loss.backward()
    assert loss.item() == 0.0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("variant", STATIC_VARIANTS)
def test_only_static_pixels_get_gradients(batch, variant):
    logits, labels = batch[0] / 3, batch[1]
    labels[0, :6] = CAR
    logits.requires_grad_()
    static_loss(logits, labels, variant, 1.0, WEIGHTS).backward()
    assert logits.grad.isfinite().all()
    assert torch.equal((logits.grad != 0).any(dim=1), labels <= SKY)


@pytest.mark.parametrize("variant", STATIC_VARIANTS)
def test_a_batch_of_one_works_and_leaves_the_labels_alone(batch, variant):
    logits, labels = batch[0][:1], batch[1][:1]
    before = labels.clone()
    assert static_loss(logits, labels, variant, 1.0, WEIGHTS).item() > 0
    assert torch.equal(labels, before)


@pytest.mark.parametrize("variant", STATIC_VARIANTS)
def test_gradients_are_those_of_the_values(pattern, variant):
    logits = pattern(1, 13, 3, 4, seed=2, scale=2.0, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([[[0, 1, 12, 3], [4, 255, 255, 1], [10, 0, 2, 2]]])
    for gamma in (1.0, 2.0):
        assert torch.autograd.gradcheck(
            lambda x, g=gamma: static_loss(x, labels, variant, g, WEIGHTS.double()), (logits,)
        )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_certain_pixels_have_finite_gradients(gamma):
    logits = torch.zeros(1, 19, 2, 2)
    logits[:, ROAD] = 200.0
    logits.requires_grad_()
    loss = static_loss(logits, torch.full((1, 2, 2), ROAD), gamma=gamma)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.isfinite().all()


def test_impossible_pixels_keep_their_whole_gradient():
    logits = torch.zeros(1, 19, 1, 1)
    logits[:, CAR] = 60.0
    logits.requires_grad_()
    loss = static_loss(logits, torch.full((1, 1, 1), ROAD))
    loss.backward()
    assert loss.item() == pytest.approx(60.0)
    assert logits.grad[0, ROAD].item() == pytest.approx(-1.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("variant", STATIC_VARIANTS)
def test_half_precision_logits_are_computed_in_float32(batch, variant, dtype):
    logits, labels = batch[0].to(dtype), batch[1]
    loss = static_loss(logits, labels, variant, 1.0, WEIGHTS)
    assert loss.dtype == torch.float32
    assert loss.item() == static_loss(logits.float(), labels, variant, 1.0, WEIGHTS).item()


def test_shares_of_a_batch_with_one_divisor_average_to_the_whole(batch):
    logits, labels = batch
    labels[0, :, 8:] = 255
    shared = torch.stack([static_divisor(labels[i : i + 1]) for i in range(2)]).float().mean()
    parts = [static_loss(logits[i : i + 1], labels[i : i + 1], divisor=shared) for i in range(2)]
    assert sum(parts).item() / 2 == pytest.approx(static_loss(logits, labels).item(), rel=1e-6)


def test_module_gives_what_the_function_gives(batch):
    module = StaticLoss("official", 2.0, WEIGHTS)
    assert module(*batch).item() == static_loss(*batch, "official", 2.0, WEIGHTS).item()
    assert not module.state_dict()


def test_refuses_what_does_not_fit(batch):
    logits, labels = batch
    with pytest.raises(ImageError, match="upsample the logits"):
        static_loss(logits[..., ::2, ::2], labels)
    with pytest.raises(SettingsError, match="variant: got 'dice', expected one of paper, focal, cross_entropy, off"):
        StaticLoss("dice")
    with pytest.raises(SettingsError, match="gamma: got -1"):
        StaticLoss(gamma=-1.0)
    with pytest.raises(SettingsError, match=r"class_weights: got none.*'official' needs it"):
        static_loss(logits, labels, "official")
