"""Inference: NumPy in, NumPy out, whichever backend runs the network."""

from dannet_core.inference.prediction import Prediction
from dannet_core.inference.presets import PRESETS, InferenceSettings, preset
from dannet_core.inference.segmenter import NightSegmenter

__all__ = ["PRESETS", "InferenceSettings", "NightSegmenter", "Prediction", "preset"]
