"""PyTorch backend: `.safetensors` files, on the CPU or on CUDA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dannet_core.errors import BackendError, require
from dannet_core.inference.backends.backend import StrideOutput


class PyTorchBackend:
    """Runs the network itself, at any input size."""

    name = "pytorch"
    fixed_input_size: tuple[int, int] | None = None

    def __init__(self, path: Path, device: str = "auto", threads: int = 0) -> None:
        """Open a model.

        Args:
            path: the `.safetensors` file.
            device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
            threads: CPU threads inside one operator, for the whole process; 0 leaves torch's setting.

        Raises:
            MissingPackageError: torch is not installed.
            BackendError: the device does not exist.
            ModelFileError: the file is damaged or is not a DANNet model.
        """
        self._torch: Any = require("torch", "run .safetensors models", "pip install 'dannet_ros[train]'")
        from dannet_core.networks.weights import load_metadata, load_weights

        self.device = self._choose_device(device)
        if threads > 0:
            self._torch.set_num_threads(threads)
        self.metadata = load_metadata(path)
        self._net: Any = load_weights(path).eval().to(self.device)

    def infer(self, image: npt.NDArray[np.float32], with_relit: bool) -> StrideOutput:
        """See `Backend.infer`."""
        if self._net is None:
            raise BackendError("pytorch: the backend is closed: load the model again")
        try:
            with self._torch.inference_mode():
                out = self._net(self._torch.from_numpy(image).to(self.device))
                logits = out.stride_logits[0].float().cpu().numpy()
                relit = out.relit[0].float().cpu().numpy() if with_relit else None
        except RuntimeError as error:
            raise BackendError(f"pytorch: inference failed: {str(error).splitlines()[0]}") from error
        return StrideOutput(logits, relit)

    def close(self) -> None:
        """See `Backend.close`."""
        self._net = None
        if self.device.startswith("cuda"):
            self._torch.cuda.empty_cache()

    def _choose_device(self, device: str) -> str:
        if device == "auto":
            return "cuda" if self._torch.cuda.is_available() else "cpu"
        try:
            self._torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise BackendError(f"device: got '{device}', which torch cannot use ({reason}): try 'cpu'") from error
        return device
