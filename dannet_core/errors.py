"""Errors a caller can act on: one line that says what, got, expected, and the fix."""

from __future__ import annotations

import importlib
from types import ModuleType


class DannetError(Exception):
    """Base of every error this package raises on purpose. Command line tools print it and exit with 2."""


class SettingsError(DannetError):
    """A configuration key, value or file is wrong."""


class ImageError(DannetError):
    """Pixels have the wrong shape, type or encoding, or an image file cannot be read."""


class DataSetError(DannetError):
    """A data set's folder, files, pairs or label values are wrong."""


class ModelFileError(DannetError):
    """A model file is missing, damaged, hostile, or does not fit the network asked for."""


class TrainingError(DannetError):
    """Training cannot go on, e.g. because a loss is not finite."""


class WorkerError(TrainingError):
    """The data does not come: a sample cannot be decoded, or a worker died or hangs."""


class OutputError(DannetError):
    """A file or folder cannot be written."""


class BackendError(DannetError):
    """An inference backend cannot be started or failed while running."""


class NotFiniteError(BackendError):
    """The network gave NaN or infinity for a picture: there is no label to be had, for this picture or for any."""


class EngineError(BackendError):
    """The GPU or its runtime failed; the message says what to do.

    Attributes:
        fatal: nothing on this GPU will work in this process any more.
    """

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


class MissingPackageError(DannetError):
    """An optional package is needed for what was asked and is not installed."""


def first_line(error: BaseException) -> str:
    """What an exception says, in one line of at most 300 characters; its type's name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def require(module: str, needed_for: str, install: str) -> ModuleType:
    """Import an optional package, or say in one line what brings it.

    Args:
        module: the module to import, e.g. ``"onnxruntime"``.
        needed_for: what the caller wanted, completing "X is needed to ...".
        install: the command that installs it, e.g. ``"pip install onnxruntime"``.

    Raises:
        MissingPackageError: the module, or something it imports, is not there.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        detail = "" if getattr(error, "name", None) == module.split(".", maxsplit=1)[0] else f" ({error})"
        raise MissingPackageError(
            f"{module} is needed to {needed_for} but cannot be imported{detail}: {install}"
        ) from error
