from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dannet_core.errors import OutputError
from dannet_core.file_lock import locked

HOLDER = """
import sys
from dannet_core.file_lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_free_lock_is_taken_at_once_and_its_file_goes_with_it(tmp_path):
    waits: list[float] = []
    with locked(tmp_path / "lock", waits.append) as waited:
        assert (tmp_path / "lock").exists()
    assert (waits, waited) == ([], False)
    assert list(tmp_path.iterdir()) == []


def test_the_second_process_waits_and_says_so_until_the_first_is_killed(tmp_path, holder):
    waits: list[float] = []

    def on_wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            os.kill(holder.pid, signal.SIGKILL)

    with locked(tmp_path / "lock", on_wait) as waited:
        assert waited
    assert len(waits) >= 2
    assert waits == sorted(waits)


def test_waiting_can_be_given_up_and_leaves_the_lock_with_its_holder(tmp_path, holder):
    def give_up(seconds: float) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError), locked(tmp_path / "lock", give_up):
        pass
    assert (tmp_path / "lock").exists()
    assert holder.poll() is None


def test_threads_that_take_turns_never_meet(tmp_path):
    inside, met, turns = 0, [], []

    def work() -> None:
        nonlocal inside
        for _ in range(5):
            with locked(tmp_path / "lock"):
                inside += 1
                met.append(inside)
                time.sleep(0.002)
                inside -= 1
                turns.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(met) == {1}
    assert len(turns) == 15


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"absent/lock: cannot lock: No such file"), locked(tmp_path / "absent/lock"):
        pass
