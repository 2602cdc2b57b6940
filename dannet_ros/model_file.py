"""Whether the model file on disk is still the one that was opened."""

from __future__ import annotations

from pathlib import Path


class ModelFile:
    """Remembers a file as it is now: an opened model goes on whatever happens to it, the next configure does not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = _identity(path)

    def problem(self) -> str:
        """What happened to the file since; empty when nothing did."""
        now = _identity(self._path)
        if now == self._opened:
            return ""
        if now is None:
            return f"the model file is gone: {self._path}: labelling with what was opened, the next configure fails"
        return f"the model file was replaced: {self._path}: labelling with the old one until the next configure"


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
