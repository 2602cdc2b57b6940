import pytest
import torch

from dannet_core.classes import CITYSCAPES_CLASS_SHARES, STATIC_CLASSES, reweighting_vector
from dannet_core.errors import ImageError, SettingsError
from dannet_core.losses.static import static_loss
from dannet_core.training.pseudo_labels import PSEUDO_LABEL_VARIANTS, make_pseudo_labels

WEIGHTS = torch.from_numpy(reweighting_vector(CITYSCAPES_CLASS_SHARES, std=0.05))
ROAD, BUILDING, SKY, PERSON, CAR = 0, 2, 10, 11, 13


def spread(*shape, seed, scale):
    """Numbers over -scale..scale, the same on every machine."""
    index = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    values = torch.sin(index * 12.9898 + seed * 78.233) * 43758.5453
    return ((values - values.floor()) * 2 - 1).mul(scale).reshape(shape).float()


@pytest.fixture
def pair():
    """Logits of the day and of the night image."""
    return spread(2, 19, 24, 32, seed=7, scale=2.0), spread(2, 19, 24, 32, seed=8, scale=2.0)


def one_pixel(**logits_by_class):
    logits = torch.full((1, 19, 1, 1), -5.0)
    for name, value in logits_by_class.items():
        logits[0, globals()[name.upper()]] = value
    return logits


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_paper_takes_the_largest_weighted_likelihood_of_the_day(pair, weights):
    day, night = pair
    likelihoods = day.double().softmax(dim=1) * (1 if weights is None else weights.double().reshape(1, -1, 1, 1))
    expected = likelihoods.argmax(dim=1)
    expected[expected > SKY] = 255
    labels = make_pseudo_labels(day, night, weights)
    assert labels.dtype == torch.uint8
    assert torch.equal(labels.long(), expected)
    assert 0.3 < (labels == 255).float().mean() < 0.7


def test_paper_does_not_look_at_the_night(pair):
    day, night = pair
    assert torch.equal(make_pseudo_labels(day, night, WEIGHTS), make_pseudo_labels(day, -night, WEIGHTS))


def test_weights_tip_the_balance_towards_rare_classes():
    # Building is 1.02 times as likely as sky, and several times as frequent.
    day = one_pixel(building=2.02, sky=2.0)
    assert make_pseudo_labels(day, day).item() == BUILDING
    assert make_pseudo_labels(day, day, WEIGHTS).item() == SKY


def test_classes_that_move_are_ignored():
    day = one_pixel(road=1.0, car=3.0)
    assert make_pseudo_labels(day, day).item() == 255
    assert make_pseudo_labels(day, day, variant="official").item() == 255


def test_static_classes_can_be_chosen():
    day = one_pixel(road=1.0, building=3.0)
    assert make_pseudo_labels(day, day).item() == BUILDING
    without = [k for k in STATIC_CLASSES if k != BUILDING]
    assert make_pseudo_labels(day, day, static_classes=without).item() == 255


@pytest.mark.parametrize(
    ("day_road", "night_building", "expected"),
    [
        (0.5, 0.5, ROAD),  # confident day: 0.8 * 0.5 of the road, 0.8 * 0.5 - 0.2 * 1 of the building
        (0.3, 0.5, BUILDING),  # unsure day: 0.2 * 0.3 - 0.8 * 1 of the road
        (0.5, 4.0, BUILDING),
    ],
)
def test_official_trusts_the_day_where_its_logit_is_above_the_threshold(day_road, night_building, expected):
    day = one_pixel(road=day_road, building=-1.0)
    night = one_pixel(road=-1.0, building=night_building)
    assert make_pseudo_labels(day, night, variant="official").item() == expected


def test_official_takes_moving_classes_from_the_night_alone():
    day, night = one_pixel(road=1.0, car=9.0), one_pixel(road=1.0, person=0.5)
    assert make_pseudo_labels(day, night, variant="official").item() == ROAD
    assert make_pseudo_labels(night, day, variant="official").item() == 255


def test_official_gives_the_released_codes_labels(pair):
    labels = make_pseudo_labels(*pair, WEIGHTS, "official").long()
    counts = [21, 34, 20, 75, 50, 49, 69, 47, 36, 54, 53]
    assert torch.bincount(labels.flatten(), minlength=256)[:11].tolist() == counts
    positions = torch.arange(1, labels.numel() + 1) % 1009
    assert (labels.flatten() * positions).sum().item() == 113642878


@pytest.mark.parametrize("variant", PSEUDO_LABEL_VARIANTS)
def test_no_gradient_reaches_the_day_through_the_static_loss(pair, variant):
    day, night = (logits.requires_grad_() for logits in pair)
    labels = make_pseudo_labels(day, night, WEIGHTS, variant)
    assert not labels.requires_grad
    static_loss(night, labels).backward()
    assert day.grad is None
    assert night.grad.abs().sum() > 0


@pytest.mark.parametrize("variant", PSEUDO_LABEL_VARIANTS)
def test_half_precision_is_compared_in_float32(pair, variant):
    # In bfloat16, adding log w to a logit above 4 changes nothing for most classes.
    day, night = ((logits * 4).bfloat16() for logits in pair)
    labels = make_pseudo_labels(day, night, WEIGHTS, variant)
    assert torch.equal(labels, make_pseudo_labels(day.float(), night.float(), WEIGHTS, variant))


@pytest.mark.parametrize("variant", PSEUDO_LABEL_VARIANTS)
def test_images_of_a_batch_are_labelled_each_for_itself(pair, variant):
    together = make_pseudo_labels(*pair, WEIGHTS, variant)
    alone = [make_pseudo_labels(*(logits[i : i + 1] for logits in pair), WEIGHTS, variant) for i in range(2)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("variant", PSEUDO_LABEL_VARIANTS)
def test_compiles_to_one_graph_and_so_never_waits_for_the_device(pair, variant):
    compiled = torch.compile(make_pseudo_labels, fullgraph=True, backend="eager")
    assert torch.equal(compiled(*pair, WEIGHTS, variant), make_pseudo_labels(*pair, WEIGHTS, variant))


def test_refuses_what_does_not_fit(pair):
    day, night = pair
    with pytest.raises(ImageError, match="pseudo labels: got shapes"):
        make_pseudo_labels(day, night[..., ::2, ::2])
    with pytest.raises(SettingsError, match="variant: got 'soft', expected one of paper, official"):
        make_pseudo_labels(day, night, variant="soft")


def test_fused_takes_the_day_where_things_stand_still_and_the_night_where_they_move():
    day = torch.nn.functional.one_hot(torch.tensor([[[0, 13, 2, 13]]]), 19).permute(0, 3, 1, 2).float()
    night = torch.nn.functional.one_hot(torch.tensor([[[10, 10, 11, 18]]]), 19).permute(0, 3, 1, 2).float()
    fused = make_pseudo_labels(day, night, None, "fused")
    # road by day beats sky by night; a car that has gone is not known; a person and a bicycle of the night stay.
    assert fused.tolist() == [[[0, 255, 11, 18]]]
    weights = torch.ones(19)
    weights[2] = 10.0
    assert make_pseudo_labels(day, night, weights, "fused").tolist() == [[[2, 2, 2, 2]]]
