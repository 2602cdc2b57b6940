"""Workers of this machine: processes that each do one call after the other, and die alone."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, Final, NamedTuple

from dannet_ros.replay.fleet.workers import Died

_WORKER: Final = (
    "import sys; fd, parent, *sys.path = sys.argv[1:]; from dannet_ros.replay.fleet.worker_process import run; "
    "run(int(fd), int(parent))"
)
"""The path is no environment variable: there, a script's folder would come before Python's own modules."""
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_PATIENCE_S: Final = 20.0
"""How long a worker that is told to stop may take for its frame in work."""


class _Worker(NamedTuple):
    connection: Connection
    process: subprocess.Popen[bytes]


class Processes:
    """See `Workers`. The processes are started anew, none is forked, and hear of Ctrl-C from here alone."""

    def __init__(self, count: int, threads: int) -> None:
        """Start nothing yet.

        Args:
            count: processes at a time.
            threads: CPU threads that each may use; 0 = all.
        """
        self.count, self.about = count, f"{count} at a time, {threads or 'all'} threads each"
        self._threads = threads
        self._running: dict[Connection, tuple[str, _Worker]] = {}
        self._idle: list[_Worker] = []

    def start(self, key: str, function: Callable[[Any], Any], argument: Any) -> None:
        """See `Workers.start`."""
        worker = next((one for one in self._idle if one.process.poll() is None), None) or self._new()
        self._idle = [one for one in self._idle if one is not worker]
        self._running[worker.connection] = key, worker
        with contextlib.suppress(OSError):  # it has died: `wait` says so
            worker.connection.send_bytes(pickle.dumps((function, argument)))

    def wait(self, timeout_s: float) -> list[tuple[str, Any]]:
        """See `Workers.wait`."""
        ready = wait(list(self._running), timeout_s) if self._running else []
        return [self._end(connection) for connection in ready if isinstance(connection, Connection)]

    def stop(self) -> None:
        """See `Workers.stop`."""
        workers = [*self._idle, *(worker for _, worker in self._running.values())]
        self._idle, self._running = [], {}
        for worker in workers:
            worker.process.send_signal(signal.SIGTERM)
            worker.connection.close()
        until = time.monotonic() + _PATIENCE_S
        for worker in workers:
            _reap(worker.process, until - time.monotonic())

    def _new(self) -> _Worker:
        here, there = socket.socketpair()
        environment = dict(os.environ)
        for name in _THREADS if self._threads else ():
            environment.setdefault(name, str(self._threads))
        with there:
            process = subprocess.Popen(
                [sys.executable, "-c", _WORKER, str(there.fileno()), str(os.getpid()), *sys.path],
                pass_fds=[there.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return _Worker(Connection(here.detach()), process)

    def _end(self, connection: Connection) -> tuple[str, Any]:
        key, worker = self._running.pop(connection)
        try:
            result = connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            connection.close()
            return key, Died(_words(_reap(worker.process, _PATIENCE_S)))
        if getattr(result, "problem", ""):
            # Whatever went wrong, a GPU or memory for one: the next call gets a process that knows nothing of it.
            connection.close()
            _reap(worker.process, _PATIENCE_S)
        else:
            self._idle.append(worker)
        return key, result


def _reap(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    try:
        return process.wait(max(timeout_s, 0.0))
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _words(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
