"""Pictures for calibration: evenly picked from folders, as a graph's input takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dannet_core.errors import ImageError
from dannet_core.inference.backends.onnxruntime import OnnxRuntimeBackend
from dannet_core.inference.predict_files import IMAGE_SUFFIXES, find_inputs
from dannet_core.inference.preprocess import preprocess
from dannet_core.pixels import read_rgb


def read_frames(inputs: Sequence[Path], onnx_path: Path, most: int) -> list[npt.NDArray[np.float32]]:
    """Up to ``most`` images of files and folders, evenly picked in the order of their names.

    Args:
        inputs: image files, and folders of them.
        onnx_path: the graph they are for; its input size is theirs.
        most: how many at most.

    Returns:
        each 1 x 3 x H x W float32, ImageNet-normalised RGB.

    Raises:
        ImageError: no image, or one that cannot be read.
        ModelFileError: the graph is not one of this package's, or gives no logits.
    """
    backend = OnnxRuntimeBackend(onnx_path, device="cpu")
    size = backend.fixed_input_size
    assert size is not None, "ONNX graphs have one input size"
    backend.close()
    paths = [path for path in find_inputs(inputs).values() if path.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        raise ImageError(f"frames: no image under {', '.join(map(str, inputs))}: decode videos first")
    picked = np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int)
    return [preprocess(read_rgb(paths[i]), size) for i in picked]
