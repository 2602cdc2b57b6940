"""OpenVINO backend: `.onnx` files on a CPU, and on an Intel GPU or NPU, without torch."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dannet_core.errors import BackendError, ModelFileError, NotFiniteError, first_line, require
from dannet_core.inference.backends.backend import StrideOutput
from dannet_core.inference.backends.openvino_cache import CacheEntry, ModelCache
from dannet_core.inference.backends.openvino_graph import GUARD_NAME, guard_divisions, require_plain_weights
from dannet_core.inference.backends.selection import INTEL_DEVICE
from dannet_core.metadata import ModelMetadata

INPUT_NAME: Final = "image"
LOGITS_NAME: Final = "stride_logits"
RELIT_NAME: Final = "relit"
INSTALL: Final = "pip install 'dannet_ros[cpu]'"
PRECISIONS: Final = {"fp32": "f32", "bf16": "bf16"}
SATURATED: Final = "int8 layers computed in fp32: this processor has no VNNI and would cut their sums off"


class OpenVinoBackend:
    """Runs the graph that `dannet export` writes.

    Attributes:
        remark: what a reader of the log should know of how it runs; often empty.
        precision: what the network computes in.
        from_cache: whether it was compiled before.
    """

    name = "openvino"

    def __init__(
        self, path: Path, device: str = "auto", threads: int = 0, precision: str = "fp32", cache: bool = True
    ) -> None:
        """Open a model.

        Args:
            path: the `.onnx` file.
            device: ``auto`` or ``cpu``; Intel ``gpu``, ``gpu.N`` or ``npu``.
            threads: CPU threads inside one operator; 0 = one per core.
            precision: ``fp32``, or ``bf16`` where the device has it: faster, and not the labels of ``fp32``.
            cache: keep the compiled graph for the next start.

        Raises:
            MissingPackageError: openvino is not installed.
            BackendError: the device is not here, or does not compute so; or the graph could lose NaN in OpenVINO.
            ModelFileError: the file is damaged or is not a DANNet model.
        """
        self._ov: Any = _import()
        core = _core()
        where = _device(core, device)
        self.device, self.remark, self.from_cache = where.lower(), "", False
        config = _config(core, where, threads, precision)
        self._cache = ModelCache(self._ov, core, where) if cache else None
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelFileError(f"{path}: cannot read: {error.strerror}") from error
        self._compiled, properties = self._from_cache_or_file(core, where, config, path, data)
        self.metadata = ModelMetadata.from_strings(properties, str(path))
        self.precision = self.metadata.precision if precision == "fp32" else precision
        self.fixed_input_size: tuple[int, int] | None = _input_size(self._compiled, path)
        _check_outputs(self._compiled, self.metadata, path)
        self._request: Any = self._compiled.create_infer_request()

    def infer(self, image: npt.NDArray[np.float32], with_relit: bool) -> StrideOutput:
        """See `Backend.infer`.

        Raises:
            NotFiniteError: the network divided by 0 or took a root of less, which OpenVINO may turn into a number.
        """
        if self._request is None:
            raise BackendError("openvino: the backend is closed: load the model again")
        with_relit = with_relit and RELIT_NAME not in self.metadata.absent
        request = self._request
        try:
            tensor = self._ov.Tensor(np.ascontiguousarray(image), shared_memory=True)
            request.set_tensor(INPUT_NAME, tensor)
            request.infer()
            # The request owns its buffers, and the next frame overwrites them.
            logits = np.array(request.get_tensor(LOGITS_NAME).data[0], np.float32)
            relit = np.array(request.get_tensor(RELIT_NAME).data[0], np.float32) if with_relit else None
            lowest = float(request.get_tensor(GUARD_NAME).data[0]) if self._guarded else 1.0
        except Exception as error:
            raise BackendError(f"openvino: inference failed: {first_line(error)}") from error
        # Where the logits are not finite themselves, they are counted by who takes them.
        if not lowest > 0 and np.isfinite(logits).all():
            raise NotFiniteError(
                "the network gave no labels for this picture: openvino: it divided by 0, or took a root, "
                "logarithm or power that is no number, which becomes labels here: export it again, or run it with "
                "onnxruntime"
            )
        return StrideOutput(logits, relit)

    def close(self) -> None:
        """See `Backend.close`."""
        self._request = self._compiled = None

    def _from_cache_or_file(
        self, core: Any, device: str, config: dict[str, Any], path: Path, data: bytes
    ) -> tuple[Any, dict[str, str]]:
        """The compiled graph and its properties."""
        key = None if self._cache is None else self._cache.key(data, config)
        if self._cache is not None and key is not None:
            found = self._cache.load(key, config)
            if found is not None:
                self.from_cache = True
                self._guarded, self.remark = found.entry.guarded, found.entry.remark
                return found.compiled, found.entry.properties
        # Of what is no ONNX at all its parsers write lines to stderr.
        if not data.startswith(b"\x08"):
            raise ModelFileError(f"{path}: not a usable ONNX file: it begins like none: export it again")
        try:
            # By its name: only so are weights beside it found.
            model = core.read_model(str(path))
            properties = _properties(model)
        except Exception as error:
            raise ModelFileError(f"{path}: OpenVINO cannot read it: {first_line(error)}: export it again") from error
        ModelMetadata.from_strings(properties, str(path))  # before anything costly
        require_plain_weights(model, path)
        self._guarded = guard_divisions(model)
        extra: dict[str, Any] = {}
        if device == "CPU" and _is_quantized(model) and _saturates(self._ov, core):
            extra, self.remark = {"LP_TRANSFORMS_MODE": "NO"}, SATURATED
        try:
            compiled = core.compile_model(model, device, config | extra)
        except Exception as error:
            raise BackendError(f"openvino: cannot compile {path.name} for {device}: {first_line(error)}") from error
        if self._cache is not None and key is not None:
            self._cache.store(key, compiled, CacheEntry(properties, self._guarded, self.remark, extra))
        return compiled, properties


def _import() -> Any:
    """The module `openvino` without its telemetry, which it does without where it cannot import it.

    That makes a folder in the user's home on import, and sends unless a file there forbids it.
    """
    quiet = "openvino_telemetry" not in sys.modules
    if quiet:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # how Python spells "not to be found"
    try:
        return require("openvino", "run .onnx models with backend openvino", INSTALL)
    finally:
        if quiet:
            sys.modules.pop("openvino_telemetry", None)


@cache
def _core() -> Any:
    """The process's one Core, which is never freed.

    Each sets a stack for signals up in the thread that makes it, and puts the one before back when it goes. Two that do
    not go in the opposite order leave the thread with a freed stack, and the next signal writes there.
    """
    return _import().Core()


def _device(core: Any, device: str) -> str:
    """OpenVINO's name of it."""
    here = [str(one) for one in core.available_devices]
    if device in ("auto", "cpu"):
        wanted = "CPU"
    elif INTEL_DEVICE.fullmatch(device):
        wanted = device.upper()
    else:
        raise BackendError(f"device: got '{device}', expected auto, cpu, gpu, gpu.N or npu with backend openvino")
    # One GPU is listed as GPU, several as GPU.0, GPU.1; either may be asked for by both names.
    if wanted in here or (wanted == "GPU" and "GPU.0" in here) or (wanted == "GPU.0" and "GPU" in here):
        return wanted
    seen = ", ".join(one.lower() for one in here) or "nothing"
    raise BackendError(f"device: got '{device}', which OpenVINO does not see: expected one of {seen}, or its driver")


