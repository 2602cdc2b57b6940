"""Opening the model in configure; with a cache folder, as an engine that is built there first, never silently."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from dannet_core import InferenceSettings, NightSegmenter
from dannet_core.deploy.build_progress import BuildProgress
from dannet_core.deploy.engine_build import BuiltEngine, cached_engine
from dannet_core.errors import BackendError, DannetError
from dannet_core.inference.gpu import find_gpu
from dannet_core.metadata import ModelMetadata
from dannet_ros.parameters import NodeParameters

WEIGHTS: Final = ".safetensors"
LOG_EVERY_S: Final = 10.0
"""An engine can take an hour: a line now and then says that it is coming."""


class Opening:
    """How far opening a model is: written by the worker thread, read by the diagnostics timer.

    Attributes:
        now: what is being done, in words.
        log: the node's logger.
        given_up: whether nobody waits for the model any more.
    """

    def __init__(self, log: Any, given_up: Callable[[], bool]) -> None:
        self.log = log
        self.now = ""
        self.given_up = given_up
        self._logged_s: float | None = None

    def building(self, progress: BuildProgress) -> None:
        """Take in how far an engine is.

        Raises:
            BackendError: nobody waits for it any more; this stops the build.
        """
        if self.given_up():
            raise BackendError("the engine: stopped while it was being built")
        self.now = f"engine {progress.fraction:.0%}, {progress.phase}, {progress.elapsed_s:.0f} s"
        now_s = time.monotonic()
        if self._logged_s is None or now_s - self._logged_s >= LOG_EVERY_S:
            self._logged_s = now_s
            self.log.info(self.now)


def open_model(parameters: NodeParameters, settings: InferenceSettings, opening: Opening) -> NightSegmenter:
    """Open the model as the parameters say.

    With ``engine_cache`` that is an engine of the `.onnx`, from the folder or built into it. Where ``backend`` is auto
    and there is no GPU, or TensorRT fails, it is the `.onnx` itself, and `NightSegmenter.why` says so; on a GPU that
    ONNX Runtime cannot use, the same model's `.safetensors` beside it, in PyTorch.

    Args:
        parameters: checked already.
        settings: how pictures become labels.
        opening: is told how far it is.

    Raises:
        DannetError: the model cannot be opened.
    """
    path = Path(parameters.model).expanduser()
    if not parameters.engine_cache:
        return _load(path, parameters.backend, parameters, settings)
    if parameters.backend == "tensorrt":
        return _load(_engine(path, parameters, opening).path, "tensorrt", parameters, settings)
    if find_gpu() is None:
        return _fallen_back(path, parameters, settings, "no NVIDIA GPU here")
    try:
        return _load(_engine(path, parameters, opening).path, "tensorrt", parameters, settings)
    except DannetError as error:
        if opening.given_up():
            raise
        opening.log.warning(f"no engine: {error}")
        return _fallen_back(path, parameters, settings, str(error))


def _engine(path: Path, parameters: NodeParameters, opening: Opening) -> BuiltEngine:
    engine = cached_engine(path, Path(parameters.engine_cache).expanduser(), on_progress=opening.building)
    how = f"built in {engine.seconds:.0f} s" if engine.built else "built before"
    opening.log.info(f"{engine.path}: {how}, {engine.info.flavour} {engine.info.flavour_version}")
    opening.now = "loading the engine"
    return engine


def _fallen_back(path: Path, parameters: NodeParameters, settings: InferenceSettings, reason: str) -> NightSegmenter:
    segmenter = _load(path, parameters.backend, parameters, settings)
    by_torch = _same_in_pytorch(path, segmenter, parameters, settings)
    if by_torch is not None:
        segmenter.close()
        segmenter = by_torch
        reason += f"; {path.with_suffix(WEIGHTS).name} in PyTorch instead"
    segmenter.why = f"no engine: {reason}"
    return segmenter


def _same_in_pytorch(
    path: Path, graph: NightSegmenter, parameters: NodeParameters, settings: InferenceSettings
) -> NightSegmenter | None:
    """The weights that a graph on the CPU was exported from, on CUDA and at the graph's size; None where they are not.

    Whether they are is seen by the metadata: all of it but what an export fills in.
    """
    weights, size = path.with_suffix(WEIGHTS), graph.fixed_input_size
    if graph.device != "cpu" or size is None or find_gpu() is None or not weights.is_file():
        return None
    device = "cuda" if parameters.device == "auto" else parameters.device
    try:
        found = _load(weights, "pytorch", dataclasses.replace(parameters, device=device), settings)
    except DannetError:
        return None
    if _identity(found) != _identity(graph):
        found.close()
        return None
    found.fixed_input_size = size
    return found


def _identity(segmenter: NightSegmenter) -> ModelMetadata:
    return segmenter.metadata.replace(input_size=None, precision="fp32", output="logits")


def _load(path: Path, backend: str, parameters: NodeParameters, settings: InferenceSettings) -> NightSegmenter:
    device, threads = parameters.device, parameters.threads
    return NightSegmenter.load(path, settings, backend=backend, device=device, threads=threads)
