"""Memory between frames: freed buffers stay in the process, and Python looks for garbage where some may be."""

from __future__ import annotations

import ctypes
import gc
import time
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_LARGEST_BUFFER: Final = 32 << 20
_KEPT: Final = 256 << 20
PERIOD_S: Final = 1.0
"""From one search for garbage to the next."""
_FULL_PERIOD_S: Final = 60.0
_MOST_NEW: Final = 50_000
"""So many new objects are searched at once, whatever is in work; a camera at 30 Hz leaves 3,000 a second."""


def keep_freed_buffers() -> bool:
    """Tell the C library's allocator to reuse blocks of up to 32 MB and to keep up to 256 MB of freed memory.

    By default glibc maps every picture afresh, and the kernel has to clear its pages again: receiving one 1080p frame
    through rclpy then costs 4,500 page faults and 12 ms, most of it under Python's global lock, instead of 60 and 5 ms.

    Returns:
        False where the C library has no ``mallopt`` (musl, macOS): nothing is changed then.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_BUFFER)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))


class Garbage:
    """Python's searches for garbage, each of which stops every thread, between frames instead of in them."""

    def __init__(self) -> None:
        self._due_s = self._full_due_s = 0.0

    def settle(self) -> None:
        """Leave all that Python holds by now, modules above all, out of the searches, and have few begin by themselves.

        With a model open these are 100,000 objects and more, and a search through all takes 0.1 s. What is garbage by
        now is freed first, what was left out before included.
        """
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        gc.set_threshold(_MOST_NEW, *gc.get_threshold()[1:])

    def tidy(self, busy: bool) -> None:
        """Search where that is due, a second after the last time; to be called between callbacks.

        Args:
            busy: a frame is in work; the search waits for its end, for another second at most.
        """
        now_s = time.monotonic()
        if now_s < self._due_s + busy * PERIOD_S:
            return
        full = now_s >= self._full_due_s
        gc.collect(2 if full else 1)
        now_s = time.monotonic()
        self._due_s = now_s + PERIOD_S
        if full:
            self._full_due_s = now_s + _FULL_PERIOD_S
