"""The project's two kernels launched through the driver, in a context and a stream that somebody else made."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Protocol

from dannet_core.errors import BackendError
from dannet_core.inference.backends.cuda_errors import engine_error
from dannet_core.inference.backends.cuda_graph import check, open_driver
from dannet_core.inference.kernels.jobs import BLOCK_COLUMNS, BLOCK_ROWS
from dannet_core.inference.kernels.nvrtc import compile_cubin, find_nvrtc

KERNELS = ("camera_to_network", "logits_to_outputs")


class Launcher(Protocol):
    """Launches the kernels of `dannet_core.inference.kernels`."""

    def launch(self, kernel: str, job: bytes, grid: tuple[int, int], shared_bytes: int) -> None:
        """Put a kernel into the current stream; the job is copied, what it points to must live until it is done."""

    def close(self) -> None:
        """Give the kernels back; none is at work any more. Calling it twice is harmless."""


class DriverKernels:
    """Both kernels of one module, a `Launcher`."""

    def __init__(self, driver: Any, cubin: bytes, stream: Callable[[], int]) -> None:
        """Load them into the context that is current in this thread.

        Args:
            driver: the driver library.
            cubin: from `compile_cubin`.
            stream: gives the handle of the stream that is current.

        Raises:
            BackendError: the driver refuses them.
        """
        self._driver, self._stream = driver, stream
        self._module = ctypes.c_void_p()
        check(driver, "cuModuleLoadData", ctypes.byref(self._module), cubin)
        self._functions = {name: self._function(name) for name in KERNELS}

    def launch(self, kernel: str, job: bytes, grid: tuple[int, int], shared_bytes: int) -> None:
        """See `Launcher.launch`.

        Raises:
            EngineError: the driver refused, or tells of an earlier failure.
        """
        argument = ctypes.create_string_buffer(job, len(job))
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(argument))
        sizes = (*grid, 1, BLOCK_COLUMNS, BLOCK_ROWS, 1, shared_bytes)
        stream = ctypes.c_void_p(self._stream())
        try:
            numbers = map(ctypes.c_uint, sizes)
            check(self._driver, "cuLaunchKernel", self._functions[kernel], *numbers, stream, parameters, None)
        except BackendError as error:
            raise engine_error(f"cuda: kernel {kernel}", error) from error

    def close(self) -> None:
        """See `Launcher.close`."""
        if self._functions:
            # A lost GPU refuses, and has forgotten the module anyway.
            self._driver.cuModuleUnload(self._module)
        self._functions = {}

    def _function(self, name: str) -> ctypes.c_void_p:
        function = ctypes.c_void_p()
        check(self._driver, "cuModuleGetFunction", ctypes.byref(function), self._module, name.encode())
        return function


def open_kernels(torch: Any, device: str) -> DriverKernels:
    """The kernels for torch's context and current stream; nothing but NVRTC is needed, which torch's wheels bring.

    Args:
        torch: the module; its context on ``device`` is current in this thread.
        device: ``cuda`` or ``cuda:N``.

    Raises:
        BackendError: no NVRTC, or one that does not know the GPU, or a driver that refuses.
    """
    try:
        nvrtc = find_nvrtc()
    except OSError as error:
        raise BackendError(f"NVRTC cannot be loaded: {error}: install it again") from error
    if nvrtc is None:
        raise BackendError("NVRTC is not found: pip install nvidia-cuda-nvrtc, or install the CUDA toolkit")
    cubin = compile_cubin(nvrtc, "{}.{}".format(*torch.cuda.get_device_capability(device)))
    return DriverKernels(open_driver(), cubin, lambda: int(torch.cuda.current_stream(device).cuda_stream))
