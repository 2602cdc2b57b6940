"""The node with a backend that hangs or fails when a frame's frame_id says so, for bench/faults.py.

``hang`` takes 4 s, ``poison`` makes this and all later frames fail until the model is opened anew: what a GPU does, on
machines without one to break.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dannet_core.errors import BackendError
from dannet_ros import node
from dannet_ros.pipeline import FramePipeline

HANG_S = 4.0
begin = FramePipeline._begin  # noqa: SLF001 - this is where a driver would hang or fail


def fail(*_: Any) -> Any:
    raise BackendError("CUDA error 700: an illegal memory access was encountered")


def faulty(self: FramePipeline, segmenter: Any, received: Any) -> Any:
    name = received.message.header.frame_id
    if name == "hang":
        time.sleep(HANG_S)
    if name == "poison":
        segmenter._backend.infer = fail  # noqa: SLF001 - a fault has no public door
    return begin(self, segmenter, received)


if __name__ == "__main__":
    FramePipeline._begin = faulty  # noqa: SLF001 - as above
    sys.exit(node.main())
