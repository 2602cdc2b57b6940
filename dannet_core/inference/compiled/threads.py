"""A few threads that take bands of a picture in turn; between pictures they sleep."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

MOST: Final = 4
"""More threads than that wait for memory rather than compute."""
PARTS_PER_THREAD: Final = 4
"""Sky takes less time than a street: whoever is done takes the next part."""


class BandThreads:
    """Runs work on parts of a range, in this thread and in others. Called from one thread."""

    def __init__(self, threads: int) -> None:
        """Start nothing yet.

        Args:
            threads: how many in all; 0 = one per core, up to `MOST`.
        """
        self.count = threads or min(MOST, len(os.sched_getaffinity(0)))
        self._pool = ThreadPoolExecutor(self.count - 1, "dannet outputs") if self.count > 1 else None

    def run(self, work: Callable[[int, int], None], size: int) -> None:
        """Call ``work(first, last)`` for parts that make up 0..size, each once.

        Raises:
            Exception: what the work raised, after every thread has stopped.
        """
        length = max(1, -(-size // (self.count * PARTS_PER_THREAD)))
        starts = itertools.count(0, length)

        def take_parts() -> None:
            while (first := next(starts)) < size:
                work(first, min(first + length, size))

        pool = self._pool
        helpers = [] if pool is None else [pool.submit(take_parts) for _ in range(self.count - 1)]
        try:
            take_parts()
        finally:
            # One that is still waking, on a core that slept, would find nothing left.
            begun = [helper for helper in helpers if not helper.cancel()]
            wait(begun)
        for helper in begun:
            helper.result()

    def close(self) -> None:
        """End the other threads; what is run later runs in the caller's. Calling it twice is harmless."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()
