"""One graph to one serialised TensorRT plan: parse, configure, build."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from dannet_core.atomic_files import write_whole
from dannet_core.deploy.build_progress import PhaseTree, progress_monitor
from dannet_core.errors import BackendError, ModelFileError, OutputError, first_line, require
from dannet_core.inference.engine_file import Binding
from dannet_core.inference.tensorrt_flavour import Flavour
from dannet_core.metadata import ModelMetadata

MIB: Final = 1 << 20


class OnnxGraph(NamedTuple):
    """An `.onnx` file, read once, so that what is hashed is what is built.

    Attributes:
        path: where it lies.
        data: all of it.
        sha256: of ``data``, in hexadecimal digits.
        metadata: what it says about itself.
    """

    path: Path
    data: bytes
    sha256: str
    metadata: ModelMetadata


@dataclass(frozen=True)
class PlanOptions:
    """What a plan depends on besides the graph, the TensorRT and the GPU.

    Attributes:
        workspace_mib: memory in MiB that layers may use besides weights and activations; 0 = all there is.
        targets: compute capabilities such as ``8.6`` for TensorRT for RTX to build for; none = its own from 8.0 on.
        timing_cache: file with TensorRT's timings of earlier builds, read and written; None = none is kept.
    """

    workspace_mib: int = 0
    targets: tuple[str, ...] = ()
    timing_cache: Path | None = None


class Plan(NamedTuple):
    """A serialised engine with its inputs and outputs by name."""

    data: bytes
    inputs: dict[str, Binding]
    outputs: dict[str, Binding]


def read_graph(path: str | Path) -> OnnxGraph:
    """Read an `.onnx` file and its metadata.

    Raises:
        ModelFileError: it is missing, damaged, or not written by this package.
        MissingPackageError: onnxruntime is not installed.
    """
    runtime = require("onnxruntime", "read .onnx models", "pip install onnxruntime")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"{path}: cannot read: {error.strerror}: check the path, or make one with `dannet export`"
        ) from error
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelFileError(f"{path}: not a usable ONNX file: {first_line(error)}: export it again") from error
    properties = session.get_modelmeta().custom_metadata_map
    return OnnxGraph(
        Path(path), data, hashlib.sha256(data).hexdigest(), ModelMetadata.from_strings(properties, str(path))
    )


def build_plan(flavour: Flavour, graph: OnnxGraph, options: PlanOptions, tree: PhaseTree) -> Plan:
    """Build a strongly typed plan: every layer computes in the types that the graph gives it.

    But float32 products: TensorRT rounds their factors to TF32 on GPUs that have it, which is its default. A plan for
    TensorRT for RTX takes no memory while it runs, so that a frame can be recorded as a graph.

    Args:
        flavour: the TensorRT to build with.
        graph: with fixed shapes.
        options: see there.
        tree: is told how far it is, and may stop it.

    Raises:
        ModelFileError: TensorRT cannot read the graph.
        SettingsError: a target it does not know.
        BackendError: the build failed or was stopped.
    """
    trt = flavour.module
    logger = flavour.error_log()
    try:
        builder = trt.Builder(logger)
        network = builder.create_network(flavour.network_flags)
    except (RuntimeError, TypeError) as error:
        raise BackendError(f"{flavour}: cannot start: {logger.take() or first_line(error)}") from error
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph.data):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)] or [logger.take()]
        raise ModelFileError(f"{graph.path}: {flavour} cannot read the graph: {errors[0]}: export it again")
    config = _configured(flavour, builder, options)
    monitor = progress_monitor(trt, tree)
    config.progress_monitor = monitor
    timings = _load_timings(config, options.timing_cache) if flavour.has_timing_cache else None
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise BackendError(f"{graph.path}: {flavour} could not build an engine: {logger.take() or 'stopped'}")
    if timings is not None:
        _save_timings(timings, options.timing_cache)
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    return Plan(bytes(memoryview(built)), _bindings(trt, inputs), _bindings(trt, outputs))


def _configured(flavour: Flavour, builder: Any, options: PlanOptions) -> Any:
    trt, config = flavour.module, builder.create_builder_config()
    if options.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)
    if flavour.is_rtx:
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    _set_targets(flavour, config, options.targets)
    return config


def _set_targets(flavour: Flavour, config: Any, targets: tuple[str, ...]) -> None:
    values = [flavour.target(target) for target in targets]
    if not values:
        return
    config.num_compute_capabilities = len(values)
    for index, value in enumerate(values):
        if not config.set_compute_capability(value, index):
            raise BackendError(f"{flavour}: refused to build for compute capability {targets[index]}")


def _load_timings(config: Any, path: Path | None) -> Any:
    """A timing cache that this build reads and adds to; a file that does not fit is passed over."""
    if path is None:
        return None
    data = b""
    with contextlib.suppress(OSError):
        data = path.read_bytes()
    timings = config.create_timing_cache(data)
    if timings is None or not config.set_timing_cache(timings, False):
        timings = config.create_timing_cache(b"")
        config.set_timing_cache(timings, False)
    return timings


def _save_timings(timings: Any, path: Path | None) -> None:
    # Without it the next build takes longer, and that is all.
    with contextlib.suppress(OutputError):
        if path is not None:
            write_whole(path, bytes(memoryview(timings.serialize())))


def _bindings(trt: Any, tensors: list[Any]) -> dict[str, Binding]:
    return {tensor.name: Binding(tuple(tensor.shape), trt.nptype(tensor.dtype).__name__) for tensor in tensors}
