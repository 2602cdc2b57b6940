"""Which passes a run adds to the paper's step; none by default."""

from __future__ import annotations

from collections.abc import Sequence

from dannet_core.errors import SettingsError
from dannet_core.training.config import TrainConfig
from dannet_core.training.domain_step import Ingredient, Networks
from dannet_core.training.masking import MaskedConsistency
from dannet_core.training.mixing import ClassMixing
from dannet_core.training.night_labels import NightLabeller
from dannet_core.training.precision import Precision
from dannet_core.training.teacher import Teacher


def build_ingredients(
    config: TrainConfig,
    networks: Networks,
    teacher: Teacher | None,
    precision: Precision,
    static_classes: Sequence[int],
) -> list[Ingredient]:
    """What follows the paper's passes in a step, in order.

    Raises:
        SettingsError: an ingredient needs another that is off.
    """
    beyond = config.beyond
    ingredients: list[Ingredient] = []
    if teacher is not None:
        fused_for = static_classes if beyond.night_labels == "fused" else None
        labeller = NightLabeller(teacher, beyond.certain, precision, fused_for)
        if beyond.mixing > 0:
            ingredients.append(ClassMixing(networks, labeller, beyond.mixing, config.seed, precision))
        if beyond.masking > 0:
            options = {"weight": beyond.masking, "covered": beyond.covered}
            ingredients.append(MaskedConsistency(networks, labeller, **options, seed=config.seed, precision=precision))
        return ingredients
    for name, weight in (("mixing", beyond.mixing), ("masking", beyond.masking)):
        if weight > 0:
            raise SettingsError(f"beyond.{name} needs the pseudo labels of a teacher: set beyond.teacher, e.g. to 0.99")
    return ingredients
