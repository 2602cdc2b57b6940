"""PyTorch backend: `.safetensors` files, on the CPU or on CUDA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dannet_core.errors import BackendError, require
from dannet_core.inference.backends.backend import StrideOutput
from dannet_core.metadata import ModelMetadata


class PyTorchBackend:
    """Runs the network itself, at any input size."""

    name = "pytorch"
    fixed_input_size: tuple[int, int] | None = None

    def __init__(self, net: Any, metadata: ModelMetadata, device: str = "cpu") -> None:
        """Run a network that is there already, e.g. one in training: it is put into eval mode.

        Args:
            net: a `dannet_core.networks.DANNet` on ``device``.
            metadata: describes it.
            device: where it is.
        """
        self._torch: Any = require("torch", "run networks", "pip install 'dannet_ros[train]'")
        self._net: Any = net.eval()
        self.metadata = metadata
        self.device = device

    @classmethod
    def open(cls, path: Path, device: str = "auto", threads: int = 0) -> PyTorchBackend:
        """Open a model file.

        Args:
            path: the `.safetensors` file.
            device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
            threads: CPU threads inside one operator, for the whole process; 0 leaves torch's setting.

        Raises:
            MissingPackageError: torch is not installed.
            BackendError: the device does not exist.
            ModelFileError: the file is damaged or is not a DANNet model.
        """
        torch = require("torch", "run .safetensors models", "pip install 'dannet_ros[train]'")
        from dannet_core.networks.weights import load_metadata, load_weights

        chosen = _choose_device(torch, device)
        if threads > 0:
            torch.set_num_threads(threads)
        return cls(load_weights(path).to(chosen), load_metadata(path), chosen)

    def infer(self, image: npt.NDArray[np.float32], with_relit: bool) -> StrideOutput:
        """See `Backend.infer`."""
        if self._net is None:
            raise BackendError("pytorch: the backend is closed: load the model again")
        try:
            with self._torch.inference_mode():
                pictures, stride_logits, _ = self._net.at_stride(self._torch.from_numpy(image).to(self.device))
                logits = stride_logits[0].float().cpu().numpy()
                relit = pictures[0].float().cpu().numpy() if with_relit else None
        except RuntimeError as error:
            raise BackendError(f"pytorch: inference failed: {str(error).splitlines()[0]}") from error
        return StrideOutput(logits, relit)

    def close(self) -> None:
        """See `Backend.close`."""
        self._net = None
        if self.device.startswith("cuda"):
            self._torch.cuda.empty_cache()


def _choose_device(torch: Any, device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BackendError(f"device: got '{device}', which torch cannot use ({reason}): try 'cpu'") from error
    return device
