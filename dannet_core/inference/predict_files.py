"""Label image files, folders and videos, and write what was found beside their names."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from tqdm import tqdm

from dannet_core.atomic_files import whole_file
from dannet_core.errors import ImageError, NotFiniteError, OutputError, SettingsError
from dannet_core.inference.predict_inputs import ALWAYS_WRITTEN, find_inputs, is_video, overwritten_inputs
from dannet_core.inference.prediction import Prediction
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.inference.video_files import OverlayVideo, VideoFrames, storable_rate
from dannet_core.pixels import Rgb, read_rgb, write_png
from dannet_core.tone import ToneMapper, ToneSettings

PROBLEMS_SHOWN: Final = 3


@dataclass(frozen=True)
class Outputs:
    """Where and what to write.

    Attributes:
        folder: made if it is not there.
        alpha: overlay opacity, 0..1.
        confidence: also write NAME_confidence.png, uint8, 255 = certain.
        relit: also write NAME_relit.png, RGB.
    """

    folder: Path
    alpha: float = 0.5
    confidence: bool = False
    relit: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is written of an image, as in NAME_KIND.png."""
        return (*ALWAYS_WRITTEN, *["confidence"] * self.confidence, *["relit"] * self.relit)


@dataclass
class Summary:
    """What was done.

    Attributes:
        folder: where it lies.
        images, video_frames: how many were labelled, and are stored.
        skipped: inputs left out.
        cut_off: videos that end before they should; what they hold is labelled.
        own_outputs: files of an earlier run, left alone.
        median_ms: per picture.
    """

    folder: Path
    images: int = 0
    video_frames: int = 0
    skipped: int = 0
    cut_off: int = 0
    own_outputs: int = 0
    median_ms: float = 0.0

    def __str__(self) -> str:
        done = f"{self.images} images and {self.video_frames} video frames labelled"
        done += f", {self.skipped} left out" if self.skipped else ""
        done += f", {self.cut_off} videos cut off" if self.cut_off else ""
        done += f", {self.own_outputs} files of an earlier run left alone" if self.own_outputs else ""
        return f"{done}, {self.median_ms:.0f} ms each (median), in {self.folder}"


def predict_files(
    segmenter: NightSegmenter, inputs: Sequence[Path], outputs: Outputs, deep: ToneSettings | None = None
) -> Summary:
    """Label every image and video under ``inputs``; a file that cannot be read is named on stderr and left out.

    Args:
        segmenter: the model.
        inputs: files and folders.
        outputs: where and what to write.
        deep: what becomes of the samples of image files of 16 bits, each by itself; None = as they declare.

    Raises:
        ImageError: no input can be labelled.
        OutputError: the folder cannot be written to.
        SettingsError: an output is asked for that this model cannot give.
    """
    _refuse_absent(segmenter, outputs)
    found = find_inputs(inputs)
    for name, taken in overwritten_inputs(found.jobs, outputs.folder, outputs.kinds).items():
        found.problems.append(f"{found.jobs.pop(name)}: its output would replace the input {taken}: use another folder")
    if not found.jobs:
        raise ImageError("; ".join(found.problems[:PROBLEMS_SHOWN]))
    _make_folder(outputs.folder)
    summary, times_ms = Summary(outputs.folder, own_outputs=found.own_outputs), list[float]()
    for problem in found.problems:
        _leave_out(summary, problem)
    for name, path in tqdm(found.jobs.items(), unit="file", disable=len(found.jobs) < 2 or None):
        try:
            if is_video(path):
                _predict_video(segmenter, path, outputs, name, summary, times_ms)
            else:
                rgb = read_rgb(path, None if deep is None else ToneMapper(deep).map)
                _predict_image(segmenter, rgb, outputs, name, times_ms)
                summary.images += 1
        except (ImageError, NotFiniteError) as error:
            _leave_out(summary, str(error) if str(path) in str(error) else f"{path}: {error}")
    summary.median_ms = float(np.median(times_ms)) if times_ms else 0.0
    return summary


def _refuse_absent(segmenter: NightSegmenter, outputs: Outputs) -> None:
    for name, reason in segmenter.metadata.absent.items():
        if getattr(outputs, name):
            raise SettingsError(f"{name}: {reason}: leave --{name} out")


def _leave_out(summary: Summary, problem: str) -> None:
    summary.skipped += 1
    tqdm.write(f"left out: {problem}", file=sys.stderr)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make the output folder: {error.strerror}") from error


def _predict_image(segmenter: NightSegmenter, rgb: Rgb, outputs: Outputs, name: str, times_ms: list[float]) -> None:
    prediction = segmenter.segment(rgb, with_relit=outputs.relit)
    relit = prediction.relit if outputs.relit else None  # before anything is written: it may be refused
    times_ms.append(sum(prediction.timings_ms.values()))
    stem = outputs.folder / name
    _make_folder(stem.parent)
    write_png(f"{stem}_label.png", prediction.labels)
    write_png(f"{stem}_color.png", prediction.colorize())
    write_png(f"{stem}_overlay.png", prediction.overlay(rgb, outputs.alpha))
    if outputs.confidence:
        write_png(f"{stem}_confidence.png", np.rint(prediction.confidence * 255).astype(np.uint8))
    if relit is not None:
        write_png(f"{stem}_relit.png", relit)


def _segment_frame(segmenter: NightSegmenter, rgb: Rgb, path: Path, number: int) -> Prediction:
    try:
        return segmenter.segment(rgb, with_relit=False)
    except NotFiniteError as error:
        raise NotFiniteError(f"{path}: frame {number}: {error}") from error


def _predict_video(
    segmenter: NightSegmenter, path: Path, outputs: Outputs, name: str, summary: Summary, times_ms: list[float]
) -> None:
    """Write the overlay video, and count its frames once they are all stored."""
    video = VideoFrames(path)
    frames = iter(video)
    first = next(frames, None)
    if first is None:
        raise ImageError(f"{path}: not a readable video")
    if storable_rate(video.rate) != video.rate:
        tqdm.write(f"{path}: {video.rate:g} frames/s, stored at {storable_rate(video.rate):g}", file=sys.stderr)
    target = outputs.folder / f"{name}_overlay.mp4"
    _make_folder(target.parent)
    with whole_file(target) as partial, OverlayVideo(partial, (first.shape[0], first.shape[1]), video.rate) as overlay:
        progress = tqdm(itertools.chain([first], frames), total=video.total or None, desc=path.name, unit="frame")
        for number, rgb in enumerate(progress):
            prediction = _segment_frame(segmenter, rgb, path, number)
            times_ms.append(sum(prediction.timings_ms.values()))
            overlay.write(prediction.overlay(rgb, outputs.alpha))
    summary.video_frames += video.count
    if missing := video.missing():
        summary.cut_off += 1
        tqdm.write(f"{path}: {missing}", file=sys.stderr)
