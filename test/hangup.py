"""For processes that a test starts: nohup, under which the tests may run themselves, is inherited."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hangups_heard() -> Iterator[None]:
    """To a process that is started inside, the end of a terminal is a signal like others."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
