import pytest

torch = pytest.importorskip("torch")

from dannet_core.training.darkening import normalised, shown  # noqa: E402 - after the skip
from dannet_core.training.dimming import Dimming  # noqa: E402
from dannet_core.training.domain_step import Part, StepResult  # noqa: E402
from dannet_core.training.distributed import Processes  # noqa: E402
from dannet_core.training.feed import open_feed  # noqa: E402
from dannet_core.training.run_parts import build_adaptation  # noqa: E402
from dannet_core.training.step_inputs import StepInputs  # noqa: E402

CPU = torch.device("cpu")


def part(step=0, places=(0, 1)):
    images = normalised(torch.full((3, 32, 32), 0.5)).expand(len(places), -1, -1, -1)
    labels = torch.zeros(len(places), 32, 32, dtype=torch.int64)
    return Part(StepInputs(images, labels, images, images, (32, 32), [], step, places), StepResult(), 1.0)


def brightness(image):
    return float(shown(image).mean()) / 0.5


def test_light_is_lost_evenly_over_the_powers_of_the_least_share():
    dim = Dimming(0.25, seed=0)
    kept = sorted(brightness(dim(one, one.inputs.source, 1)[0]) for one in (part(step) for step in range(200)))
    assert 0.25 <= kept[0] < 0.27
    assert 0.96 < kept[-1] <= 1.001
    assert kept[100] == pytest.approx(0.5, abs=0.05)  # as many above half of the light as below


def test_the_camera_keeps_its_noise_and_a_picture_with_its_light_is_as_it_was():
    one = part()
    same = Dimming(1.0, seed=0)(one, one.inputs.source, 1)
    torch.testing.assert_close(same, one.inputs.source, rtol=1e-5, atol=1e-5)
    noises = [
        float(shown(Dimming(0.2, seed=0)(one, one.inputs.source, 1)[0]).std()) for one in (part(n) for n in range(40))
    ]
    assert max(noises) > 0.01


def test_what_is_drawn_goes_by_step_place_and_role_and_leaves_other_draws_alone():
    dim = Dimming(0.2, seed=0)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    whole = part(3)
    images = dim(whole, whole.inputs.source, 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(dim(whole, whole.inputs.source, 1), images, rtol=0, atol=0)
    assert brightness(images[0]) != pytest.approx(brightness(images[1]), abs=1e-4)
    assert brightness(dim(whole, whole.inputs.source, 2)[0]) != pytest.approx(brightness(images[0]), abs=1e-4)
    alone = part(3, places=(1,))
    assert brightness(dim(alone, alone.inputs.source, 1)[0]) == pytest.approx(brightness(images[1]), abs=0.01)


def test_source_and_mixed_pictures_of_a_run_are_dimmed(tiny_run):
    def pictures(**changes):
        config = tiny_run(
            loss__target_losses=False, beyond__teacher=0.9, beyond__mixing=1.0, beyond__one_batch=True, **changes
        )
        alone = Processes(0, 1, CPU)
        feed = open_feed(config, "train", alone)
        step = build_adaptation(config, "train", feed.class_shares, alone).step
        one = Part(next(feed.inputs(0, 1)), StepResult(), 1.0)
        return [shown(picture) for batch in (step.source_view(one), step.companion.pictures(one)) for picture in batch]

    plain, dimmed = pictures(), pictures(beyond__dimming=0.1)
    shares = [float(dark.mean() / light.mean()) for dark, light in zip(dimmed, plain, strict=True)]
    assert max(shares) < 1.1
    assert min(shares) < 0.7
    assert len({round(share, 3) for share in shares}) == 4
