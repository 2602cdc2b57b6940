"""What every inference backend promises, whichever file type it runs."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dannet_core.metadata import ModelMetadata


class StrideOutput(NamedTuple):
    """One image's network output.

    Attributes:
        logits: K x h x w float32, as the head makes them (stride 4, 8 or 16), before re-weighting.
        relit: 3 x H x W float32, ImageNet-normalised RGB at the network's input size; None unless asked for, and always
            where there is no relighting network.
    """

    logits: npt.NDArray[np.float32]
    relit: npt.NDArray[np.float32] | None


@runtime_checkable
class Backend(Protocol):
    """Runs one model. Made, used and closed in one thread.

    Attributes:
        name: ``pytorch``, ``openvino``, ``onnxruntime`` or ``tensorrt``.
        device: where it runs, e.g. ``cpu`` or ``cuda:0``.
        metadata: what the model file says about itself.
        fixed_input_size: (height, width) the graph was made for; None when any size runs.
    """

    name: str
    device: str
    metadata: ModelMetadata
    fixed_input_size: tuple[int, int] | None

    def infer(self, image: npt.NDArray[np.float32], with_relit: bool) -> StrideOutput:
        """Run the network on 1 x 3 x H x W float32 ImageNet-normalised RGB.

        Raises:
            BackendError: the run failed; the message says what to do.
        """

    def close(self) -> None:
        """Free what the backend holds; calling it twice is harmless."""
