"""The GPU through pycuda: memory, streams, events, the two kernels. A `Device`."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dannet_core.errors import BackendError, DannetError, EngineError, MissingPackageError, require
from dannet_core.inference.backends.cuda_errors import engine_error
from dannet_core.inference.backends.cuda_graph import CudaGraph, capture, open_driver
from dannet_core.inference.backends.device import Buffer
from dannet_core.inference.kernels.jobs import BLOCK_COLUMNS, BLOCK_ROWS, CameraJob, LabelJob
from dannet_core.inference.kernels.nvrtc import FOLDER, SOURCE, compile_cubin, find_nvrtc

JOBS: Final = {"camera_to_network": CameraJob, "logits_to_outputs": LabelJob}
INSTALL: Final = "pip install pycuda"
MIB: Final = 1 << 20
_NON_BLOCKING: Final = 1
"""Stream flag: not held up by what others in this process put into the default stream."""


class DeviceBuffer:
    """Memory of the GPU."""

    def __init__(self, allocation: Any) -> None:
        self._allocation = allocation
        self.address = int(allocation)

    def free(self) -> None:
        """Give it back; calling it twice is harmless."""
        if self._allocation is not None:
            self._allocation.free()
        self._allocation = None


class CudaDevice:
    """One GPU, by its primary context, which torch and others in this process share.

    Made, used and closed in one thread. Every error comes as an `EngineError` that says what to do.

    Attributes:
        name: of the GPU.
        compute_capability: e.g. ``8.7``.
    """

    def __init__(self, index: int = 0) -> None:
        """Take GPU number ``index`` into use in this thread.

        Raises:
            MissingPackageError: pycuda, or both NVRTC and nvcc, are not installed.
            EngineError: there is no such GPU, or the driver is too old.
        """
        self._cuda: ModuleType = require("pycuda.driver", "run .engine models", INSTALL)
        self._context: Any = None
        self._thread_id = threading.get_ident()
        self._driver = open_driver()
        with self._guarded("starting"):
            self._cuda.init()
            device = self._cuda.Device(index)
            self.name = str(device.name())
            self.compute_capability = "{}.{}".format(*device.compute_capability())
            self._context = device.retain_primary_context()
            self._context.push()
        atexit.register(self._leave_at_exit)
        try:
            self._kernels = self._compile()
        except DannetError:
            self.close()
            raise

    def allocate(self, num_bytes: int) -> DeviceBuffer:
        """See `Device.allocate`."""
        with self._guarded(f"taking {num_bytes / MIB:.1f} MiB"):
            return DeviceBuffer(self._cuda.mem_alloc(num_bytes))

    def pinned(self, num_bytes: int) -> npt.NDArray[np.uint8]:
        """See `Device.pinned`."""
        with self._guarded(f"pinning {num_bytes / MIB:.1f} MiB of host memory"):
            array: npt.NDArray[np.uint8] = self._cuda.pagelocked_empty(num_bytes, np.uint8)
            return array

    def free_pinned(self, array: npt.NDArray[np.uint8]) -> None:
        """See `Device.free_pinned`."""
        owner: Any = array.base
        owner.free()

    def stream(self) -> Any:
        """See `Device.stream`."""
        with self._guarded("making a stream"):
            return self._cuda.Stream(_NON_BLOCKING)

    def event(self, *, timed: bool = False) -> Any:
        """See `Device.event`."""
        kinds = self._cuda.event_flags
        # The default one is waited for in a loop that keeps a core busy.
        flags = kinds.BLOCKING_SYNC if timed else kinds.BLOCKING_SYNC | kinds.DISABLE_TIMING
        with self._guarded("making an event"):
            return self._cuda.Event(flags)

    def upload(self, target: Buffer, source: npt.NDArray[Any], stream: Any) -> None:
        """See `Device.upload`."""
        with self._guarded("copying to the GPU"):
            self._cuda.memcpy_htod_async(target.address, source, stream)

    def download(self, target: npt.NDArray[Any], source: Buffer, stream: Any) -> None:
        """See `Device.download`."""
        with self._guarded("copying from the GPU"):
            self._cuda.memcpy_dtoh_async(target, source.address, stream)

    def launch(self, kernel: str, job: bytes, grid: tuple[int, int], shared_bytes: int, stream: Any) -> None:
        """See `Device.launch`."""
        with self._guarded(f"kernel {kernel}"):
            block = (BLOCK_COLUMNS, BLOCK_ROWS, 1)
            self._kernels[kernel].prepared_async_call(grid, block, stream, job, shared_size=shared_bytes)

    def record(self, event: Any, stream: Any) -> None:
        """See `Device.record`."""
        with self._guarded("recording an event"):
            event.record(stream)

    def wait(self, stream: Any, event: Any) -> None:
        """See `Device.wait`."""
        with self._guarded("waiting for an event"):
            stream.wait_for_event(event)

    def synchronize(self, event: Any) -> None:
        """See `Device.synchronize`."""
        with self._guarded("waiting for the GPU"):
            event.synchronize()

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """See `Device.elapsed_ms`."""
        with self._guarded("reading the time"):
            return float(end.time_since(start))

    def capture(self, stream: Any, enqueue: Callable[[], None]) -> CudaGraph:
        """See `Device.capture`."""
        return capture(self._driver, stream, enqueue)

    def memory_mib(self) -> tuple[float, float]:
        """Free memory and all memory of the GPU, in MiB."""
        with self._guarded("asking for free memory"):
            free, total = self._cuda.mem_get_info()
            return free / MIB, total / MIB

    def close(self) -> None:
        """Leave the context; buffers, streams and events are to be gone by then. Calling it twice is harmless."""
        context, self._context, self._kernels = self._context, None, {}
        if context is None:
            return
        atexit.unregister(self._leave_at_exit)
        with self._guarded("leaving the context"):
            try:
                context.pop()
            except self._cuda.Error:
                # After a fatal error the driver refuses that, and pycuda aborts the process when a thread ends with a
                # context on its stack. Detached where it is, the context leaves the stack whatever the driver says.
                context.detach()
                raise
            context.detach()
            # pycuda makes a context current to detach it; releasing a primary context does not undo that.
            self._driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))

    def _leave_at_exit(self) -> None:
        """A process that ends with a context still current is aborted by pycuda."""
        if threading.get_ident() == self._thread_id:
            with contextlib.suppress(EngineError):
                self.close()

    def _compile(self) -> dict[str, Any]:
        """Both kernels by name: by NVRTC where it is found and knows this GPU, else by nvcc."""
        nvrtc, nvcc = find_nvrtc(), find_nvcc()
        if nvrtc is None and nvcc is None:
            raise MissingPackageError(
                "NVRTC or nvcc is needed to compile the kernels and neither is found: "
                "pip install nvidia-cuda-nvrtc, or install the CUDA toolkit"
            )
        module = None
        if nvrtc is not None:
            try:
                with self._guarded("loading the kernels"):
                    module = self._cuda.module_from_buffer(compile_cubin(nvrtc, self.compute_capability))
            except BackendError:
                # An NVRTC older than the GPU; the toolkit's compiler may be newer.
                if nvcc is None:
                    raise
        if module is None:
            module = self._compile_with_nvcc(str(nvcc))
        return {name: module.get_function(name).prepare([f"{ctypes.sizeof(job)}s"]) for name, job in JOBS.items()}

    def _compile_with_nvcc(self, nvcc: str) -> Any:
        compiler = require("pycuda.compiler", "run .engine models", INSTALL)
        try:
            with self._guarded("loading the kernels"):
                return compiler.SourceModule(
                    (FOLDER / SOURCE).read_text(),
                    nvcc=nvcc,
                    options=["-std=c++17", "-O3"],
                    no_extern_c=True,
                    include_dirs=[str(FOLDER)],
                )
        except self._cuda.CompileError as error:
            raise BackendError(f"kernels: nvcc failed: {' '.join(str(error.stderr or error).split())[:300]}") from error

    @contextlib.contextmanager
    def _guarded(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (self._cuda.Error, MemoryError) as error:
            raise engine_error(f"cuda: {doing}", error, self._free_mib()) from error

    def _free_mib(self) -> int | None:
        try:
            return int(self._cuda.mem_get_info()[0]) // MIB
        except self._cuda.Error:
            return None


def find_nvcc() -> str | None:
    """The compiler on the PATH, under CUDA_HOME, or in the toolkit's usual place."""
    folders = [os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
    places = [None, *(str(Path(folder) / "bin") for folder in folders if folder)]
    return next((found for found in (shutil.which("nvcc", path=place) for place in places) if found), None)
