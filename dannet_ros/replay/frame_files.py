"""Frames to pack: a folder of images or a video, streamed one at a time, with the label image of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from dannet_core.errors import ImageError
from dannet_core.formats.exif import UPRIGHT, orientation_of, why_labels_do_not_fit
from dannet_core.formats.label_png import read_label_png
from dannet_core.pixels import Labels, Rgb, read_rgb

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        name: file name, or the video's name and the frame's number.
        rgb: H x W x 3 uint8 RGB.
        labels: H x W uint8 train ids; None where no label folder was given.
    """

    name: str
    rgb: Rgb
    labels: Labels | None


class FrameFiles:
    """The frames of ``source``; iterate it once for all of them, in the order of their names.

    Args:
        source: folder of images, or a video file.
        labels: folder with one image a frame, named like the frame (folder) or ``000000.png``, ... (video).

    Raises:
        ImageError: there are no frames, a label is missing, or, while iterating, a file cannot be read or the size
            changes.
    """

    def __init__(self, source: Path, labels: Path | None = None) -> None:
        self._source, self._labels = Path(source), labels
        if not self._source.exists():
            raise ImageError(f"{source}: no such folder or video file")
        if labels is not None and not labels.is_dir():
            raise ImageError(f"{labels}: no such folder of labels")
        self._files = _image_files(self._source) if self._source.is_dir() else []
        if self._source.is_dir():
            if not self._files:
                raise ImageError(f"{source}: no frames: expected image files ({', '.join(sorted(IMAGE_SUFFIXES))})")
            if labels is not None:
                _check_labels(labels, self._files)

    def __len__(self) -> int:
        """Number of frames; 0 when a video does not say."""
        if self._files:
            return len(self._files)
        capture = cv2.VideoCapture(str(self._source))
        try:
            return max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        finally:
            capture.release()

    def __iter__(self) -> Iterator[Frame]:
        size: tuple[int, ...] | None = None
        for name, stem, rgb in self._from_folder() if self._files else self._from_video():
            size = size or rgb.shape[:2]
            if rgb.shape[:2] != size:
                got, first = f"{rgb.shape[1]}x{rgb.shape[0]}", f"{size[1]}x{size[0]}"
                raise ImageError(f"{name}: got {got} pixels, expected {first} like the first frame")
            yield Frame(name, rgb, None if self._labels is None else self._labels_of(name, stem, rgb))

    def _labels_of(self, name: str, stem: str, rgb: Rgb) -> Labels:
        assert self._labels is not None, "asked for only where there are labels"
        labels = read_label_png(_label_file(self._labels, stem), None)
        orientation = orientation_of(self._source / name) if self._files else UPRIGHT
        height, width = rgb.shape[:2]
        reason = why_labels_do_not_fit(orientation, (height, width), (labels.shape[0], labels.shape[1]))
        if reason:
            raise ImageError(f"{self._source / name}: {reason}")
        if labels.shape != (height, width):
            got = f"{labels.shape[1]}x{labels.shape[0]}"
            raise ImageError(f"labels of {name}: got {got} pixels, expected {width}x{height} like their frame")
        return labels

    def _from_folder(self) -> Iterator[tuple[str, str, Rgb]]:
        for file in self._files:
            yield file.name, file.stem, read_rgb(file)

    def _from_video(self) -> Iterator[tuple[str, str, Rgb]]:
        capture = cv2.VideoCapture(str(self._source))
        index = 0
        try:
            while True:
                ok, bgr = capture.read()
                if not ok:
                    break
                rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
                yield f"{self._source.name} frame {index}", f"{index:06d}", rgb
                index += 1
        finally:
            capture.release()
        if index == 0:
            raise ImageError(f"{self._source}: no frames: not a video that OpenCV can read")


def _check_labels(folder: Path, files: Sequence[Path]) -> None:
    """Every frame has a label, and none that is another frame's: a.png and a.jpg would share a.png."""
    by_stem: dict[str, Path] = {}
    for file in files:
        _label_file(folder, file.stem)
        other = by_stem.setdefault(file.stem, file)
        if other is not file:
            raise ImageError(f"{file}: the same name as {other.name}, expected one frame for the label {file.stem}.png")


def _label_file(folder: Path, stem: str) -> Path:
    file = folder / f"{stem}.png"
    for there in (file, file.with_suffix(".PNG")):
        if there.is_file():
            return there
    raise ImageError(f"label missing for frame '{stem}': expected {file}")


def _image_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
