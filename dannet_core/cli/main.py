"""`dannet VERB ...`, `python -m dannet_core VERB ...` and `ros2 run dannet_core VERB ...`: one program."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from dannet_core.program import Program

VERBS: Final = {
    "pretrain": "the source-only segmentation network on labelled day images",
    "train": "DANNet's adaptation to the night",
    "evaluate": "mIoU and the per-class table on labelled data sets; JSON, Markdown, figures",
    "predict": "images, a folder or a video to labels, colours, overlay",
    "import_weights": "the released DANNet checkpoints to .safetensors",
    "export": ".safetensors to .onnx, checked against PyTorch",
    "adopt": "another project's segmentation .onnx to one that everything here opens",
    "quantize": "INT8 by calibration on frames, its cost in labels measured",
    "build_engine": ".onnx to a TensorRT .engine, on a machine without a GPU too",
    "benchmark": "latency, throughput, stages and memory, models and backends side by side",
    "toy_city": "write a miniature data set, or a night drive, with labels",
}
PROGRAM: Final = Program("dannet", "dannet_core.cli", VERBS, command=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; ``--version`` prints the version.

    Args:
        argv: verb and its arguments; None = the process's.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--version"]:
        from dannet_core import __version__

        print(__version__)
        return 0
    return PROGRAM.main(arguments)
