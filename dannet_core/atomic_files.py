"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dannet_core.errors import OutputError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a name to write under; when the block ends well the file takes its real name, otherwise it is removed.

    The name lies in the same folder and keeps the suffix, for writers that choose a format by it.

    Raises:
        OutputError: the folder is missing or cannot be written to, or the disk is full.
    """
    target = Path(path)
    partial = target.with_name(f".{target.stem}.{os.getpid()}.partial{target.suffix}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise OutputError(f"{path}: cannot write: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Give a folder to fill; when the block ends well it takes its real name, otherwise it is removed.

    It lies hidden beside ``path``, whose parents are made.

    Raises:
        OutputError: ``path`` is taken, by anything but an empty folder, or cannot be written.
    """
    target = Path(path).absolute()
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    require_new_folder(path)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        partial.replace(target)
    except OSError as error:
        raise OutputError(f"{path}: cannot write: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def replaced_folder(path: str | Path) -> Iterator[Path]:
    """Give a name to make a folder under; when the block ends well it takes the place and name of what was there.

    The name lies alone in a hidden folder beside ``path``, whose parents are made. Whatever else is put into the hidden
    folder goes with it, as does the name's own folder when the block does not end well.

    Raises:
        OutputError: it cannot be written, or nothing was made.
    """
    target = Path(path).absolute()
    hidden = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir(parents=True)
        yield hidden / target.name
        _take_place(hidden / target.name, target, hidden / "replaced")
    except OSError as error:
        raise OutputError(f"{path}: cannot write: {error.strerror or error}") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _take_place(new: Path, target: Path, before: Path) -> None:
    """Rename ``new`` to ``target``, and what is there to ``before``; back again where the former fails."""
    taken = target.exists()
    if taken:
        target.rename(before)
    try:
        new.rename(target)
    except OSError:
        if taken:
            before.rename(target)
        raise


def require_new_folder(path: str | Path) -> None:
    """Refuse a path that is taken.

    Raises:
        OutputError: it is there, and not an empty folder.
    """
    target = Path(path)
    try:
        if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
            raise OutputError(f"{path}: exists and is not an empty folder: name another one")
    except OSError as error:
        raise OutputError(f"{path}: cannot read: {error.strerror or error}") from error


def remove_leftover_folders(path: str | Path) -> None:
    """Remove what processes that were killed inside `replaced_folder` or `whole_folder` of ``path`` left beside it.

    Only for who knows that nobody is writing it.
    """
    target = Path(path)
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)


def remove_leftovers(path: str | Path) -> None:
    """Remove what processes that were killed while writing ``path`` left beside it.

    Only for who knows that nobody is writing it, e.g. by a lock.
    """
    target = Path(path)
    for leftover in target.parent.glob(f".{glob.escape(target.stem)}.*.partial{glob.escape(target.suffix)}"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write ``data`` as a whole file; see `whole_file`."""
    with whole_file(path) as partial:
        partial.write_bytes(data)
    return Path(path)
