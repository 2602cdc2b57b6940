"""What a program's terminal may do to it: ask it to stop, hang up, or no longer read what it shows."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TextIO

from dannet_core.errors import OutputError

_NAMES: Final = ("stdout", "stderr")
_GONE: Final = (errno.EPIPE, errno.EIO)


def stop_signals() -> tuple[signal.Signals, ...]:
    """Signals that ask this process to save and end: Ctrl-C, a scheduler's, and that of a terminal that closes.

    The last one is left out where it is ignored, as under nohup: such a process is to go on.
    """
    asked = (signal.SIGINT, signal.SIGTERM)
    return asked if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*asked, signal.SIGHUP)


def give_back(handlers: Mapping[signal.Signals, Any]) -> None:
    """Set handlers as they were; a hangup that was heard stays ignored (`hang_up_once`)."""
    for number, handler in handlers.items():
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def hang_up_once(number: int) -> None:
    """In a handler: ignore further hangups; a terminal that closes and its shell both send one, and mean one."""
    if number == signal.SIGHUP:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def output_may_go_unread() -> Iterator[None]:
    """The streams stdout and stderr take what is written when nobody reads it any more, and lose it.

    A pipe's reader that ends before us (`| tee`, which Ctrl-C ends as well; `| head`) and a closed terminal end what
    is shown, not the work and what it has to save. So does a full disk what goes to stderr: progress and warnings.

    Raises:
        OutputError: stdout, which may be all that a program was asked for, cannot be written for another reason.
    """
    before = sys.stdout, sys.stderr
    ours = tuple(None if stream is None else _Output(stream, name) for stream, name in zip(before, _NAMES, strict=True))
    sys.stdout, sys.stderr = ours
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in ours:
            if stream is not None:
                stream.flush()


class _Output:
    """A text stream, which is turned to the null device once it cannot be written any more."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name

    def write(self, text: str) -> int:
        """Write, or lose the text."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._turn_away(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or lose what was kept back."""
        try:
            self._stream.flush()
        except OSError as error:
            self._turn_away(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _turn_away(self, error: OSError) -> None:
        # Not another stream: this one may hold text back, and the interpreter flushes it at its end.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)
        if self._name == "stdout" and error.errno not in _GONE:
            raise OutputError(f"stdout: cannot write: {error.strerror or error}") from error
