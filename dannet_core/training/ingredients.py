"""Which passes a run adds to the paper's step, and what it changes in the source's; nothing by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dannet_core.architectures import BACKBONES
from dannet_core.class_set import ClassSet
from dannet_core.errors import SettingsError
from dannet_core.networks import DANNet
from dannet_core.networks.backbone_weights import library_of
from dannet_core.training.beyond_config import BeyondConfig
from dannet_core.training.config import TrainConfig
from dannet_core.training.darkening import SourceDarkening
from dannet_core.training.distillation import Distillation
from dannet_core.training.domain_step import DomainStep, Networks
from dannet_core.training.feature_distance import FeatureDistance
from dannet_core.training.guide import Guide, Guides
from dannet_core.training.masking import MaskedConsistency
from dannet_core.training.mixing import ClassMixing
from dannet_core.training.night_labels import NightLabeller
from dannet_core.training.night_lights import PlacedLights
from dannet_core.training.precision import Precision
from dannet_core.training.teacher import Teacher


@dataclass(frozen=True)
class Advisers:
    """The networks that others learn from.

    Attributes:
        teacher: the average of the network in training; None without one.
        guides: frozen ones.
    """

    teacher: Teacher | None
    guides: Guides


def add_ingredients(
    step: DomainStep,
    config: TrainConfig,
    networks: Networks,
    advisers: Advisers,
    precision: Precision,
    classes: ClassSet,
) -> None:
    """Give a step what follows the paper's passes, in order, and what its source pass sees and is held to.

    Raises:
        SettingsError: an ingredient needs another that is off, or sizes differ.
    """
    beyond, teacher, guides = config.beyond, advisers.teacher, advisers.guides
    _check(config, teacher is not None)
    lights = PlacedLights(classes.names) if beyond.lights == "placed" else None
    if beyond.darkening > 0:
        step.source_view = SourceDarkening(beyond.darkening, config.seed, lights)
    if beyond.distillation > 0 and guides.day is not None:
        step.source_terms.append(Distillation(guides.day, beyond.distillation))
    if guides.start is not None and beyond.feature_distance > 0:
        _hold_features(step, config, networks.net, guides.start, precision, classes.static)
    if teacher is None:
        return
    fused_for = None if beyond.night_labels == "night" else classes.static
    guide = guides.day if beyond.night_labels == "fused_guide" else None
    labeller = NightLabeller(teacher, beyond.certain, precision, fused_for, guide)
    if beyond.mixing > 0:
        mixing = ClassMixing(networks, labeller, beyond.mixing, config.seed, precision)
        mixing.lights = lights
        if beyond.one_batch:
            step.companion = mixing
        else:
            step.ingredients.append(mixing)
    if beyond.masking > 0:
        options = {"weight": beyond.masking, "covered": beyond.covered}
        step.ingredients.append(MaskedConsistency(networks, labeller, **options, seed=config.seed, precision=precision))


def _hold_features(
    step: DomainStep,
    config: TrainConfig,
    net: DANNet,
    start: Guide,
    precision: Precision,
    static_classes: Sequence[int],
) -> None:
    beyond, model = config.beyond, config.model
    if config.optimiser.compile:
        raise SettingsError(
            "beyond.feature_distance, optimiser.compile: a compiled network hides its features: set one off"
        )
    library = library_of(model.arch, model.backbone or BACKBONES[model.arch][-1])
    name = f"segmentation.{library.backbone[-1].removesuffix('.')}"
    others = static_classes if beyond.feature_classes == "moving" else ()
    distance = FeatureDistance(
        start.net, net, name, weight=beyond.feature_distance, precision=precision, static_classes=others
    )
    step.source_terms.append(distance)
    step.source_watch = distance.watched


def _check_asked(beyond: BeyondConfig) -> None:
    """Refuse what only changes an ingredient that is off: it would do nothing, without a word."""
    for name, does_nothing, asked, wanted in (
        ("statistics_of", "source", beyond.statistics > 0, "statistics, e.g. to 30"),
        ("lights", "random", beyond.darkening + beyond.mixing > 0, "darkening, e.g. to 0.5"),
        ("feature_classes", "all", beyond.feature_distance > 0, "feature_distance"),
    ):
        if (got := getattr(beyond, name)) != does_nothing and not asked:
            raise SettingsError(
                f"beyond.{name}: got {got}, but nothing asks it: set beyond.{wanted}, or this to {does_nothing}"
            )


def _check(config: TrainConfig, has_teacher: bool) -> None:
    beyond, crop = config.beyond, config.crop
    _check_asked(beyond)
    for name, weight in (("mixing", beyond.mixing), ("masking", beyond.masking)):
        if weight > 0 and not has_teacher:
            raise SettingsError(f"beyond.{name} needs the pseudo labels of a teacher: set beyond.teacher, e.g. to 0.99")
    if beyond.statistics > 0 and config.optimiser.target_statistics > 0:
        raise SettingsError(
            "beyond.statistics, optimiser.target_statistics: statistics of day and night, or of the night: set one to 0"
        )
    if not beyond.one_batch:
        return
    if beyond.mixing == 0:
        raise SettingsError("beyond.one_batch needs pictures to join: set beyond.mixing, e.g. to 1")
    target = crop.target_input or crop.target
    if any(ours > theirs for ours, theirs in zip(crop.source, target, strict=True)):
        raise SettingsError(
            f"crop.source: got {list(crop.source)}, expected at most the {list(target)} of the target's crop: with "
            "beyond.one_batch the mixed pictures have the size of the source's"
        )
