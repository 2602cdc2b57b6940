"""TensorRT backend: `.engine` files with everything around the network on the GPU too; without torch."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dannet_core.errors import BackendError, DannetError, EngineError
from dannet_core.inference.backends.backend import StrideOutput
from dannet_core.inference.backends.cuda_device import CudaDevice
from dannet_core.inference.backends.cuda_errors import engine_error
from dannet_core.inference.backends.device import Device, Network
from dannet_core.inference.backends.frame_runner import SLOTS, FrameRunner
from dannet_core.inference.backends.owner_thread import OwnerThread
from dannet_core.inference.backends.tensorrt_network import TensorRTNetwork, check_bindings, check_fits
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.engine_file import read_engine_info, read_plan
from dannet_core.inference.frame import FrameRequest, FrameResult
from dannet_core.inference.tensorrt_flavour import import_flavour
from dannet_core.metadata import ModelMetadata

_Result = TypeVar("_Result")


class TensorRTBackend:
    """Runs engines that `dannet build_engine` writes, frame by frame or two frames overlapped.

    Made, used and closed in one thread. After a fatal `EngineError` every further call raises it again.
    """

    name = "tensorrt"
    on_device = True
    max_in_flight = SLOTS

    def __init__(
        self, device: Device, network: Network, metadata: ModelMetadata, where: str, *, graphs: bool = True
    ) -> None:
        """Run a network that is on a device already; `open` is what reads files.

        Args:
            device: made in this thread; closed by `close` where it can be.
            network: on that device; likewise.
            metadata: describes the model.
            where: the device's name, e.g. ``cuda:0``.
            graphs: start frames as captured graphs.
        """
        self.device = where
        self.metadata = metadata
        height, width = network.shapes["image"][2:]
        self.fixed_input_size: tuple[int, int] | None = (height, width)
        self._thread = OwnerThread(self.name)
        self._device, self._network = device, network
        self._fatal: EngineError | None = None
        self._runner: FrameRunner | None = FrameRunner(device, network, metadata, graphs=graphs)

    @classmethod
    def open(cls, path: Path, device: str = "auto", *, graphs: bool = True) -> TensorRTBackend:
        """Open an engine.

        Args:
            path: the `.engine` file; its side file lies beside it.
            device: ``auto``, ``cuda`` or ``cuda:N``.
            graphs: start frames as captured CUDA graphs.

        Raises:
            ModelFileError: the engine or its side file is missing or damaged.
            MissingPackageError: TensorRT, pycuda or a compiler for the kernels is not installed.
            EngineError: it was built for another GPU or version, or does not fit into the GPU's memory.
            BackendError: ``device`` is not a GPU.
        """
        index = gpu_index(device)
        info = read_engine_info(path)
        check_bindings(info, path)
        flavour = import_flavour(info.flavour)
        plan = read_plan(path, info)
        check_fits(info, flavour.running(index), path)
        gpu = CudaDevice(index)
        network = None
        try:
            network = TensorRTNetwork(flavour, info, plan, path)
            return cls(gpu, network, info.metadata, f"cuda:{index}", graphs=graphs)
        except (DannetError, RuntimeError, TypeError) as error:
            if network is not None:
                network.close()
            # Of a GPU that is lost nothing can be given back; what is raised says why.
            with contextlib.suppress(EngineError):
                gpu.close()
            # TensorRT's bindings raise these two where the library gives nothing back.
            raise error if isinstance(error, DannetError) else engine_error(f"{path}: loading", error) from error

    def infer(self, image: npt.NDArray[np.float32], with_relit: bool) -> StrideOutput:
        """See `Backend.infer`."""
        return StrideOutput(*self._run(lambda runner: runner.run_network(image, with_relit)))

    def run_frame(self, camera: CameraImage, request: FrameRequest) -> FrameResult:
        """See `FrameBackend.run_frame`."""
        return self._run(lambda runner: runner.run(camera, request))

    def submit(self, camera: CameraImage, request: FrameRequest) -> None:
        """See `FrameBackend.submit`."""
        self._run(lambda runner: runner.submit(camera, request))

    def collect(self) -> FrameResult:
        """See `FrameBackend.collect`."""
        return self._run(lambda runner: runner.collect())

    def set_profiling(self, on: bool) -> bool:
        """Let frames say what each stage takes on the GPU (``device_upload`` and so on); no graphs meanwhile."""

        def switch(runner: FrameRunner) -> None:
            if runner.in_flight:
                raise BackendError(f"profiling: {runner.in_flight} frames are in flight: collect them first")
            runner.profile = on

        self._run(switch)
        return True

    def graph_state(self) -> str:
        """Why frames are not started as graphs; empty when they are."""
        return self._run(lambda runner: runner.graph_refused)

    def memory_mib(self) -> float | None:
        """Used memory of the GPU in MiB, by all programs on it; None where the device does not say."""
        ask = getattr(self._device, "memory_mib", None)
        if ask is None:
            return None
        free, total = ask()
        return float(total - free)

    def close(self) -> None:
        """Free everything on the GPU; calling it twice is harmless."""
        if self._runner is None:
            return
        self._thread.check()
        runner, self._runner = self._runner, None
        failed: EngineError | None = None
        for owned in (runner, self._network, self._device):
            try:
                getattr(owned, "close", lambda: None)()
            except EngineError as error:
                failed = failed or error
        # What a lost GPU held is gone with it: nothing to complain about twice.
        if failed is not None and not failed.fatal and self._fatal is None:
            raise failed

    def _run(self, work: Callable[[FrameRunner], _Result]) -> _Result:
        self._thread.check()
        if self._runner is None:
            raise BackendError("tensorrt: the backend is closed: load the model again")
        if self._fatal is not None:
            raise self._fatal
        try:
            return work(self._runner)
        except EngineError as error:
            self._fatal = error if error.fatal else None
            raise


def gpu_index(device: str) -> int:
    """The GPU's number in ``auto``, ``cuda`` or ``cuda:N``.

    Raises:
        BackendError: anything else.
    """
    match = re.fullmatch(r"auto|cuda(?::(\d+))?", device)
    if match is None:
        raise BackendError(f"device: got '{device}', expected auto, cuda or cuda:N: a .engine file runs on a GPU only")
    return int(match.group(1) or 0)


def open_file(path: Path, device: str, threads: int) -> TensorRTBackend:  # noqa: ARG001  all are opened alike
    """As `open_backend` calls it, see there."""
    return TensorRTBackend.open(path, device)
