"""Pictures for calibration: evenly picked from images and videos, as a graph's input takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError
from dannet_core.inference.backends.onnxruntime import OnnxRuntimeBackend
from dannet_core.inference.predict_inputs import find_inputs, is_video
from dannet_core.inference.preprocess import preprocess
from dannet_core.pixels import Rgb, read_rgb


def read_frames(inputs: Sequence[Path], onnx_path: Path, most: int = 64) -> list[npt.NDArray[np.float32]]:
    """Up to ``most`` pictures of images, videos and folders of them, evenly picked in the order of their names.

    Args:
        inputs: image and video files, and folders of them.
        onnx_path: the graph they are for; its input size is theirs.
        most: how many at most.

    Returns:
        each 1 x 3 x H x W float32, ImageNet-normalised RGB.

    Raises:
        ImageError: no picture, or one that cannot be read.
        ModelFileError: the graph is not one of this package's, or gives no logits.
    """
    backend = OnnxRuntimeBackend(onnx_path, device="cpu")
    size = backend.fixed_input_size
    assert size is not None, "ONNX graphs have one input size"
    backend.close()
    found = find_inputs(inputs)
    if found.problems:
        raise ImageError(found.problems[0])
    every = [(path, number) for path in found.jobs.values() for number in range(_pictures_in(path))]
    picked = np.linspace(0, len(every) - 1, min(most, len(every))).round().astype(int)
    by_file = groupby((every[i] for i in picked), key=lambda one: one[0])
    return [
        preprocess(rgb, size) for path, group in by_file for rgb in _pictures_of(path, {number for _, number in group})
    ]


def _pictures_in(path: Path) -> int:
    """How many pictures a file has. A video is run through: what its header says need not be true."""
    if not is_video(path):
        return 1
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.grab():
        count += 1
    capture.release()
    if count == 0:
        raise ImageError(f"{path}: not a readable video")
    return count


def _pictures_of(path: Path, numbers: set[int]) -> Iterator[Rgb]:
    if not is_video(path):
        yield read_rgb(path)
        return
    capture = cv2.VideoCapture(str(path))
    for number in range(max(numbers) + 1):
        capture.grab()
        if number in numbers:
            ok, bgr = capture.retrieve()
            if not ok:
                raise ImageError(f"{path}: frame {number} cannot be read")
            yield np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    capture.release()
