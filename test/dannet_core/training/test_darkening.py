import pytest

torch = pytest.importorskip("torch")

from dannet_core.data.loaders import seeded  # noqa: E402 - after the skip
from dannet_core.errors import SettingsError  # noqa: E402
from dannet_core.training.darkening import (  # noqa: E402
    EXPOSURES,
    MAX_HAZE,
    MAX_NOISE,
    SourceDarkening,
    darken,
    normalised,
    shown,
    with_lights,
)
from dannet_core.training.distributed import Processes  # noqa: E402
from dannet_core.training.domain_step import Part, StepResult  # noqa: E402
from dannet_core.training.feed import open_feed  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402
from dannet_core.training.run_parts import build_adaptation  # noqa: E402
from dannet_core.training.step_inputs import StepInputs  # noqa: E402

ALONE = Processes(0, 1, torch.device("cpu"))


def test_every_class_takes_the_brightness_and_tint_of_the_night_under_it():
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(40, 60, dtype=torch.int64)
    labels[:20] = 10  # the sky: bright by day, dark by night
    day = torch.rand(3, 40, 60, generator=generator) * 0.1 + torch.where(labels == 10, 0.9, 0.5)
    night = torch.where(labels == 10, 0.1, 0.4) * torch.tensor([1.0, 0.8, 0.5]).view(3, 1, 1)
    dark = torch.stack([shown(darken(normalised(day), normalised(night), labels, seeded(s))) for s in range(100)])
    means = dark.unflatten(2, (2, 20)).mean(dim=(0, 3, 4))  # channels x (sky, ground)
    expected = torch.tensor([[0.1, 0.4], [0.08, 0.32], [0.05, 0.2]]) * sum(EXPOSURES) / 2 + MAX_HAZE / 2
    torch.testing.assert_close(means, expected, rtol=0.15, atol=0.01)
    brighter = shown(darken(normalised(night), normalised(day), labels, seeded(1)))
    assert (brighter.mean(dim=(1, 2)) < night.mean(dim=(1, 2)) * 1.2 + MAX_HAZE).all()  # never lit up


def test_one_class_stays_apart_from_another_and_noise_is_of_its_size():
    labels = torch.zeros(64, 64, dtype=torch.int64)
    day, night = torch.full((3, 64, 64), 0.5), torch.full((3, 64, 64), 0.2)
    for seed in range(8):
        torch.manual_seed(seed)
        dark = shown(darken(normalised(day), normalised(night), labels, seeded(seed)))
        rough = dark[:, :, 1:] - dark[:, :, :-1]
        assert 0 < float(rough.std()) < 2 * MAX_NOISE


def test_lights_only_brighten_and_depend_on_their_numbers_alone():
    dark = normalised(torch.full((3, 48, 64), 0.1))
    first, again, other = (with_lights(dark, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (shown(first) >= shown(dark) - 1e-5).all()
    assert float(shown(first).max()) > 0.3
    torch.testing.assert_close(shown(dark), torch.full((3, 48, 64), 0.1))  # its own picture is left alone


def test_a_share_of_the_source_is_darkened_and_the_run_draws_on_as_before():
    source, night = normalised(torch.full((1, 3, 16, 16), 0.8)), normalised(torch.full((1, 3, 24, 20), 0.1))
    labels = torch.zeros(1, 16, 16, dtype=torch.int64)
    before = torch.get_rng_state()
    changed = 0
    for step in range(60):
        inputs = StepInputs(source, labels, night, night, (24, 20), [], step, (0,))
        seen = SourceDarkening(0.5, 0)(Part(inputs, StepResult(), 1.0))
        changed += not torch.equal(seen, source)
        assert torch.equal(seen, SourceDarkening(0.5, 0)(Part(inputs, StepResult(), 1.0)))
    assert 18 < changed < 42
    assert torch.equal(torch.get_rng_state(), before)


def first_losses(config):
    feed = open_feed(config, "train", ALONE)
    torch.manual_seed(0)
    adaptation = build_adaptation(config, "train", feed.class_shares, ALONE)
    result = StepResult()
    adaptation.step.adapt(Part(next(feed.inputs(0, 1)), result, 1.0))
    return {name: float(value) for name, value in result.losses.items()}, adaptation


def test_darkening_changes_what_the_source_pass_sees_and_nothing_before_it(tiny_run):
    plain, _ = first_losses(tiny_run())
    dark, _ = first_losses(tiny_run(beyond__darkening=1.0))
    assert dark["segmentation"] != plain["segmentation"]
    assert {name: dark[name] for name in ("static", "light_day")} == {
        name: plain[name] for name in ("static", "light_day")
    }


def test_one_batch_trains_on_both_and_its_statistics_are_of_both(tiny_run):
    changes = {"loss__target_losses": False, "beyond__teacher": 0.9, "beyond__mixing": 1.0, "beyond__darkening": 0.5}
    changes["model__relighting_width"] = 0
    apart, two = first_losses(tiny_run(**changes))
    joined, one = first_losses(tiny_run(**changes, beyond__one_batch=True))
    assert joined.keys() == apart.keys() == {"segmentation", "mixing"}
    assert joined["segmentation"] != apart["segmentation"]
    counts = [
        {int(value) for key, value in adaptation.networks.net.state_dict().items() if "num_batches" in key}
        for adaptation in (two, one)
    ]
    assert counts == [{2}, {1}]
    assert all(p.grad is not None for p in one.networks.net.parameters() if p.requires_grad)
    last = run_training(tiny_run(**changes, beyond__one_batch=True, optimiser__steps=1), "train")
    assert last.is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beyond__one_batch": True}, "beyond.one_batch needs pictures to join: set beyond.mixing"),
        (
            {
                "beyond__one_batch": True, "beyond__mixing": 1.0, "beyond__teacher": 0.9, "crop__source": (96, 64)
            },
            r"crop.source: got \[96, 64\], expected at most the \[64, 96\]",
        ),
        ({"beyond__statistics": 1, "optimiser__target_statistics": 1}, "statistics of day and night, or of the night"),
        ({"beyond__statistics_of": "whole"}, "whole, but nothing asks it: set beyond.statistics, .* or this to source"),
        ({"beyond__lights": "placed"}, "beyond.lights: got placed, but nothing asks it: set beyond.darkening"),
        ({"beyond__feature_classes": "moving"}, "feature_classes: got moving, but .*: set beyond.feature_distance"),
        ({"crop__of_input_size": True}, "crop.of_input_size needs model.input_size"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tiny_run, changes, message):
    with pytest.raises(SettingsError, match=message):
        run_training(tiny_run(**changes), "train")


def test_crops_can_be_cut_at_the_zoom_the_model_will_see(tiny_run):
    """Toy pictures are 96 x 128: at a height of 192 a crop of 64 x 64 is 32 x 32 of their pixels, enlarged."""
    changes = {"crop__source_scales": (1.0, 1.0), "crop__target_scales": (1.0, 1.0)}
    sizes = []
    for more in ({}, {"crop__of_input_size": True, "model__input_size": (192, 256)}):
        inputs = next(open_feed(tiny_run(**changes, **more), "train", ALONE).inputs(0, 1))
        assert inputs.source.shape[-2:] == (64, 64)
        sizes.append(float((inputs.source[..., 1:] - inputs.source[..., :-1]).abs().mean()))
    assert sizes[1] < sizes[0]
    labels = inputs.labels
    assert torch.equal(labels[:, ::2, ::2], labels[:, 1::2, 1::2])  # every label is there twice, both ways
