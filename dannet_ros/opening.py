"""Opening the model in configure; with a cache folder, as an engine that is built there first, never silently."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from dannet_core import InferenceSettings, NightSegmenter
from dannet_core.deploy.build_progress import BuildProgress
from dannet_core.deploy.engine_build import BuiltEngine, cached_engine
from dannet_core.errors import BackendError, DannetError
from dannet_core.inference.gpu import find_gpu
from dannet_ros.parameters import NodeParameters

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
    and there is no GPU, or TensorRT fails, it is the `.onnx` itself, and `NightSegmenter.why` says so.

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
    segmenter.why = f"no engine: {reason}"
    return segmenter


def _load(path: Path, backend: str, parameters: NodeParameters, settings: InferenceSettings) -> NightSegmenter:
    device, threads = parameters.device, parameters.threads
    return NightSegmenter.load(path, settings, backend=backend, device=device, threads=threads)
