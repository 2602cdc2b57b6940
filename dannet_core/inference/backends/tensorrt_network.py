"""A TensorRT engine as a `Network`: checked against its side file before a GPU is touched, then run by address."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from dannet_core.atomic_files import write_whole
from dannet_core.errors import EngineError, ModelFileError, OutputError
from dannet_core.inference.backends.cuda_errors import engine_error
from dannet_core.inference.engine_file import Binding, EngineInfo, Running, check_engine, describe
from dannet_core.inference.tensorrt_flavour import Flavour
from dannet_core.pixels import MAX_SIDE, MIN_SIDE

INPUT: Final = "image"
OUTPUTS: Final = ("stride_logits", "relit")
KINDS: Final = ("float32", "float16")


def check_bindings(info: EngineInfo, path: str | Path) -> tuple[int, int]:
    """Whether an engine's side file has the inputs and outputs that a frame needs.

    Returns:
        (height, width) of the network's input.

    Raises:
        ModelFileError: a name, shape or type is another one.
    """
    image, classes = info.inputs.get(INPUT), info.metadata.num_classes
    if set(info.inputs) != {INPUT} or image is None or image.shape[:2] != (1, 3) or len(image.shape) != 4:
        raise ModelFileError(f"{path}: inputs are {_named(info.inputs)}, expected '{INPUT}' of [1, 3, H, W]: {_AGAIN}")
    height, width = image.shape[2:]
    logits, relit = (info.outputs.get(name) for name in OUTPUTS)
    has_relit = "relit" in info.metadata.absent or (relit is not None and relit.shape == image.shape)
    if logits is None or not has_relit or len(logits.shape) != 4 or logits.shape[:2] != (1, classes):
        also = "" if "relit" in info.metadata.absent else " and 'relit' of the input's shape"
        raise ModelFileError(
            f"{path}: outputs are {_named(info.outputs)}, expected 'stride_logits' with {classes} channels{also}: "
            f"{_AGAIN}"
        )
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in (height, width)):
        raise ModelFileError(f"{path}: input is {width}x{height}, expected sides of {MIN_SIDE} to {MAX_SIDE}: {_AGAIN}")
    for name, binding in {**info.inputs, **info.outputs}.items():
        if binding.dtype not in KINDS:
            raise ModelFileError(f"{path}: '{name}' is {binding.dtype}, expected {' or '.join(KINDS)}: {_AGAIN}")
    return height, width


_AGAIN: Final = "export and build it again"


def check_fits(info: EngineInfo, running: Running, path: str | Path) -> None:
    """Raise EngineError, naming every field that differs, unless the engine was built for what is here."""
    if running.gpu is None:
        raise EngineError(f"{path}: no NVIDIA GPU or no driver here: run the .onnx it was built from")
    differences = check_engine(info, running)
    if differences:
        build = "build it here with `dannet build_engine`"
        if running.is_unknown_gpu:
            build = f"{running.gpu} needs an engine of flavour tensorrt (`dannet build_engine --flavour tensorrt`)"
        raise EngineError(
            f"{path}: does not fit: {describe(differences)}: {build}, or run the .onnx or .safetensors it came from"
        )


class TensorRTNetwork:
    """A deserialised engine with one execution context.

    Attributes:
        shapes, dtypes: see `Network`.
    """

    def __init__(self, flavour: Flavour, info: EngineInfo, plan: bytes, path: Path) -> None:
        """Load an engine onto the GPU whose context is current.

        Args:
            flavour: the TensorRT it was built with.
            info: its side file.
            plan: the engine itself.
            path: named in errors; TensorRT for RTX keeps compiled kernels beside it.

        Raises:
            EngineError: TensorRT refuses it, or the GPU has not enough memory.
        """
        self._runtime: Any
        self._engine: Any
        self._context: Any
        self._cache: Any
        self._path = path
        self._logger = flavour.error_log()
        self._runtime = self._engine = self._context = self._cache = None
        bindings = {**info.inputs, **info.outputs}
        self.shapes = {name: binding.shape for name, binding in bindings.items()}
        self.dtypes: dict[str, np.dtype[Any]] = {name: np.dtype(binding.dtype) for name, binding in bindings.items()}
        try:
            self._open(flavour, plan)
        except BaseException:
            # What is there already must go before the GPU's context does, not with the traceback.
            self._drop()
            raise

    def enqueue(self, addresses: dict[str, int], stream: Any) -> None:
        """See `Network.enqueue`.

        Raises:
            EngineError: TensorRT could not start.
        """
        for name in self.shapes:
            if not self._context.set_tensor_address(name, addresses[name]):
                raise self._error(f"giving it the buffer of '{name}'")
        if not self._context.execute_async_v3(stream.handle):
            raise self._error("running the engine")

    def capture_refused(self, stream: Any) -> str:
        """Why a graph of `enqueue` cannot be recorded in ``stream``; empty where it can, or TensorRT does not say."""
        ask = getattr(self._context, "is_stream_capturable", None)
        if ask is None or ask(stream.handle):
            return ""
        return "graph: TensorRT cannot record this engine, it may take memory while it runs: build it again"

    def close(self) -> None:
        """Free the engine; calling it twice is harmless."""
        if self._cache is not None and self._context is not None:
            # Without it the next start compiles again, and that is all.
            with contextlib.suppress(OutputError):
                write_whole(self._cache_path, bytes(memoryview(self._cache.serialize())))
        self._drop()

    def _open(self, flavour: Flavour, plan: bytes) -> None:
        self._runtime = flavour.module.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise self._error("reading the engine")
        self._context = (
            self._context_with_cache() if flavour.has_runtime_cache else self._engine.create_execution_context()
        )
        if self._context is None:
            raise self._error("making room to run the engine")

    def _drop(self) -> None:
        """In the order that TensorRT asks for: what was made of something goes before it."""
        self._context = None
        self._cache = None
        self._engine = None
        self._runtime = None

    @property
    def _cache_path(self) -> Path:
        return self._path.with_name(self._path.name + ".kernels")

    def _context_with_cache(self) -> Any:
        """TensorRT for RTX compiles on the target when it first runs: keep that for the next start."""
        config = self._engine.create_runtime_config()
        self._cache = config.create_runtime_cache()
        with contextlib.suppress(OSError, RuntimeError, TypeError):
            self._cache.deserialize(self._cache_path.read_bytes())
        config.set_runtime_cache(self._cache)
        return self._engine.create_execution_context(config)

    def _error(self, doing: str) -> EngineError:
        said = self._logger.take() or "TensorRT gave no reason"
        return engine_error(f"{self._path}: {doing}", RuntimeError(said))


def _named(bindings: dict[str, Binding]) -> dict[str, list[int]]:
    return {name: list(binding.shape) for name, binding in bindings.items()}
