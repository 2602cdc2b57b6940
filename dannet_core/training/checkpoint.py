"""Checkpoints: all state of a run, written whole, read without unpickling code."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Final, cast

import torch

from dannet_core.atomic_files import whole_file
from dannet_core.errors import ModelFileError, OutputError, first_line

FORMAT_VERSION: Final = 1
_NAME: Final = re.compile(r"step_(\d{8})\.pt")


class Checkpoints:
    """The checkpoints of one run folder, ``checkpoints/step_00001000.pt`` and so on.

    Args:
        folder: made when the first one is saved.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write ``state`` (tensors, numbers, strings, and lists and dicts of them) and remove the oldest.

        Whatever happens while it is written, the checkpoints before it stay as they are.

        Raises:
            OutputError: the folder cannot be written to or the disk is full.
        """
        path = self._folder / f"step_{step:08d}.pt"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as partial:
                torch.save({"format_version": FORMAT_VERSION, "step": step, **state}, partial)
        except RuntimeError as error:  # how torch reports a full disk, without saying so
            free_mb = shutil.disk_usage(self._folder).free / 1e6
            raise OutputError(f"{path}: cannot write, with {free_mb:.1f} MB free: {first_line(error)}") from error
        for old in self.paths()[: -self._keep]:
            old.unlink(missing_ok=True)
        return path

    def paths(self) -> list[Path]:
        """Checkpoint files, oldest first."""
        return sorted(path for path in self._folder.glob("step_*.pt") if _NAME.fullmatch(path.name))

    def newest(self) -> Path | None:
        """The newest checkpoint file; None when there is none."""
        return next(iter(self.paths()[::-1]), None)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        ModelFileError: missing, damaged, of another version, or holding anything but plain data.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: no such checkpoint") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelFileError(f"{path}: not a readable checkpoint ({reason}): resume from an older one") from error
    version = state.get("format_version") if isinstance(state, dict) else None
    if version != FORMAT_VERSION:
        raise ModelFileError(f"{path}: got checkpoint version {version!r}, expected {FORMAT_VERSION}")
    return cast("dict[str, Any]", state)
