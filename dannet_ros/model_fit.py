"""What a model cannot give, and which parameters therefore do not go with it."""

from __future__ import annotations

from typing import Any

from dannet_core.classes import reweighting_vector
from dannet_core.errors import SettingsError
from dannet_core.metadata import ModelMetadata


def misfit(metadata: ModelMetadata, name: str, value: Any) -> str | None:
    """Why a parameter's value does not go with the model, in one line; None when it does.

    Args:
        metadata: of the open model.
        name: of the parameter.
        value: one that the parameter's own checks have passed.
    """
    absent = metadata.absent
    if name == "reweight_std":
        try:
            reweighting_vector(metadata.class_shares, value)
        except SettingsError as error:
            return f"parameter {error}"
    if name == "min_confidence" and value > 0 and "confidence" in absent:
        return f"parameter min_confidence: got {value:g}, expected 0: {absent['confidence']}"
    if name == "outputs" and absent.keys() >= set(value):
        reasons = ", ".join(absent[output] for output in sorted(value))
        return f"parameter outputs: got {', '.join(value)} alone, expected others too: {reasons}"
    return None
