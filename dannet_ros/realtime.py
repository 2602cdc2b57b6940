"""Real-time priority of this process: a program that wakes no longer takes the core from a frame in work.

Measured on two cores, of the publishes that take longest nine tenths is waiting for a core: whoever is woken by the
pictures runs first.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

MAX_PRIORITY: Final = 99
_THREADS: Final = Path("/proc/self/task")
_ROUNDS: Final = 3
"""Times that all threads are looked at: one may have started another meanwhile."""


class RealtimePriority:
    """The priority that this process took, with every thread it has, and what it had before.

    Threads inherit it: those that a model's runtime starts later have it too.
    """

    def __init__(self) -> None:
        self._before: tuple[int, int] | None = None

    def take(self, priority: int) -> str:
        """Run round robin at ``priority``, 1 to 99, before all ordinary programs; 0 = stay as the process was started.

        Returns why that does not work; empty when it does.
        """
        if not priority:
            return ""
        if not (hasattr(os, "sched_setscheduler") and _THREADS.is_dir()):
            return f"got {priority}, expected 0: there is no such priority on this system"
        before = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
        try:
            _set_all(os.SCHED_RR, priority)
        except OSError as error:
            _restore(before)
            return (
                f"got {priority}, expected 0 without the right to it ({error.strerror}): allow it (rtprio in "
                "/etc/security/limits.d, for a container --cap-add SYS_NICE) or set 0"
            )
        self._before = before
        return ""

    def give_back(self) -> None:
        """As it was before `take`; nothing where that was not called."""
        before, self._before = self._before, None
        if before is not None:
            _restore(before)


def _restore(before: tuple[int, int]) -> None:
    with suppress(OSError):  # lowering it is always allowed
        _set_all(*before)


def _set_all(policy: int, priority: int) -> None:
    for _ in range(_ROUNDS):
        for thread in sorted(int(entry.name) for entry in _THREADS.iterdir()):
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(thread, policy, os.sched_param(priority))
