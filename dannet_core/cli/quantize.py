"""`dannet quantize`: a float32 `.onnx` to one with INT8 convolutions, calibrated on frames, its cost measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dannet_core.data.registry import DATA_SETS, open_data_set
from dannet_core.deploy.calibration_frames import read_frames
from dannet_core.deploy.quantize import METHODS, REST, QuantizeSettings, quantize
from dannet_core.errors import SettingsError
from dannet_core.evaluation.evaluate import evaluate
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.settings import option

DESCRIPTION = (
    "Writes a Q/DQ graph for `dannet build_engine`; layers that cost too many labels stay in higher precision."
)


@dataclass(frozen=True)
class Settings:
    """Options of `dannet quantize`."""

    model: Path = option("fp32 .onnx with logits, from `dannet export`")
    out: Path = option(".onnx to write")
    frames: list[Path] = option("images and videos, or folders of them, such as the camera takes; bags: see bag_frames")
    max_frames: int = option("frames used, evenly picked; every fourth only measures", 64, limits=(2, 10_000))
    method: str = option("how ranges follow from the frames", "percentile", choices=tuple(METHODS))
    percentile: float = option("percent of the values inside the range", 99.99, limits=(50, 100))
    min_agreement: float = option("share of pixels whose label must stay", 0.98, limits=(0, 1))
    measured_frames: int = option("held-out frames to measure each layer's cost on", 4, limits=(1, 1000))
    groups: int = option("groups of neighbouring layers to measure", 40, limits=(1, 1000))
    rest: str = option("precision of what is not quantized", "fp16", choices=REST)
    dataset: str | None = option("also score both models on this data set", None, choices=tuple(DATA_SETS))
    root: Path | None = option("its folder", None)


def run(settings: Settings) -> int:
    """Quantize, say what it cost."""
    if (settings.dataset is None) != (settings.root is None):
        raise SettingsError(f"dataset, root: got {settings.dataset} and {settings.root}, expected both or neither")
    data_set = open_data_set(settings.dataset, settings.root) if settings.dataset and settings.root else None
    chosen = QuantizeSettings(
        settings.method,
        settings.percentile,
        settings.min_agreement,
        settings.measured_frames,
        settings.groups,
        settings.rest,
    )
    frames = read_frames(settings.frames, settings.model, settings.max_frames)
    print(f"{settings.out}: {quantize(settings.model, settings.out, frames, chosen)}")
    for path in (settings.model, settings.out):
        if data_set is None:
            break
        with NightSegmenter.load(path) as segmenter:
            scores = evaluate(segmenter, data_set, worst=0).confusion
        print(f"{path}: mIoU {scores.miou_present:.2%}, {scores.pixel_accuracy:.2%} of the pixels right on {data_set}")
    return 0
