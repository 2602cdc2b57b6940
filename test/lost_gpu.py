"""A pycuda whose driver loses the GPU, for programs of their own; its context stack is as in pycuda 2026.1.

`install` puts it in place of pycuda and takes the compiling of kernels out of `CudaDevice`; all else is the real code.
"""

from __future__ import annotations

import os
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

ILLEGAL = "an illegal memory access was encountered"


class LogicError(Exception):
    """As pycuda raises it."""


class _Stack(threading.local):
    """Every thread has one. A thread that ends with a context on it takes the process along, as in pycuda."""

    def __init__(self) -> None:
        self.entries = _Entries()


class _Entries(list):
    def __del__(self, abort=os.abort) -> None:
        if self:
            os.write(2, b"PyCUDA ERROR: The context stack was not empty upon module cleanup.\n")
            abort()


STACK = _Stack()
STATE = SimpleNamespace(lost=False)


def call(name: str) -> None:
    if STATE.lost:
        raise LogicError(f"{name} failed: {ILLEGAL}")


class _Context:
    def push(self) -> None:
        call("cuCtxPushCurrent")
        STACK.entries.append(self)

    def pop(self) -> None:
        call("cuCtxPopCurrent")  # first the driver's own stack: where that fails pycuda's stays as it is
        STACK.entries.pop()

    def detach(self) -> None:
        if STATE.lost:
            os.write(2, b"PyCUDA WARNING: a clean-up operation failed (dead context maybe?)\n")
        while self in STACK.entries:
            STACK.entries.remove(self)


class _Event:
    def __init__(self, _flags: int = 0) -> None:
        call("cuEventCreate")

    def record(self, _stream: Any) -> None:
        call("cuEventRecord")

    def synchronize(self) -> None:
        """The kernel before it wrote where nothing is."""
        STATE.lost = True
        call("cuEventSynchronize")


def _device(_index: int) -> Any:
    return SimpleNamespace(name=lambda: "fake", compute_capability=lambda: (9, 0), retain_primary_context=_Context)


def install() -> None:
    """Put it in place, in this process."""
    from dannet_core.inference.backends import cuda_device

    driver = ModuleType("pycuda.driver")
    vars(driver).update(
        Error=LogicError,
        init=lambda: call("cuInit"),
        Device=_device,
        Stream=lambda _flags: object(),
        Event=_Event,
        event_flags=SimpleNamespace(BLOCKING_SYNC=1, DISABLE_TIMING=2),
    )
    driver.mem_get_info = lambda: call("cuMemGetInfo") or (1 << 30, 1 << 31)
    sys.modules["pycuda"], sys.modules["pycuda.driver"] = ModuleType("pycuda"), driver
    cuda_device.open_driver = lambda: SimpleNamespace(cuCtxPopCurrent_v2=lambda _context: 0)
    cuda_device.CudaDevice._compile = lambda _: {}


def lose(device: Any) -> None:
    """Wait for a kernel that went wrong.

    Raises:
        EngineError: fatal.
    """
    event = device.event()
    device.record(event, device.stream())
    device.synchronize(event)
