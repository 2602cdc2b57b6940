"""GPU contexts belong to the thread that made them: noticed at once instead of as a driver error later."""

from __future__ import annotations

import threading

from dannet_core.errors import BackendError


class OwnerThread:
    """Remembers the thread it was made in."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._id = threading.get_ident()
        self._name = threading.current_thread().name

    def check(self) -> None:
        """Raise BackendError in any other thread."""
        if threading.get_ident() != self._id:
            raise BackendError(
                f"{self._what}: made in thread '{self._name}', used in '{threading.current_thread().name}': "
                "load, use and close the model in one thread"
            )
