"""One process at a time: a lock on a file name that the system releases when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dannet_core.errors import OutputError

POLL_S: Final = 0.2


@contextmanager
def locked(path: str | Path, on_wait: Callable[[float], None] | None = None) -> Iterator[bool]:
    """Hold the lock ``path`` inside the block; the file is there only while somebody holds it.

    Args:
        path: of the lock file; its folder exists.
        on_wait: called with the seconds waited so far, about five times a second, while another process holds it.

    Yields:
        Whether another process held it first.

    Raises:
        OutputError: the folder is missing or cannot be written to.
    """
    target, start, waited = Path(path), time.monotonic(), False
    descriptor = _try(target)
    while descriptor is None:
        waited = True
        if on_wait is not None:
            on_wait(time.monotonic() - start)
        time.sleep(POLL_S)
        descriptor = _try(target)
    try:
        yield waited
    finally:
        # Removed while held: who opened this file in the meantime finds that the name no longer leads to it.
        with contextlib.suppress(OSError):
            target.unlink()
        os.close(descriptor)


def _try(path: Path) -> int | None:
    """Open and lock; None when another process holds the lock, or has just released it with its file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise OutputError(f"{path}: cannot lock: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except BlockingIOError:
        pass
    except FileNotFoundError:
        pass
    except OSError as error:
        os.close(descriptor)
        raise OutputError(f"{path}: cannot lock: {error.strerror}") from error
    os.close(descriptor)
    return None
