"""Processes that work: one dies alone, one is used again, each has its share of the cores."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dannet_ros.replay.fleet.processes import Processes
from dannet_ros.replay.fleet.workers import Died

CALLS = """
import os, time
from types import SimpleNamespace

def process(_): return os.getpid()
def die(_): os._exit(7)
def fail(_): return SimpleNamespace(problem="something is wrong")
def sleep(seconds): time.sleep(seconds)
def threads(_): return {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that the processes can import too, as they have this one's path."""
    (tmp_path / "calls_of_workers.py").write_text(CALLS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import calls_of_workers

    yield calls_of_workers
    del sys.modules["calls_of_workers"]


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    made = Processes(2, 3)
    yield made
    made.stop()


def results(workers: Processes, count: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = {}
    deadline = time.monotonic() + 120
    while len(found) < count and time.monotonic() < deadline:
        found |= workers.wait(0.5)
    return found


def test_a_process_is_used_again_but_not_after_a_problem(workers: Processes, calls: Any) -> None:
    workers.start("a", calls.process, None)
    first = results(workers)["a"]
    assert first != os.getpid()
    workers.start("b", calls.process, None)
    assert results(workers) == {"b": first}
    workers.start("c", calls.fail, None)
    assert results(workers)["c"].problem == "something is wrong"
    workers.start("d", calls.process, None)
    assert results(workers)["d"] != first


def test_who_dies_is_told_and_the_other_goes_on(workers: Processes, calls: Any) -> None:
    workers.start("lives", calls.sleep, 0.1)
    workers.start("dies", calls.die, None)
    assert results(workers, 2) == {"lives": None, "dies": Died("ended with exit code 7")}


def test_an_idle_process_that_was_killed_is_replaced(workers: Processes, calls: Any) -> None:
    workers.start("a", calls.process, None)
    first = results(workers)["a"]
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while workers._idle[0].process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    workers.start("b", calls.process, None)
    assert results(workers)["b"] not in (first, None)


def test_each_has_its_share_of_threads_and_what_was_set_stays(
    workers: Processes, calls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    workers.start("a", calls.threads, None)
    found = results(workers)["a"]
    assert (found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"]) == ("3", "1")


def test_stop_ends_what_runs_and_what_waits(calls: Any) -> None:
    workers = Processes(2, 1)
    workers.start("idle", calls.process, None)
    idle = results(workers)["idle"]
    workers.start("busy", calls.sleep, 600)
    processes = [worker.process for _, worker in workers._running.values()]
    begin = time.monotonic()
    workers.stop()
    workers.stop()
    assert time.monotonic() - begin < 15
    assert all(process.returncode is not None for process in processes)
    with pytest.raises(ProcessLookupError):
        os.kill(idle, 0)
