"""Signals to stop while a run goes on: the first one is obeyed, where it can be without losing a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dannet_core.terminal import give_back, hang_up_once, stop_signals


class StopRequested(BaseException):
    """Raised by a signal inside `Stop.may_interrupt`; no Exception, so that nobody takes it for a failure."""


class Stop:
    """Whether the run has been asked to stop.

    Attributes:
        requested: set by the first signal.
    """

    def __init__(self) -> None:
        self.requested = False
        self._open = False

    @contextmanager
    def may_interrupt(self, allowed: bool = True) -> Iterator[None]:
        """What runs inside is given up when a signal comes: waiting, evaluating; not a step, nor a file being written.

        Args:
            allowed: False waits for the end of the block instead.

        Raises:
            StopRequested: a signal came, or had come before.
        """
        if not allowed:
            yield
            return
        self._open = True
        try:
            if self.requested:
                raise StopRequested
            yield
        finally:
            self._open = False

    def request(self) -> None:
        """Note a signal; raises inside `may_interrupt`."""
        self.requested = True
        if self._open:
            self._open = False
            raise StopRequested


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Signals ask for a stop instead of ending the process (`stop_signals`); a second SIGINT interrupts at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    interrupt = signal.getsignal(signal.SIGINT)

    def on_signal(number: int, _: object) -> None:
        signal.signal(signal.SIGINT, interrupt)
        hang_up_once(number)
        stop.request()

    old = {number: signal.signal(number, on_signal) for number in stop_signals()}
    try:
        yield stop
    finally:
        give_back(old)
