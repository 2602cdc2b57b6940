"""One-slot mailbox: the newest frame wins, and what it replaced is counted."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class LatestFrame(Generic[_Item]):
    """Hands frames from the executor thread to the worker thread without ever queueing more than one.

    `take` says that what was taken before is finished; `wait_until_idle` relies on it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._arrivals: SimpleQueue[None] = SimpleQueue()  # wakes a thread in half the time that a condition takes
        self._item: _Item | None = None
        self._in_hand = False
        self._closed = False
        self._received = 0
        self._replaced = 0

    def put(self, item: _Item) -> None:
        """Leave a frame; one still waiting is replaced and counted. Ignored once closed."""
        with self._changed:
            if self._closed:
                return
            self._received += 1
            waiting, self._item = self._item, item
            self._replaced += waiting is not None
        if waiting is None:
            self._arrivals.put(None)

    def take(self, timeout_s: float) -> _Item | None:
        """Wait for a frame and take it out; None when none came in time or the mailbox is closed."""
        with self._changed:
            self._in_hand = False
            self._changed.notify_all()
        deadline_s = time.monotonic() + timeout_s
        with suppress(Empty):
            while not self._closed:
                self._arrivals.get(timeout=max(0.0, deadline_s - time.monotonic()))
                with self._changed:
                    item, self._item = self._item, None
                    self._in_hand = item is not None
                if item is not None:  # else it was thrown away meanwhile
                    return item
        return None

    def take_waiting(self) -> _Item | None:
        """Take out a frame that waits already, while the one taken before is still in work; None when none waits."""
        with self._changed:
            item, self._item = self._item, None
        self._forget_arrival(item)
        return item

    def discard(self) -> None:
        """Throw away a waiting frame, counted as replaced."""
        with self._changed:
            item, self._item = self._item, None
            self._replaced += item is not None
        self._forget_arrival(item)

    def close(self) -> None:
        """Throw away a waiting frame and wake whoever waits; nothing is accepted any more."""
        self.discard()
        with self._changed:
            self._closed = True
        self._arrivals.put(None)

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until no frame is waiting or in work; False when that took longer than ``timeout_s``."""
        with self._changed:
            return self._changed.wait_for(lambda: self._item is None and not self._in_hand, timeout_s)

    def _forget_arrival(self, item: _Item | None) -> None:
        """Of a frame that was taken without waiting for it; one that is told only after this finds nothing."""
        if item is not None:
            with suppress(Empty):
                self._arrivals.get_nowait()

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed

    @property
    def busy(self) -> bool:
        """Whether a frame is waiting or in work."""
        return self._in_hand or self._item is not None

    @property
    def received(self) -> int:
        """How many frames were put in."""
        return self._received

    @property
    def replaced(self) -> int:
        """How many frames were overtaken by a newer one, or discarded, before anybody took them."""
        return self._replaced
