"""Files below a folder: links are followed, each real folder once, and what cannot be followed is named."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

from dannet_core.errors import DataSetError

OnProblem = Callable[[str], None]


def files_below(folder: str | Path, on_problem: OnProblem | None = None) -> list[Path]:
    """Every file below a folder, to any depth, in the order of their paths.

    Linked files and folders count like real ones. A folder that is reached in several ways is read once, by the path
    without links where there is one; a link to a folder that the walk came through (a loop) is left alone.

    Args:
        folder: where to start.
        on_problem: is told, in one line, each link that leads nowhere and each folder that cannot be read; None = the
            first is an error.

    Raises:
        DataSetError: such a link or folder, without ``on_problem``.
    """
    walk = _Walk(on_problem or _raise)
    walk.start(Path(folder))
    return sorted(walk.files)


class _Walk:
    def __init__(self, on_problem: OnProblem) -> None:
        self.files: list[Path] = []
        self._on_problem = on_problem
        self._seen: set[tuple[int, int]] = set()
        self._links: deque[Path] = deque()

    def start(self, folder: Path) -> None:
        """Real folders first, links to folders afterwards."""
        for parent in folder.resolve().parents:
            self._enter(parent)
        self._read(folder)
        while self._links:
            self._read(self._links.popleft())

    def _enter(self, folder: Path) -> bool:
        """Whether the folder is met for the first time."""
        stat = folder.stat()
        identity = (stat.st_dev, stat.st_ino)
        new = identity not in self._seen
        self._seen.add(identity)
        return new

    def _read(self, folder: Path) -> None:
        pending = [folder]
        while pending:
            folder = pending.pop()
            try:
                if not self._enter(folder):
                    continue
                with os.scandir(folder) as entries:
                    for entry in sorted(entries, key=lambda one: one.name):
                        self._take(entry, pending)
            except OSError as error:
                self._on_problem(f"{folder}: cannot read: {error.strerror}")

    def _take(self, entry: os.DirEntry[str], pending: list[Path]) -> None:
        path = Path(entry.path)
        try:
            if entry.is_dir():
                (self._links if entry.is_symlink() else pending).append(path)
            elif entry.is_file():
                self.files.append(path)
            elif entry.is_symlink() and not path.exists():
                self._on_problem(f"{path}: broken link to {path.readlink()}")
        except OSError as error:  # a link to itself, or one that leads where nobody may look
            self._on_problem(f"{path}: cannot follow: {error.strerror}")


def _raise(problem: str) -> None:
    raise DataSetError(problem)
