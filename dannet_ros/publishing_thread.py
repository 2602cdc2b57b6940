"""Publishing beside the next frame's work: DDS copies pictures without Python's lock, so a second core can do it."""

from __future__ import annotations

import threading
from collections.abc import Callable


class PublishingThread:
    """Does what it is handed in order, one thing at a time; whoever hands over more waits: nothing is queued.

    The thread is a daemon, as the worker is, and starts with the first hand-over.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._step: Callable[[], object] | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def hand_over(self, step: Callable[[], object]) -> None:
        """Have ``step``, which must not raise, done; returns when the one before it is."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="night_seg publishing", daemon=True)
                self._thread.start()
            self._changed.wait_for(lambda: self._step is None)
            self._step = step
            self._changed.notify_all()

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until all is done; False when that took longer than ``timeout_s``."""
        with self._changed:
            return self._changed.wait_for(lambda: self._step is None, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """End the thread when it has done what it has; False when it still hangs after ``timeout_s``."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is None:
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._step is not None or self._closed)
                step = self._step
            if step is None:
                return
            step()
            with self._changed:
                self._step = None
                self._changed.notify_all()
