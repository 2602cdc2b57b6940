"""A stage's figures, written after every one of them, and how long things take. The standard library alone."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

SAID_AT_MOST: Final = 600


def write_json(path: Path, value: Any) -> None:
    """Write a file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(value, indent=1, default=str) + "\n")
    partial.replace(path)


class Record:
    """The figures of one stage.

    Attributes:
        values: by name, in the order they came.
        failures: how many attempts failed.
    """

    def __init__(self, path: Path, limit_s: float) -> None:
        self._path = path
        self._limit_s = limit_s
        self._began_s = time.monotonic()
        self.values: dict[str, Any] = {}
        self.failures = 0

    def left_s(self) -> float:
        """What is left of the stage's time."""
        return self._limit_s - (time.monotonic() - self._began_s)

    def add(self, name: str, value: Any) -> None:
        """Keep a figure."""
        self.values[name] = value
        write_json(self._path, self.values)
        print(f"{name}: {json.dumps(value, default=str)}", flush=True)

    def attempt(self, name: str, work: Callable[[], Any], needs_s: float = 0.0) -> Any:
        """Keep what ``work`` gives, or why it failed; None where it did, or where less than ``needs_s`` are left."""
        if self.left_s() < needs_s:
            self.add(name, {"skipped": f"{self.left_s():.0f} s left of {self._limit_s:.0f} s"})
            return None
        try:
            value = work()
        except Exception as error:  # noqa: BLE001 - what does not run here is a result too
            traceback.print_exc()
            self.failures += 1
            self.add(name, {"failed": f"{type(error).__name__}: {error}"[:SAID_AT_MOST]})
            return None
        self.add(name, value)
        return value

    def check(self, name: str, work: Callable[[], dict[str, Any]]) -> Any:
        """As `attempt`, for figures with an ``equal``: where that is false it is a failure too."""
        value = self.attempt(name, work)
        self.failures += int(value is not None and not value["equal"])
        return value

    def exit_code(self) -> int:
        """1 where something failed."""
        return int(self.failures > 0)


def parse_stage(words: list[str] | None = None) -> argparse.Namespace:
    """What `bench/gpu.py` gives every stage."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--limit", type=float, required=True, help="seconds")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--released", type=Path)
    return parser.parse_args(words)


def run(stage: Callable[[Record, argparse.Namespace], None]) -> None:
    """Run a stage's function as a program."""
    arguments = parse_stage()
    record = Record(arguments.record, arguments.limit)
    stage(record, arguments)
    sys.exit(record.exit_code())


def spread(values_ms: list[float]) -> dict[str, float]:
    """Median and spread."""
    ordered = sorted(values_ms)
    ranks = {f"p{p}": ordered[min(len(ordered) - 1, p * len(ordered) // 100)] for p in (50, 90, 99)}
    ends = {"min": ordered[0], "max": ordered[-1]}
    return {name: float(f"{value:.4g}") for name, value in (ranks | ends).items()} | {"n": len(ordered)}


def wall_ms(work: Callable[[], Any], rounds: int, warm_up: int) -> list[float]:
    """Milliseconds of each call."""
    times = []
    for index in range(rounds + warm_up):
        began_s = time.perf_counter()
        work()
        if index >= warm_up:
            times.append((time.perf_counter() - began_s) * 1e3)
    return times


def event_ms(torch: Any, work: Callable[[], Any], rounds: int, warm_up: int = 5) -> dict[str, float]:
    """Milliseconds that the GPU takes for each call, between two events."""
    for _ in range(warm_up):
        work()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(rounds + 1)]
    marks[0].record()
    for mark in marks[1:]:
        work()
        mark.record()
    torch.cuda.synchronize()
    return spread([before.elapsed_time(after) for before, after in itertools.pairwise(marks)])
