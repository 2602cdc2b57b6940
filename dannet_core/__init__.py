"""DANNet: one-stage domain adaptation for nighttime semantic segmentation (CVPR 2021), ready to run in a vehicle."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dannet_core.inference import PRESETS, InferenceSettings, NightSegmenter, Prediction, preset

__all__ = ["PRESETS", "InferenceSettings", "NightSegmenter", "Prediction", "__version__", "preset"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """The door opens when somebody comes: `dannet --help` needs neither NumPy nor OpenCV."""
    if name not in __all__:
        raise AttributeError(f"module 'dannet_core' has no attribute '{name}'")
    from dannet_core import inference

    globals()[name] = value = getattr(inference, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
