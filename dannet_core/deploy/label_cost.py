"""What quantization costs in labels: how many stay the float graph's, and which layers to leave out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from dannet_core.errors import ModelFileError, NotFiniteError, first_line
from dannet_core.inference.backends.onnxruntime import DISABLED_OPTIMIZERS, INPUT_NAME, LOGITS_NAME
from dannet_core.inference.postprocess import class_scaling, scale_logits, upsample_labels
from dannet_core.inference.presets import PRESETS
from dannet_core.metadata import ModelMetadata
from dannet_core.pixels import Labels

Frame = npt.NDArray[np.float32]
Agreement = Callable[[Sequence[str]], float]
"""Share of pixels, 0..1, that keep their labels with the layers of these names left out of quantization."""


class LabelJudge:
    """How many pixels keep the labels of the float graph.

    Args:
        metadata: of the float graph.
        model: the float graph, a `ModelProto` with stride logits.
        frames: 1 x 3 x H x W float32 ImageNet-normalised RGB of its input size; labels are compared at that size.

    Raises:
        ModelFileError: a graph does not run.
        NotFiniteError: the float graph gives NaN or infinity on a frame.
    """

    def __init__(self, metadata: ModelMetadata, model: Any, frames: Sequence[Frame]) -> None:
        preset = PRESETS["paper"]
        self._scaling = class_scaling(preset.reweight, metadata.class_shares, preset.reweight_std)
        self._align_corners = metadata.align_corners
        self._frames = frames
        self._expected = self._labels(model)

    def agreement(self, model: Any) -> float:
        """Share of pixels, 0..1; 0 for a model that gives no numbers."""
        try:
            pairs = zip(self._labels(model), self._expected, strict=True)
        except NotFiniteError:
            return 0.0
        return float(np.mean([(labels == expected).mean() for labels, expected in pairs]))

    def _labels(self, model: Any) -> list[Labels]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=list(DISABLED_OPTIMIZERS),
            )
        except Exception as error:
            raise ModelFileError(f"the quantized graph does not run: {first_line(error)}: try --rest fp32") from error
        labels = []
        for frame in self._frames:
            (logits,) = session.run([LOGITS_NAME], {INPUT_NAME: frame})
            size = (frame.shape[-2], frame.shape[-1])
            labels.append(upsample_labels(scale_logits(logits[0], self._scaling), size, self._align_corners))
        return labels


def costliest_first(layers: Sequence[str], agreement: Agreement, groups: int) -> tuple[str, ...]:
    """All layers, ordered by how many labels change when only their group is quantized."""
    neighbours = [list(part) for part in np.array_split(np.array(layers, object), groups) if len(part)]
    costs = []
    for group in tqdm(neighbours, desc="cost of each layer", unit="group", disable=None):
        inside = set(group)
        others = [name for name in layers if name not in inside]
        costs.append(1 - agreement(others))
    order = sorted(range(len(neighbours)), key=lambda i: -costs[i])
    return tuple(name for i in order for name in neighbours[i])


def fewest(costly: tuple[str, ...], agreement: Agreement, needed: float) -> tuple[str, ...]:
    """The shortest beginning of ``costly`` that must stay unquantized, by bisection; nothing when nothing is costly."""
    low, high = 0, len(costly)
    while low < high:
        middle = (low + high) // 2
        if agreement(costly[:middle]) >= needed:
            high = middle
        else:
            low = middle + 1
    return costly[:high]
