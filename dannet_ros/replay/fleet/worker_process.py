"""What a process of `Processes` runs: calls that come through a socket, until it closes."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any, Final

from dannet_core.terminal import hang_up_once, stop_signals

EXIT_ORPHANED: Final = 3
EXIT_INTERRUPTED: Final = 130
_POLL_S: Final = 0.5


def run(descriptor: int, parent: int) -> None:
    """Take calls, give back what comes of them.

    Args:
        descriptor: of the socket.
        parent: process id of who sends them.
    """
    # From here on all that asks for an end takes the way of Ctrl-C: what is half done is removed.
    for number in stop_signals():
        if number is not signal.SIGINT:
            signal.signal(number, _interrupt)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        with Connection(descriptor) as connection:
            while True:
                function, argument = pickle.loads(connection.recv_bytes())  # noqa: S301  from who started this process
                connection.send(function(argument))
    except (EOFError, ConnectionError):
        return
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _end_with(parent: int) -> None:
    """Nobody waits for the result any more, and who asks for it again would write to the same place."""
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(EXIT_ORPHANED)


def _interrupt(number: int, _: Any) -> None:
    hang_up_once(number)
    raise KeyboardInterrupt
