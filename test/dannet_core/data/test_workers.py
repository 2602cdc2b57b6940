"""Decoding processes that die, hang, fail or are told to stop."""

import faulthandler
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from dannet_core.data import workers
from dannet_core.data.workers import Workers
from dannet_core.errors import DataSetError, WorkerError

BATCHES = [[i, i + 1] for i in range(8)]


def decode(indices, on_sample):
    for _ in indices:
        on_sample()
    return {"of": list(indices)}, [np.full((2, 3), indices[0], np.uint8), np.arange(indices[1], dtype=np.int64)]


def run(function, count=2, batches=BATCHES):
    with Workers(function, count) as pool:
        return list(pool.results(iter(batches)))


@pytest.mark.parametrize("count", [1, 3, 9])
def test_batches_come_back_in_order_and_may_be_written_to(count):
    results = run(decode, count)
    assert [plain["of"] for plain, _ in results] == BATCHES
    for (first, second), (_, arrays) in zip(BATCHES, results, strict=True):
        assert arrays[0].tolist() == [[first] * 3] * 2
        assert arrays[1].tolist() == list(range(second))
        arrays[0] += 1


def in_dev_shm(pid):
    """Files of /dev/shm that a process has mapped; other tests' DDS has some."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split()[-1] for line in lines if "/dev/shm/" in line}  # noqa: S108


def test_nothing_goes_through_dev_shm():
    before = in_dev_shm(os.getpid())
    with Workers(decode, 2) as pool:
        (_, arrays) = next(pool.results(iter(BATCHES)))
        for pid in (os.getpid(), *(worker.pid for worker in pool._workers)):
            assert in_dev_shm(pid) <= before
    assert "dannet batch" in Path("/proc/self/maps").read_text()
    assert arrays[0][0, 0] == 0


def failing(error):
    def function(indices, on_sample):
        if indices[0] == 3:
            raise error
        return decode(indices, on_sample)

    return function


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DataSetError("x.png: damaged label file: copy it again"), "x.png: damaged label file: copy it again"),
        (ValueError("two\nlines"), "ValueError: two"),
        (MemoryError(), "MemoryError: MemoryError"),
        (OSError(28, "No space left on device"), "OSError: .*No space left on device"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_said_in_one_line(error, said):
    with pytest.raises(WorkerError, match=f"^{said}$") as caught:
        run(failing(error))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
def test_a_worker_that_is_killed_is_named_at_once_with_what_killed_it(number):
    def function(indices, on_sample):
        if indices[0] == 3:
            faulthandler.disable()
            os.kill(os.getpid(), number)
        return decode(indices, on_sample)

    start = time.monotonic()
    with pytest.raises(WorkerError) as caught:
        run(function)
    assert time.monotonic() - start < 30
    assert f"was killed by {number.name}" in str(caught.value)
    assert "set fewer data.workers" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_worker_that_dies_while_this_one_is_waited_for_is_named():
    def function(indices, on_sample):
        if indices[0] == 1:
            os._exit(7)
        while indices[0] == 0:
            on_sample()
            time.sleep(0.05)
        return decode(indices, on_sample)

    with pytest.raises(WorkerError, match=r"data worker 2 of 2 .* ended with exit code 7"):
        run(function)


def test_a_worker_that_hangs_is_named_and_ended(monkeypatch):
    monkeypatch.setattr(workers, "HANG_S", 1.0)

    def function(indices, on_sample):
        if indices[0] == 2:
            time.sleep(3600)
        return decode(indices, on_sample)

    with pytest.raises(WorkerError, match=r"data worker 1 of 2 \(process \d+\) has decoded nothing for 1 s") as caught:
        run(function)
    assert "data.workers to 0" in str(caught.value)


def test_a_slow_batch_whose_samples_come_is_no_hang(monkeypatch):
    monkeypatch.setattr(workers, "HANG_S", 1.5)

    def function(indices, on_sample):
        for _ in range(4):
            time.sleep(0.7)
            on_sample()
        return decode(indices, on_sample)

    assert len(run(function, 2, BATCHES[:2])) == 2


def test_no_worker_outlives_the_block_whether_it_hangs_or_waits():
    def function(indices, on_sample):
        if indices[0] == 1:
            time.sleep(3600)
        return decode(indices, on_sample)

    with Workers(function, 4) as pool:
        pids = [worker.pid for worker in pool._workers]
        next(pool.results(iter(BATCHES)))
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


ORPHANS = """
import os, sys, time
from dannet_core.data import workers
workers._END_S = 0.5
with workers.Workers(lambda indices, beat: (0, []), 2) as pool:
    print(*(worker.pid for worker in pool._workers), flush=True)
    time.sleep(3600)
"""


def test_workers_of_a_process_that_is_killed_end_by_themselves():
    process = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True)
    pids = process.stdout.readline().split()
    process.kill()
    process.wait(timeout=60)
    process.stdout.close()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_processes_that_cannot_be_started_are_an_error_that_names_the_setting(monkeypatch):
    def no_fork():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_fork)
    with pytest.raises(WorkerError, match=r"data.workers: cannot start worker 1 of 3: Resource temporarily"):
        run(decode, 3)
