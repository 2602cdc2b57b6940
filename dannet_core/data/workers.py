"""Decoding processes. What they make comes back through memory of its own, not through /dev/shm, which is small in a
container; one that dies or hangs is noticed and named.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import select
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Final, NoReturn

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.errors import DannetError, WorkerError, first_line

Array = npt.NDArray[Any]
Decode = Callable[[Sequence[int], Callable[[], None]], tuple[Any, list[Array]]]
"""Sample numbers, and what to call after each, to plain data for JSON and contiguous arrays."""

AHEAD: Final = 2
"""Batches each worker is asked for before they are needed."""
HANG_S: Final = 40.0
"""A worker that finishes no sample for so long hangs."""
_POLL_S: Final = 0.5
_END_S: Final = 5.0
_MAX_MESSAGE: Final = 131_072
_MAX_TEXT: Final = 2000
_ALIGN: Final = 64
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LIKELY: Final = MappingProxyType(
    {
        signal.SIGKILL: ", as happens when the machine's or the container's memory runs out",
        signal.SIGBUS: ", as happens when memory, a disk or a mapped file is gone",
    }
)


@dataclass
class _Worker:
    pid: int
    channel: socket.socket
    number: int


class Workers:
    """Processes that decode batches; a context, so that none outlives it.

    Args:
        decode: runs in the workers, which are copies of this process.
        count: how many; at least one.
    """

    def __init__(self, decode: Decode, count: int) -> None:
        self._decode = decode
        self._count = count
        self._workers: list[_Worker] = []
        # Shared with the workers, who count their samples here; anonymous, hence not in /dev/shm either.
        self._beats = np.frombuffer(mmap.mmap(-1, 8 * count), np.uint64)

    def __enter__(self) -> Workers:
        try:
            for number in range(self._count):
                self._start(number)
        except BaseException as error:
            self._end()
            if not isinstance(error, OSError):
                raise
            raise WorkerError(
                f"data.workers: cannot start worker {number + 1} of {self._count}: {error.strerror}: use fewer"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def results(self, batches: Iterator[list[int]]) -> Iterator[tuple[Any, list[Array]]]:
        """What ``decode`` made of every batch, in order.

        Raises:
            WorkerError: a worker failed, died or hangs; one line with the reason.
        """
        turns: deque[_Worker] = deque()
        for turn in range(AHEAD * self._count):
            self._ask(self._workers[turn % self._count], batches, turns)
        while turns:
            worker = turns.popleft()
            yield self._receive(worker)
            self._ask(worker, batches, turns)

    def _ask(self, worker: _Worker, batches: Iterator[list[int]], turns: deque[_Worker]) -> None:
        batch = next(batches, None)
        if batch is not None:
            with contextlib.suppress(OSError):  # a dead worker is named when its answer is waited for
                worker.channel.send(struct.pack(f"={len(batch)}q", *batch))
            turns.append(worker)

    def _receive(self, worker: _Worker) -> tuple[Any, list[Array]]:
        message, descriptors = self._message(worker)
        content = json.loads(message)
        if not descriptors:
            raise WorkerError(content["error"])
        try:
            memory = mmap.mmap(descriptors[0], content["size"], mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))
        except OSError as error:
            raise WorkerError(f"cannot map a batch of {content['size']} bytes: {error.strerror}") from error
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        start, end = content["described"]
        plain, arrays = json.loads(memory[start:end])
        return plain, [
            np.frombuffer(memory, np.dtype(kind), math.prod(shape), at).reshape(shape) for kind, shape, at in arrays
        ]

    def _message(self, worker: _Worker) -> tuple[bytes, list[int]]:
        """Wait for a worker's answer, as long as all of them live and this one gets on."""
        poll = select.poll()
        for one in self._workers:
            # Of the others only their end is of interest now.
            poll.register(one.channel, select.POLLIN if one is worker else 0)
        idle_s, beat = 0.0, int(self._beats[worker.number])
        while True:
            # Waited for in small parts, so that a process that was stopped and goes on accuses nobody.
            events = dict(poll.poll(_POLL_S * 1000))
            if events.get(worker.channel.fileno(), 0) & select.POLLIN:
                message, descriptors = _received(worker.channel)
                if not message:
                    self._raise_dead(worker)
                return message, descriptors
            for one in self._workers:
                if events.get(one.channel.fileno(), 0) & (select.POLLHUP | select.POLLERR):
                    self._raise_dead(one)
            idle_s = idle_s + _POLL_S if beat == int(self._beats[worker.number]) else 0.0
            beat = int(self._beats[worker.number])
            if idle_s >= HANG_S:
                raise WorkerError(
                    f"data worker {worker.number + 1} of {self._count} (process {worker.pid}) has decoded nothing for "
                    f"{idle_s:.0f} s: look at the disk the data is on, or set data.workers to 0 to see where it hangs"
                )

    def _raise_dead(self, worker: _Worker) -> NoReturn:
        code = _exit_code(worker.pid)
        how = f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}{_LIKELY.get(signal.Signals(-code), '')}"
        raise WorkerError(
            f"data worker {worker.number + 1} of {self._count} (process {worker.pid}) {how}: set fewer data.workers "
            f"(0 = decode in the training process), or give it more memory"
        )

    def _start(self, number: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # A signal between the fork and the worker's own handlers would run this process's handlers in the worker.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            parent, pid = os.getpid(), os.fork()
            if pid == 0:
                for one in (ours, *(worker.channel for worker in self._workers)):
                    one.close()
                _be_worker(theirs, parent, self._decode, self._beats[number : number + 1])
        except BaseException:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            theirs.close()
        self._workers.append(_Worker(pid, ours, number))

    def _end(self) -> None:
        """Kill them: they hold nothing that could be lost, and one that hangs would not listen to anything else."""
        for worker in self._workers:
            worker.channel.close()
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
        for worker in self._workers:
            _exit_code(worker.pid)
        self._workers.clear()


def _received(channel: socket.socket) -> tuple[bytes, list[int]]:
    """A message and its file descriptors; nothing once the other side has died."""
    try:
        message, descriptors, _, _ = socket.recv_fds(channel, _MAX_MESSAGE, 1)
    except ConnectionError:  # it died with requests that it had not read
        return b"", []
    return message, descriptors


def _exit_code(pid: int) -> int | None:
    """Collect a child that is ending; minus the signal that killed it, None if it does not end."""
    for _ in range(int(_END_S / 0.01)):
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return None
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def _be_worker(channel: socket.socket, parent: int, decode: Decode, beat: Array) -> NoReturn:
    """Answer requests until there are no more; never returns into the copied program."""
    code = 1
    try:
        # Ctrl-C, a scheduler's SIGTERM and the end of a terminal reach every process of the group; the parent saves,
        # then ends its workers.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        import torch

        # Threads of the parent are not copied, and waiting for them would last for ever.
        torch.set_num_threads(1)
        cv2.setNumThreads(0)
        _answer(channel, parent, decode, beat)
        code = 0
    except OSError:  # the parent is gone
        pass
    finally:
        os._exit(code)


def _answer(channel: socket.socket, parent: int, decode: Decode, beat: Array) -> None:
    def on_sample() -> None:
        beat[0] += 1

    channel.settimeout(_END_S)
    while True:
        try:
            request = channel.recv(_MAX_MESSAGE)
        except TimeoutError:
            if os.getppid() != parent:
                return
            continue
        if not request:
            return
        try:
            message, descriptors = _packed(*decode(struct.unpack(f"={len(request) // 8}q", request), on_sample))
        except Exception as error:  # noqa: BLE001  whatever it is, the parent has to hear of it
            message, descriptors = json.dumps({"error": failure(error)}).encode(), []
        channel.settimeout(None)
        socket.send_fds(channel, [message], descriptors)
        channel.settimeout(_END_S)
        for descriptor in descriptors:
            os.close(descriptor)


def _packed(plain: Any, arrays: Sequence[Array]) -> tuple[bytes, list[int]]:
    """Arrays in a file that lives in memory and has no name, their description behind them, and where that is."""
    described, at = [], 0
    descriptor = os.memfd_create("dannet batch")
    try:
        for array in arrays:
            at = -(-at // _ALIGN) * _ALIGN
            described.append((array.dtype.str, array.shape, at))
            at = _write(descriptor, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, at)
        end = _write(descriptor, memoryview(json.dumps((plain, described)).encode()), at)
    except BaseException:
        os.close(descriptor)
        raise
    return json.dumps({"described": (at, end), "size": end}).encode(), [descriptor]


def _write(descriptor: int, data: memoryview, at: int) -> int:
    """Write all of it, and say where it ends."""
    while data:
        written = os.pwrite(descriptor, data, at)
        at, data = at + written, data[written:]
    return at


def failure(error: Exception) -> str:
    """What went wrong while decoding, in one line."""
    text = str(error) if isinstance(error, DannetError) else f"{type(error).__name__}: {first_line(error)}"
    return text[:_MAX_TEXT]
