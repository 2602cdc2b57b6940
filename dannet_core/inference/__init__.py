"""Inference: NumPy in, NumPy out, whichever backend runs the network."""

from dannet_core.inference.segmenter import PRESETS, InferenceSettings, NightSegmenter, Prediction, preset

__all__ = ["PRESETS", "InferenceSettings", "NightSegmenter", "Prediction", "preset"]
