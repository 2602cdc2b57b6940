"""What a frame needs of a device. `CudaDevice` is the one that runs; the sequence itself knows no CUDA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Stream = Any
Event = Any


class Buffer(Protocol):
    """Memory of the device.

    Attributes:
        address: of its first byte.
    """

    address: int

    def free(self) -> None:
        """Give it back; calling it twice is harmless."""


class Graph(Protocol):
    """Recorded work that is started with one call."""

    def launch(self, stream: Stream) -> None:
        """Do the work once more, in the order of ``stream``."""

    def free(self) -> None:
        """Give it back; calling it twice is harmless."""


class Device(Protocol):
    """Memory, streams and kernels of one device. All calls come from the thread that made it."""

    def allocate(self, num_bytes: int) -> Buffer:
        """Device memory."""

    def pinned(self, num_bytes: int) -> npt.NDArray[np.uint8]:
        """Host memory that copies run from and to without the CPU."""

    def free_pinned(self, array: npt.NDArray[np.uint8]) -> None:
        """Give pinned memory back."""

    def stream(self) -> Stream:
        """A queue of work, independent of the others."""

    def event(self, *, timed: bool = False) -> Event:
        """A mark in a stream, which the CPU waits for asleep; only a timed one can be asked by `elapsed_ms`."""

    def upload(self, target: Buffer, source: npt.NDArray[Any], stream: Stream) -> None:
        """Begin to copy to the device."""

    def download(self, target: npt.NDArray[Any], source: Buffer, stream: Stream) -> None:
        """Begin to copy from the device."""

    def launch(self, kernel: str, job: bytes, grid: tuple[int, int], shared_bytes: int, stream: Stream) -> None:
        """Begin one of the kernels of `dannet_core.inference.kernels`."""

    def record(self, event: Event, stream: Stream) -> None:
        """Set the mark behind what is in the stream now."""

    def wait(self, stream: Stream, event: Event) -> None:
        """What is put into the stream from now on begins after the mark."""

    def synchronize(self, event: Event) -> None:
        """Wait on the CPU until the mark is reached."""

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Milliseconds between two marks that were reached."""

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        """Record what ``enqueue`` puts into ``stream``, and into streams joined to it by events, instead of doing it.

        Raises:
            BackendError: something in it cannot be recorded; the device goes on working.
        """


class Network(Protocol):
    """A network whose buffers are on the device.

    One that cannot always be recorded has ``capture_refused(stream)`` too: asked after the first run, it says why not,
    or nothing.

    Attributes:
        shapes: of ``image``, ``stride_logits`` and, where there is a relighting network, ``relit``, with the leading 1.
        dtypes: of the same, as NumPy's.
    """

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, np.dtype[Any]]

    def enqueue(self, addresses: dict[str, int], stream: Stream) -> None:
        """Begin to run on the buffers at these addresses."""
