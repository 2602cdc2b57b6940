"""What runs work for a fleet: some calls at a time, each of which may die without taking the others along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Died:
    """What comes instead of a result where a worker died.

    Attributes:
        why: in words, e.g. ``killed by SIGKILL``.
    """

    why: str


class Workers(Protocol):
    """Processes of this machine, or of a cluster.

    Attributes:
        count: calls that run at a time at most.
        about: what they are, in a few words.
    """

    count: int
    about: str

    def start(self, key: str, function: Callable[[Any], Any], argument: Any) -> None:
        """Begin a call; ``function`` is one of a module's, and what goes in and out can be pickled."""

    def wait(self, timeout_s: float) -> list[tuple[str, Any]]:
        """Calls that have ended since, by key: what the function gave, or `Died`.

        Raises:
            DannetError: there are no workers any more.
        """

    def stop(self) -> None:
        """End what runs, so that it cleans up behind itself if it can; calling it twice is harmless."""
