"""Which NVIDIA GPU is here, asked of the driver itself: no CUDA toolkit, torch or pycuda, and no context is made."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final, NamedTuple

DRIVER_LIBRARY: Final = "libcuda.so.1"
_NAME_BYTES: Final = 256
_CAPABILITY_MAJOR: Final = 75
_CAPABILITY_MINOR: Final = 76


class Gpu(NamedTuple):
    """One GPU.

    Attributes:
        name: as the driver gives it.
        compute_capability: ``major.minor``, e.g. ``8.7``.
    """

    name: str
    compute_capability: str


def find_gpu(index: int = 0) -> Gpu | None:
    """The GPU of that number, or None where there is no such GPU or no driver."""
    try:
        driver = ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return None
    return ask_driver(driver, index)


def ask_driver(driver: Any, index: int) -> Gpu | None:
    """Ask an opened driver library; None when it refuses."""
    device, name = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    major, minor = ctypes.c_int(), ctypes.c_int()
    asked: tuple[Callable[[], int], ...] = (
        lambda: driver.cuInit(0),
        lambda: driver.cuDeviceGet(ctypes.byref(device), index),
        lambda: driver.cuDeviceGetName(name, _NAME_BYTES, device),
        lambda: driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device),
        lambda: driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device),
    )
    if any(ask() != 0 for ask in asked):
        return None
    return Gpu(name.value.decode(errors="replace"), f"{major.value}.{minor.value}")
