"""How far a TensorRT build is: its nested phases as one fraction, and a way to stop it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple


class BuildProgress(NamedTuple):
    """How far a build is.

    Attributes:
        phase: what the builder is at, in its own words.
        fraction: 0..1 of its steps; they take different times.
        elapsed_s: seconds since the build began, or since the wait for another process began.
    """

    phase: str
    fraction: float
    elapsed_s: float


@dataclass
class _Phase:
    name: str
    parent: str | None
    steps: int
    done: int = 0


class PhaseTree:
    """What a builder reports, from any of its threads; ask for it from any other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, _Phase] = {}
        self._last = "starting"
        self._reached = 0.0
        self._stopped = False

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of ``steps`` steps begins inside ``parent``."""
        with self._lock:
            self._open[name] = _Phase(name, parent, max(1, steps))
            self._last = name

    def complete(self, name: str, step: int) -> bool:
        """Step number ``step`` of a phase is done; False asks the builder to stop."""
        with self._lock:
            if name in self._open:
                self._open[name].done = step + 1
            return not self._stopped

    def finish(self, name: str) -> None:
        """A phase is done."""
        with self._lock:
            phase = self._open.pop(name, None)
            if phase is not None and phase.parent is None:
                self._reached = 1.0

    def stop(self) -> None:
        """Ask the builder to stop at its next step."""
        with self._lock:
            self._stopped = True

    def now(self) -> tuple[str, float]:
        """The innermost phase, and the fraction of all steps: it never goes back."""
        with self._lock:
            names = list(self._open)
            roots = [phase for phase in self._open.values() if phase.parent not in self._open]
            if roots:
                self._reached = max(self._reached, self._fraction(roots[0]))
            return (names[-1] if names else self._last), self._reached

    def _fraction(self, phase: _Phase) -> float:
        inner = [self._fraction(other) for other in self._open.values() if other.parent == phase.name]
        return min(1.0, (phase.done + max(inner, default=0.0)) / phase.steps)


def progress_monitor(module: ModuleType, tree: PhaseTree) -> Any:
    """An ``IProgressMonitor`` of this TensorRT that reports to ``tree``. Keep it until the build is over."""

    class Monitor(module.IProgressMonitor):  # type: ignore[misc, name-defined]  # known when TensorRT is imported
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            tree.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return tree.complete(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            tree.finish(phase_name)

    return Monitor()
