from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from dannet_core.losses.light import EXPOSURE_KINDS, TV_KINDS  # noqa: E402 - after the skip
from dannet_core.losses.segmentation import SEGMENTATION_DIVISORS  # noqa: E402
from dannet_core.losses.static import STATIC_VARIANTS  # noqa: E402
from dannet_core.networks import build_dannet  # noqa: E402
from dannet_core.settings import parse  # noqa: E402
from dannet_core.training import config  # noqa: E402
from dannet_core.training.optimisers import GENERATOR_OPTIMISERS  # noqa: E402
from dannet_core.training.pseudo_labels import PSEUDO_LABEL_VARIANTS  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[3] / "config" / "train"
ON_TOP = ["official.yaml", "beyond_without_labels.yaml"]
WHOLE = sorted(path.name for path in CONFIGS.glob("*.yaml") if path.name not in ON_TOP)
OVERLAYS = [*ON_TOP, *sorted(f"ablations/{path.name}" for path in (CONFIGS / "ablations").glob("*.yaml"))]


def read(*names: str) -> config.TrainConfig:
    files = [word for name in names for word in ("--config", str(CONFIGS / name))]
    return parse(config.TrainConfig, ["--data.source", "x", *files], "train", "", config.PRESETS)


def test_the_choices_are_those_of_the_losses():
    assert set(config.STATIC_FORMS) == set(STATIC_VARIANTS)
    assert set(config.PSEUDO_LABELS) == set(PSEUDO_LABEL_VARIANTS)
    assert set(config.TV_KINDS) == set(TV_KINDS)
    assert set(config.EXPOSURE_KINDS) == set(EXPOSURE_KINDS)
    assert set(config.DIVISORS) == set(SEGMENTATION_DIVISORS)
    assert set(config.GENERATOR_OPTIMISERS) == set(GENERATOR_OPTIMISERS)


@pytest.mark.parametrize("name", WHOLE)
def test_every_configuration_loads_and_names_a_network_that_exists(name):
    model = read(name).model
    with torch.device("meta"):
        build_dannet(model.arch, backbone=model.backbone, relighting_width=model.relighting_width)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_overlay_changes_the_full_model(name):
    full, changed = read("pspnet.yaml"), read("pspnet.yaml", name)
    if name != "ablations/std_0.05.yaml":  # the full model's own place in the sweep
        assert changed != full
    assert changed.run_dir == full.run_dir


def test_the_official_preset_is_the_released_code():
    official = read("pspnet.yaml", "official.yaml")
    assert (official.loss.light_source, official.loss.light) == (1.0, 0.01)
    assert (official.optimiser.lr_discriminator, official.optimiser.steps) == (1e-4, 50_000)
    assert (official.crop.target, official.crop.target_input) == ((960, 960), (512, 512))
    assert (official.loss.tv, official.loss.exposure) == ("released", "released")
    assert (official.loss.static_form, official.loss.pseudo_labels) == ("official", "official")


def test_the_beyond_preset_turns_the_measured_ingredients_on_and_paper_has_none():
    beyond, paper = read("beyond.yaml"), read("efficientvit.yaml")
    assert (beyond.optimiser.generator, beyond.optimiser.target_statistics) == ("adamw", 0)
    assert (beyond.loss.target_losses, beyond.beyond.mixing, beyond.beyond.teacher) == (False, 1.0, 0.95)
    assert paper.loss.target_losses
    assert (beyond.beyond.darkening, beyond.beyond.one_batch, beyond.beyond.statistics) == (0.75, True, 30)
    assert (beyond.crop.of_input_size, paper.crop.of_input_size) == (True, False)
    assert (paper.beyond.darkening, paper.beyond.one_batch, paper.beyond.statistics) == (0, False, 0)
    assert (beyond.beyond.blend, beyond.beyond.blend_least, beyond.beyond.blend_most) == (5, 0.7, 0.7)
    assert (beyond.beyond.statistics_of, beyond.beyond.missing_classes) == ("whole", True)
    assert (beyond.beyond.certain_start, paper.beyond.certain_start) == (0.5, 0.9)
    assert (paper.beyond.statistics_of, paper.beyond.missing_classes) == ("source", False)
    for one in (beyond, paper):
        assert (one.beyond.distillation, one.beyond.feature_distance, one.beyond.larger_teacher) == (0, 0, None)
        assert one.beyond.start_views == "one"
        assert one.beyond.lights == "random"
    off = (paper.beyond.teacher, paper.beyond.mixing, paper.beyond.masking, paper.beyond.blend, paper.beyond.patience)
    assert not any(off)
    assert (paper.optimiser.generator, paper.optimiser.lr_head) == ("sgd", None)


def test_without_labels_more_of_the_start_is_kept_and_the_blend_is_fitted():
    ours = read("beyond.yaml", "beyond_without_labels.yaml")
    assert ours.optimiser == read("beyond.yaml").optimiser
    assert (ours.beyond.blend_least, ours.beyond.blend_most) == (0.4, 0.4)
    assert (ours.beyond.certain_start, ours.beyond.statistics, ours.beyond.statistics_of) == (0.5, 20, "whole")
    assert (ours.beyond.start_views, ours.beyond.rare_classes) == ("several", 0.01)
