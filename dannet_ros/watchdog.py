"""Says that the worker hangs while it hangs: runs on a timer of the executor thread, which no driver call can block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

PERIOD_S: Final = 0.1


class Watchdog:
    """Reports the begin and the end of a hang, each once; the periodic diagnostics repeat it in between."""

    def __init__(
        self, log: Any, busy_s: Callable[[], float], limit_s: Callable[[], float], report: Callable[[], None]
    ) -> None:
        """Set what is watched.

        Args:
            log: a ROS logger.
            busy_s: for how long the worker has been at its frame, seconds; 0 between frames.
            limit_s: how long it may be.
            report: publishes the diagnostics now.
        """
        self._log = log
        self._busy_s = busy_s
        self._limit_s = limit_s
        self._report = report
        self._longest_s = 0.0

    def look(self) -> None:
        """To be called every `PERIOD_S`."""
        busy_s = self._busy_s()
        hangs, hung = busy_s > self._limit_s(), self._longest_s > 0
        if hangs and not hung:
            self._log.error(f"the worker hangs: {busy_s:.1f} s with one frame, hang_ms is {self._limit_s() * 1e3:g}")
        if hung and not hangs:
            self._log.info(f"the worker is back after about {self._longest_s:.1f} s")
        self._longest_s = busy_s if hangs else 0.0
        if hangs != hung:
            self._report()
