"""ONNX Runtime backend: `.onnx` files, on the CPU or on CUDA, without torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dannet_core.errors import BackendError, ModelFileError, first_line, require
from dannet_core.inference.backends.backend import StrideOutput
from dannet_core.metadata import ModelMetadata

INPUT_NAME = "image"
LOGITS_NAME = "stride_logits"
RELIT_NAME = "relit"
DISABLED_OPTIMIZERS = ("WeightBiasQuantization",)
"""ONNX Runtime 1.32 turns the half biases of int8 convolutions into integers of a half scale, the product of two small
ones: it underflows, and a third of the labels change."""


class OnnxRuntimeBackend:
    """Runs the graph that `dannet export` writes."""

    name = "onnxruntime"

    def __init__(self, path: Path, device: str = "auto", threads: int = 0) -> None:
        """Open a model.

        Args:
            path: the `.onnx` file.
            device: ``auto`` (CUDA where this ONNX Runtime has it), ``cpu``, ``cuda`` or ``cuda:N``.
            threads: CPU threads inside one operator; 0 = one per core.

        Raises:
            MissingPackageError: onnxruntime is not installed.
            BackendError: ``cuda`` was asked for and this ONNX Runtime has no CUDA.
            ModelFileError: the file is damaged or is not a DANNet model.
        """
        runtime = require("onnxruntime", "run .onnx models", "pip install onnxruntime")
        self.device, providers = _providers(runtime.get_available_providers(), device)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Idle threads that spin would take most of a core from the rest of the vehicle between two frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = runtime.InferenceSession(
                str(path), options, providers=providers, disabled_optimizers=list(DISABLED_OPTIMIZERS)
            )
        except Exception as error:
            raise ModelFileError(f"{path}: not a usable ONNX file: {first_line(error)}: export it again") from error
        properties = session.get_modelmeta().custom_metadata_map
        self.metadata = ModelMetadata.from_strings(properties, str(path))
        self.fixed_input_size: tuple[int, int] | None = _input_size(session, path)
        _check_outputs(session, self.metadata, path)
        self._session: Any = session

    def infer(self, image: npt.NDArray[np.float32], with_relit: bool) -> StrideOutput:
        """See `Backend.infer`."""
        if self._session is None:
            raise BackendError("onnxruntime: the backend is closed: load the model again")
        with_relit = with_relit and "relit" not in self.metadata.absent
        names = [LOGITS_NAME, RELIT_NAME] if with_relit else [LOGITS_NAME]
        try:
            outputs = self._session.run(names, {INPUT_NAME: image})
        except Exception as error:
            raise BackendError(f"onnxruntime: inference failed: {first_line(error)}") from error
        return StrideOutput(outputs[0][0], outputs[1][0] if with_relit else None)

    def close(self) -> None:
        """See `Backend.close`."""
        self._session = None


def _providers(available: list[str], device: str) -> tuple[str, list[Any]]:
    has_cuda = "CUDAExecutionProvider" in available
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", device)
    if match is None:
        raise BackendError(f"device: got '{device}', expected auto, cpu, cuda or cuda:N")
    if device.startswith("cuda") and not has_cuda:
        raise BackendError("onnxruntime: this installation has no CUDA: pip install onnxruntime-gpu, or device='cpu'")
    if device == "cpu" or not has_cuda:
        return "cpu", ["CPUExecutionProvider"]
    number = int(match.group(1) or 0)
    return f"cuda:{number}", [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]


def _input_size(session: Any, path: Path) -> tuple[int, int]:
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 and inputs[0].name == INPUT_NAME else []
    if len(shape) != 4 or shape[:2] != [1, 3] or not all(type(side) is int for side in shape):
        raise ModelFileError(
            f"{path}: input is {[(i.name, i.shape) for i in inputs]}, expected '{INPUT_NAME}' of [1, 3, H, W]: "
            "export it again"
        )
    return shape[2], shape[3]


def _check_outputs(session: Any, metadata: ModelMetadata, path: Path) -> None:
    shapes = {output.name: output.shape for output in session.get_outputs()}
    if metadata.output == "labels":
        raise ModelFileError(
            f"{path}: gives finished labels, expected logits: it is for other programs; export with --output logits"
        )
    logits = shapes.get(LOGITS_NAME, [])
    has_relit = RELIT_NAME in shapes or "relit" in metadata.absent
    if len(logits) != 4 or logits[1] != metadata.num_classes or not has_relit:
        also = "" if "relit" in metadata.absent else f" and '{RELIT_NAME}'"
        raise ModelFileError(
            f"{path}: outputs are {shapes}, expected '{LOGITS_NAME}' with {metadata.num_classes} channels{also}: "
            "export it again"
        )


def open_file(path: Path, device: str, threads: int) -> OnnxRuntimeBackend:
    """As `open_backend` calls it, see there."""
    return OnnxRuntimeBackend(path, device, threads)
