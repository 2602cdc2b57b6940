"""Export that puts a file in its place only if its labels are the network's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dannet_core.atomic_files import whole_file
from dannet_core.deploy.finite_graph import require_finite_graph
from dannet_core.deploy.onnx_export import GraphOptions, export_onnx
from dannet_core.deploy.parity import (
    ParityReport,
    check_label_parity,
    check_parity,
    require_half_range,
    require_parity,
)
from dannet_core.metadata import ModelMetadata
from dannet_core.networks import DANNet


def export_checked(
    net: DANNet,
    metadata: ModelMetadata,
    frames: Sequence[npt.NDArray[np.float32]],
    path: Path,
    precision: str = "fp32",
    options: GraphOptions | None = None,
) -> ParityReport:
    """Export for the frames' size and compare with the network on them.

    Args:
        net: in eval mode, on the CPU.
        metadata: describes it.
        frames: at least one, 1 x 3 x H x W float32, ImageNet-normalised RGB; real ones say more.
        path: ends in ``.onnx``.
        precision: ``fp32`` or ``fp16``.
        options: what the graph gives; None = logits.

    Raises:
        DannetError: the labels agree on too few pixels, or a layer comes near the largest number of fp16.
        NotFiniteError: NaN or infinity on a frame, or on a black, dark or white picture; the node is named.
        SettingsError, ModelFileError, OutputError, MissingPackageError: see `export_onnx`.
    """
    wanted = options or GraphOptions()
    height, width = frames[0].shape[-2:]
    if precision == "fp16":
        require_half_range(net, frames)
    with whole_file(path) as partial:
        export_onnx(net, metadata, (height, width), partial, precision, wanted)
        require_finite_graph(partial.read_bytes(), str(path), frames)
        report = (
            check_parity(net, partial, frames)
            if wanted.output == "logits"
            else check_label_parity(net, partial, frames, wanted.settings)
        )
        require_parity(report)
    return report
