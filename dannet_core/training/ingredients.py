"""Which passes a run adds to the paper's step, and what it changes in the source's; nothing by default."""

from __future__ import annotations

from collections.abc import Sequence

from dannet_core.errors import SettingsError
from dannet_core.training.config import TrainConfig
from dannet_core.training.darkening import SourceDarkening
from dannet_core.training.domain_step import DomainStep, Networks
from dannet_core.training.masking import MaskedConsistency
from dannet_core.training.mixing import ClassMixing
from dannet_core.training.night_labels import NightLabeller
from dannet_core.training.precision import Precision
from dannet_core.training.teacher import Teacher


def add_ingredients(
    step: DomainStep,
    config: TrainConfig,
    networks: Networks,
    teacher: Teacher | None,
    precision: Precision,
    static_classes: Sequence[int],
) -> None:
    """Give a step what follows the paper's passes, in order, and what its source pass sees.

    Raises:
        SettingsError: an ingredient needs another that is off, or sizes differ.
    """
    beyond = config.beyond
    _check(config, teacher is not None)
    if beyond.darkening > 0:
        step.source_view = SourceDarkening(beyond.darkening, config.seed)
    if teacher is None:
        return
    fused_for = static_classes if beyond.night_labels == "fused" else None
    labeller = NightLabeller(teacher, beyond.certain, precision, fused_for)
    if beyond.mixing > 0:
        mixing = ClassMixing(networks, labeller, beyond.mixing, config.seed, precision)
        if beyond.one_batch:
            step.companion = mixing
        else:
            step.ingredients.append(mixing)
    if beyond.masking > 0:
        options = {"weight": beyond.masking, "covered": beyond.covered}
        step.ingredients.append(MaskedConsistency(networks, labeller, **options, seed=config.seed, precision=precision))


def _check(config: TrainConfig, has_teacher: bool) -> None:
    beyond, crop = config.beyond, config.crop
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
