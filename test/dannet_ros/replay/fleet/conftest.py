"""Fleets of small bags, a process that evaluates them, and what is to be the same in two summaries."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
_PARTIAL = re.compile(r"\.(.+)\.(\d+)\.partial")


def arguments(bags: Sequence[Path], model: Path, out: Path, *more: str) -> list[str]:
    return ["evaluate_bag", *map(str, bags), "--model", str(model), "--out", str(out), *more]


def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "metrics.json").read_text())


def timeless(out: Path) -> dict[str, Any]:
    return {key: value for key, value in summary(out).items() if key != "timing"}


def results(out: Path) -> dict[str, Any]:
    """Every bag's own JSON by name, without its times."""
    return {folder.name: timeless(folder) for folder in sorted((out / "bags").iterdir())}


def half_done(out: Path) -> list[tuple[str, int]]:
    """Bags in work: their names, and the processes that work on them."""
    found = [_PARTIAL.fullmatch(path.name) for path in (out / "bags").glob(".*.partial")]
    return [(one.group(1), int(one.group(2))) for one in found if one]


@contextmanager
def started(command: Sequence[str], python: str = sys.executable, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """The program in a process of its own, which does not outlive the block."""
    process = subprocess.Popen(
        [python, "-m", "dannet_ros.replay", *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, **more,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def kill_worker(process: subprocess.Popen[str], out: Path, name: str, before: Collection[int] = ()) -> int:
    """Kill -9 the process that works on the bag ``name`` once it has written something; gives its id.

    Those that were killed ``before`` may not have been noticed yet.
    """
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        for found, pid in half_done(out):
            files = (out / "bags").glob(f".{found}.{pid}.partial/**/*.mcap")
            if found == name and pid not in before and any(map(_begun, files)):
                os.kill(pid, signal.SIGKILL)
                return pid
        time.sleep(0.005)
    raise AssertionError(f"the bag {name} was done before its worker could be killed: {process.poll()}")


def _begun(file: Path) -> bool:
    try:
        return file.stat().st_size > 20_000
    except OSError:
        return False


def ended(pid: int, timeout_s: float = 30) -> bool:
    """Whether a process is gone, or nothing but an entry that nobody has read yet."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


class Inline:
    """Workers that are none: each call is done at once, for tests of what does not depend on who does it."""

    count, about = 1, "here"

    def __init__(self) -> None:
        self._done: list[tuple[str, Any]] = []

    def start(self, key: str, function: Callable[[Any], Any], argument: Any) -> None:
        self._done.append((key, function(argument)))

    def wait(self, _: float) -> list[tuple[str, Any]]:
        done, self._done = self._done, []
        return done

    def stop(self) -> None:
        self._done = []


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without processes, which take a second each to start."""
    monkeypatch.setattr("dannet_ros.replay.fleet.fleet._open_workers", lambda *_: Inline())


@pytest.fixture
def fleets(bags: SimpleNamespace) -> SimpleNamespace:
    """What runs fleets, for test modules, which cannot import this file."""

    def write(folder: Path, lengths: Sequence[int], truth: bool = True) -> Path:
        for number, length in enumerate(lengths):
            truths = bags.labels(length, seed=100 + number) if truth else ()
            bags.write(folder / f"drive_{number:02d}", bags.frames(length, seed=number), truths)
        return folder

    return SimpleNamespace(
        write=write,
        arguments=arguments,
        summary=summary,
        timeless=timeless,
        results=results,
        half_done=half_done,
        started=started,
        kill_worker=kill_worker,
        ended=ended,
    )
