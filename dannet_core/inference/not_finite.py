"""What to say, and to advise, where a network gave NaN or infinity for a picture."""

from __future__ import annotations

from typing import Final

from dannet_core.errors import NotFiniteError

_ADVICE: Final = {"one_hot": "the graph gave labels beyond its classes: adopt it again with a class map"}


def no_labels(error: NotFiniteError, scores: str, precision: str) -> NotFiniteError:
    """The error for the user.

    Args:
        error: what was found.
        scores: what the model gives, see `ModelMetadata.scores`.
        precision: what it computes in.
    """
    advice = _ADVICE.get(scores) or (
        "damaged weights, or a division by zero: export it again, which tries dark and bright pictures"
        if precision == "fp32"
        else f"{precision} may overflow: try the model in fp32"
    )
    return NotFiniteError(f"the network gave no labels for this picture: {error}: {advice}")
