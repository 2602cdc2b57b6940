"""CUDA graphs through the driver's own functions: pycuda has streams but no capture."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

from dannet_core.errors import BackendError
from dannet_core.inference.gpu import DRIVER_LIBRARY

_THREAD_LOCAL: Final = 1
"""Capture mode: what other threads of this process do, torch for one, is none of the graph's business."""


def open_driver() -> Any:
    """The driver library.

    Raises:
        BackendError: there is none.
    """
    try:
        return ctypes.CDLL(DRIVER_LIBRARY)
    except OSError as error:
        raise BackendError(f"{DRIVER_LIBRARY}: cannot be opened ({error}): install the NVIDIA driver") from error


class CudaGraph:
    """One captured graph, ready to be launched."""

    def __init__(self, driver: Any, executable: ctypes.c_void_p) -> None:
        self._driver = driver
        self._executable: ctypes.c_void_p | None = executable

    def launch(self, stream: Any) -> None:
        """Do the captured work once more, in the order of a pycuda stream."""
        assert self._executable is not None, "launched after free"
        check(self._driver, "cuGraphLaunch", self._executable, ctypes.c_void_p(stream.handle))

    def free(self) -> None:
        """Give the graph back; calling it twice is harmless."""
        if self._executable is not None:
            self._driver.cuGraphExecDestroy(self._executable)
        self._executable = None


def capture(driver: Any, stream: Any, enqueue: Callable[[], None]) -> CudaGraph:
    """Record what ``enqueue`` puts into a pycuda stream and into streams that it joins by events.

    Raises:
        BackendError: something in it cannot be recorded.
    """
    handle, graph, executable = ctypes.c_void_p(stream.handle), ctypes.c_void_p(), ctypes.c_void_p()
    check(driver, "cuStreamBeginCapture_v2", handle, ctypes.c_int(_THREAD_LOCAL))
    try:
        enqueue()
    except Exception as error:
        # The stream must leave capture mode whatever happened, or nothing runs in it any more.
        driver.cuStreamEndCapture(handle, ctypes.byref(graph))
        _destroy(driver, graph)
        raise BackendError(f"graph: not captured: {' '.join(str(error).split())}") from error
    check(driver, "cuStreamEndCapture", handle, ctypes.byref(graph))
    try:
        check(driver, "cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
    finally:
        _destroy(driver, graph)
    return CudaGraph(driver, executable)


def check(driver: Any, name: str, *arguments: Any) -> None:
    """Call a function of the driver and raise what it answers.

    Raises:
        BackendError: it failed, or this driver has no such function.
    """
    try:
        code = int(getattr(driver, name)(*arguments))
    except AttributeError as error:
        raise BackendError(f"{name}: this driver has no such function: update the NVIDIA driver") from error
    if code != 0:
        text = ctypes.c_char_p()
        known = driver.cuGetErrorString(code, ctypes.byref(text)) == 0 and text.value
        raise BackendError(f"{name} failed: {text.value.decode() if known and text.value else f'error {code}'}")


def _destroy(driver: Any, graph: ctypes.c_void_p) -> None:
    if graph.value:
        driver.cuGraphDestroy(graph)
