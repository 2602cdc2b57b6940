"""Label image files, folders and videos, and write what was found beside their names."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from tqdm import tqdm

from dannet_core.atomic_files import whole_file
from dannet_core.errors import ImageError, OutputError, SettingsError
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.pixels import Rgb, read_rgb, write_png

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES: Final = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})

DEFAULT_FPS: Final = 25.0
"""For videos that do not say."""


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


@dataclass
class Summary:
    """What was done: pictures and video frames labelled, files left out, where it lies, median ms a picture."""

    folder: Path
    images: int = 0
    video_frames: int = 0
    skipped: int = 0
    median_ms: float = 0.0

    def __str__(self) -> str:
        left_out = f", {self.skipped} left out" if self.skipped else ""
        done = f"{self.images} images and {self.video_frames} video frames labelled{left_out}"
        return f"{done}, {self.median_ms:.0f} ms each (median), in {self.folder}"


def predict_files(segmenter: NightSegmenter, inputs: Sequence[Path], outputs: Outputs) -> Summary:
    """Label every image and video under ``inputs``; a file that cannot be read is named on stderr and left out.

    Raises:
        ImageError: an input is not there, nothing is an image or video, two inputs would write the same files.
        OutputError: the folder cannot be written to.
        SettingsError: an output is asked for that this model cannot give.
    """
    for name, reason in segmenter.metadata.absent.items():
        if getattr(outputs, name):
            raise SettingsError(f"{name}: {reason}: leave --{name} out")
    jobs = find_inputs(inputs)
    try:
        outputs.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{outputs.folder}: cannot make the output folder: {error.strerror}") from error
    summary, times_ms = Summary(outputs.folder), list[float]()
    for name, path in tqdm(jobs.items(), unit="file", disable=len(jobs) < 2 or None):
        try:
            if path.suffix.lower() in VIDEO_SUFFIXES:
                summary.video_frames += _predict_video(segmenter, path, outputs, name, times_ms)
            else:
                _predict_image(segmenter, read_rgb(path), outputs, name, times_ms)
                summary.images += 1
        except ImageError as error:
            summary.skipped += 1
            tqdm.write(f"left out: {error}", file=sys.stderr)
    summary.median_ms = float(np.median(times_ms)) if times_ms else 0.0
    return summary


def find_inputs(inputs: Sequence[Path]) -> dict[str, Path]:
    """Image and video files by the name their outputs get: the path below the given folder, without suffix.

    Raises:
        ImageError: see `predict_files`.
    """
    jobs: dict[str, Path] = {}
    for given in inputs:
        if not given.exists():
            raise ImageError(f"{given}: no such file or folder")
        files = sorted(p for p in given.rglob("*") if p.is_file()) if given.is_dir() else [given]
        wanted = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
        if not wanted:
            raise ImageError(
                f"{given}: no image or video, expected {', '.join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))}"
            )
        for path in wanted:
            name = str(path.relative_to(given).with_suffix("")) if given.is_dir() else path.stem
            if name in jobs:
                raise ImageError(
                    f"{path} and {jobs[name]} would both write {name}_label.png: predict them into two folders"
                )
            jobs[name] = path
    return jobs


def _predict_image(segmenter: NightSegmenter, rgb: Rgb, outputs: Outputs, name: str, times_ms: list[float]) -> None:
    prediction = segmenter.segment(rgb, with_relit=outputs.relit)
    times_ms.append(sum(prediction.timings_ms.values()))
    stem = outputs.folder / name
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_png(f"{stem}_label.png", prediction.labels)
    write_png(f"{stem}_color.png", prediction.colorize())
    write_png(f"{stem}_overlay.png", prediction.overlay(rgb, outputs.alpha))
    if outputs.confidence:
        write_png(f"{stem}_confidence.png", np.rint(prediction.confidence * 255).astype(np.uint8))
    if outputs.relit:
        write_png(f"{stem}_relit.png", prediction.relit)


def _predict_video(segmenter: NightSegmenter, path: Path, outputs: Outputs, name: str, times_ms: list[float]) -> int:
    """Write the overlay video and return the frame count."""
    capture = cv2.VideoCapture(str(path))
    total, fps = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS) or DEFAULT_FPS
    frames = _frames(capture)
    first = next(frames, None)
    if first is None:
        raise ImageError(f"{path}: not a readable video")
    target = outputs.folder / f"{name}_overlay.mp4"
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as partial:
        size = (first.shape[1], first.shape[0])
        writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        progress = tqdm(itertools.chain([first], frames), total=max(total, 0) or None, desc=path.name, unit="frame")
        for count, rgb in enumerate(progress, start=1):  # noqa: B007 - the count is what is returned
            prediction = segmenter.segment(rgb, with_relit=False)
            times_ms.append(sum(prediction.timings_ms.values()))
            writer.write(cv2.cvtColor(prediction.overlay(rgb, outputs.alpha), cv2.COLOR_RGB2BGR))
        writer.release()
    return count


def _frames(capture: cv2.VideoCapture) -> Iterator[Rgb]:
    ok, bgr = capture.read()
    while ok:
        yield np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        ok, bgr = capture.read()
