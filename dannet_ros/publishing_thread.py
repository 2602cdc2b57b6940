"""Publishing beside the next frame's work: DDS copies pictures without Python's lock, so a second core can do it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class PublishingThread:
    """Does what it is handed in order, one thing at a time; whoever hands over more waits: nothing is queued.

    The thread is a daemon, as the worker is, and starts with the first hand-over.
    """

    def __init__(self) -> None:
        # Both wake a thread in half the time that a condition takes.
        self._steps: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._idle = threading.Lock()
        self._thread: threading.Thread | None = None

    def hand_over(self, step: Callable[[], object]) -> None:
        """Have ``step``, which must not raise, done; returns when the one before it is."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="night_seg publishing", daemon=True)
            self._thread.start()
        self._idle.acquire()
        self._steps.put(step)

    @property
    def busy(self) -> bool:
        """Whether it has something to do."""
        return self._idle.locked()

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until all is done; False when that took longer than ``timeout_s``."""
        if not self._idle.acquire(timeout=timeout_s):
            return False
        self._idle.release()
        return True

    def close(self, timeout_s: float) -> bool:
        """End the thread when it has done what it has; False when it still hangs after ``timeout_s``."""
        thread = self._thread
        if thread is None:
            return True
        self._steps.put(None)
        thread.join(timeout_s)
        return not thread.is_alive()

    def _run(self) -> None:
        while (step := self._steps.get()) is not None:
            step()
            self._idle.release()
