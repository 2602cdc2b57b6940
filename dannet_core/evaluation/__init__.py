"""Evaluation: predictions against labels, reports of it, and the Dark Zurich test submission."""

from dannet_core.evaluation.confusion import ConfusionMatrix
from dannet_core.evaluation.evaluate import Evaluation, evaluate

__all__ = ["ConfusionMatrix", "Evaluation", "evaluate"]
