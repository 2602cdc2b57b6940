"""`dannet predict`: images, folders or videos to labels, colours and overlays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dannet_core.errors import SettingsError
from dannet_core.evaluation.submission import submit_dark_zurich
from dannet_core.inference.predict_files import Outputs, predict_files
from dannet_core.inference.presets import PRESETS, preset
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.settings import option
from dannet_core.tone import DEFAULT_TONE, MAX_DEPTH, TONES, ToneSettings

DESCRIPTION = (
    "Writes NAME_{label,color,overlay}.png for images (labels are train ids), NAME_overlay.mp4 for videos; with "
    "--submission OUT/submission.zip from the test pictures of the Dark Zurich root INPUT, checked."
)


@dataclass(frozen=True)
class Settings:
    """Options of `dannet predict`."""

    inputs: list[Path] = option("image files, folders of images, video files", positional=True)
    model: Path = option(".safetensors, .onnx or .engine")
    out: Path = option("folder to write to")
    preset: str = option("inference preset", "paper", choices=tuple(PRESETS))
    reweight: str | None = option(
        "what the class weights multiply; none: the preset's", None, choices=("probabilities", "logits", "none")
    )
    reweight_std: float | None = option("spread of the class weights; unset: the preset's", None, limits=(0, 1))
    min_confidence: float = option("label pixels below this likelihood 255", 0.0, limits=(0, 1))
    input_size: tuple[int, int] | None = option("height and width in pixels the network runs at", None)
    bit_depth: int = option(
        "image files of 16 bits hold a sensor's samples of so many bits, 9 to 16; 0 = as the files declare", 0,
        limits=(0, MAX_DEPTH),
    )  # fmt: skip
    tone: str | None = option(f"what makes 8 bits of those; unset: {DEFAULT_TONE}", None, choices=TONES)
    alpha: float = option("overlay opacity", 0.5, limits=(0, 1))
    confidence: bool = option("also write NAME_confidence.png (255 = certain)", False)
    relit: bool = option("also write NAME_relit.png, the relighting network's picture", False)
    submission: bool = option("a zip as for the Dark Zurich test server; below min_confidence = invalid", False)
    device: str = option("auto, cpu, cuda or cuda:N", "auto")
    threads: int = option("CPU threads; 0 = one per core", 0, limits=(0, 1024))


def run(settings: Settings) -> int:
    """Label everything; 1 when a file had to be left out, or a video is cut off."""
    changes = {"reweight": settings.reweight, "reweight_std": settings.reweight_std, "input_size": settings.input_size}
    inference = preset(
        settings.preset,
        min_confidence=settings.min_confidence,
        **{key: value for key, value in changes.items() if value is not None},
    )
    deep = _deep(settings)
    outputs = Outputs(settings.out, settings.alpha, settings.confidence, settings.relit)
    with NightSegmenter.load(settings.model, inference, device=settings.device, threads=settings.threads) as segmenter:
        if not segmenter.metadata.trained:
            print(f"{settings.model}: untrained weights ({segmenter.metadata.source}): the labels mean nothing")
        if settings.submission:
            print(submit_dark_zurich(segmenter, settings.inputs, settings.out))
            return 0
        summary = predict_files(segmenter, settings.inputs, outputs, deep)
    print(summary)
    return 1 if summary.skipped or summary.cut_off else 0


def _deep(settings: Settings) -> ToneSettings | None:
    if not settings.bit_depth:
        if settings.tone is not None:
            raise SettingsError(f"tone: got '{settings.tone}', expected --bit-depth with it, or neither")
        return None
    if settings.submission:
        raise SettingsError(f"bit_depth: got {settings.bit_depth}, expected none with --submission: its files have 8")
    return ToneSettings(settings.tone or DEFAULT_TONE, settings.bit_depth)
