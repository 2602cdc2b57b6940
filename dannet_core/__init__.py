"""DANNet: one-stage domain adaptation for nighttime semantic segmentation (CVPR 2021), ready to run in a vehicle."""

from dannet_core.inference import PRESETS, InferenceSettings, NightSegmenter, Prediction, preset

__all__ = ["PRESETS", "InferenceSettings", "NightSegmenter", "Prediction", "__version__", "preset"]
__version__ = "0.1.0"