def _config(core: Any, device: str, threads: int, precision: str) -> dict[str, Any]:
    if precision not in PRECISIONS:
        raise BackendError(f"precision: got '{precision}', expected one of {', '.join(PRECISIONS)}")
    capabilities = [str(one) for one in core.get_property(device, "OPTIMIZATION_CAPABILITIES")]
    if precision == "bf16" and "BF16" not in capabilities:
        raise BackendError(f"precision: got 'bf16', which {device.lower()} does not compute: expected 'fp32'")
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if "FP32" in capabilities:  # an NPU has none
        config["INFERENCE_PRECISION_HINT"] = PRECISIONS[precision]
    if device == "CPU":
        # Pinned threads stay where another process of the vehicle computes.
        config["ENABLE_CPU_PINNING"] = False
        if threads > 0:
            config["INFERENCE_NUM_THREADS"] = threads
    return config


def _properties(model: Any) -> dict[str, str]:
    """The ONNX metadata."""
    info = model.get_rt_info()
    entries = info["framework"] if "framework" in info else {}  # noqa: SIM401  # it has no `get`
    return {str(name): str(value.astype(str)) for name, value in entries.items()}


def _is_quantized(model: Any) -> bool:
    return any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())


def _saturates(ov: Any, core: Any) -> bool:
    """Whether int8 convolutions go wrong here: x86 without VNNI adds pairs of products in 16 bits, cut off."""
    from openvino import opset8 as ops

    channels, largest = 16, 127
    picture = ops.parameter([1, channels, 8, 8], np.float32)
    zero, one = np.float32(0), np.float32(1)
    quantized = ops.fake_quantize(picture, zero, one, zero, one, 256)
    integers = ops.convert(ops.constant(np.full((channels, channels, 1, 1), largest, np.int8)), np.float32)
    weights = ops.multiply(integers, ops.constant(np.full((channels, 1, 1, 1), 1 / largest, np.float32)))
    sums = ops.convolution(quantized, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    compiled = core.compile_model(ov.Model([sums], [picture]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    got = compiled.create_infer_request().infer({0: np.ones((1, channels, 8, 8), np.float32)})[0]
    return bool(np.abs(got - channels).max() > 0.01 * channels)


def _shape(port: Any) -> list[int]:
    return [side.get_length() if side.is_static else -1 for side in port.partial_shape]


def _input_size(compiled: Any, path: Path) -> tuple[int, int]:
    shapes = {name: _shape(port) for port in compiled.inputs for name in port.names}
    shape = shapes.get(INPUT_NAME, [])
    if len(compiled.inputs) != 1 or len(shape) != 4 or shape[:2] != [1, 3] or min(shape) < 1:
        raise ModelFileError(f"{path}: input is {shapes}, expected '{INPUT_NAME}' of [1, 3, H, W]: export it again")
    return shape[2], shape[3]


def _check_outputs(compiled: Any, metadata: ModelMetadata, path: Path) -> None:
    if metadata.output == "labels":
        raise ModelFileError(
            f"{path}: gives finished labels, expected logits: it is for other programs; export with --output logits"
        )
    shapes = {name: _shape(port) for port in compiled.outputs for name in port.names if name != GUARD_NAME}
    logits = shapes.get(LOGITS_NAME, [])
    has_relit = RELIT_NAME in shapes or RELIT_NAME in metadata.absent
    if len(logits) != 4 or logits[1] != metadata.num_classes or not has_relit:
        also = "" if RELIT_NAME in metadata.absent else f" and '{RELIT_NAME}'"
        raise ModelFileError(
            f"{path}: outputs are {shapes}, expected '{LOGITS_NAME}' with {metadata.num_classes} channels{also}: "
            "export it again"
        )


def open_file(path: Path, device: str, threads: int) -> OpenVinoBackend:
    """As `open_backend` calls it, see there."""
    return OpenVinoBackend(path, device, threads)
