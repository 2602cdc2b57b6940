"""What a run shows while it goes on: progress bar, `metrics.jsonl`, TensorBoard."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from dannet_core.atomic_files import write_whole
from dannet_core.errors import OutputError


class Watch:
    """Writes scalars and pictures of the first process; the others get a `NullWatch`.

    Args:
        run_dir: gets ``metrics.jsonl`` and ``tensorboard/``.
        steps: (first, end) of the run, for the bar and its ETA.
        batch_size: samples a step, for images a second.
        tensorboard: write TensorBoard files, where the package is installed.
    """

    def __init__(self, run_dir: Path, steps: tuple[int, int], batch_size: int, tensorboard: bool) -> None:
        self._path = run_dir / "metrics.jsonl"
        with self._written():
            _take_up(self._path, steps[0])
            self._file = self._path.open("a", encoding="utf-8")
        self._bar = tqdm(total=steps[1], initial=steps[0], unit="step", dynamic_ncols=True)
        self._batch_size = batch_size
        self._last = (time.perf_counter(), steps[0])
        self._board: Any = _summary_writer(run_dir, steps[0]) if tensorboard else None

    def advance(self, step: int) -> None:
        """Move the bar to ``step`` finished steps."""
        self._bar.update(step - self._bar.n)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Log losses and rates after ``step`` finished steps, with images a second since the last time."""
        now_s = time.perf_counter()
        elapsed_s, steps = now_s - self._last[0], step - self._last[1]
        self._last = (now_s, step)
        rate = {"images_per_s": self._batch_size * steps / elapsed_s} if steps > 0 else {}
        self._bar.set_postfix({name: f"{value:.3g}" for name, value in (values | rate).items()}, refresh=False)
        self.record(step, values | rate)

    def record(self, step: int, values: dict[str, float]) -> None:
        """Write scalars to the log and to TensorBoard.

        Raises:
            OutputError: the log cannot be written, such as to a full disk.
        """
        line = {"step": step, **{name: round(value, 6) for name, value in values.items()}}
        with self._written():
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def panel(self, step: int, name: str, picture: npt.NDArray[np.uint8]) -> None:
        """Show an H x W x 3 uint8 RGB picture in TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, picture, step, dataformats="HWC")

    def say(self, text: str) -> None:
        """Print a line above the bar, unless stdout cannot be written: the run is worth more."""
        with contextlib.suppress(OutputError):
            tqdm.write(text)

    def close(self) -> None:
        """Flush and close everything."""
        self._bar.close()
        with contextlib.suppress(OSError):  # what it could not write was an error when it was recorded
            self._file.close()
        if self._board is not None:
            self._board.close()

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self._path}: cannot write: {error.strerror or error}") from error


class NullWatch(Watch):
    """Shows nothing: for the processes that do not write."""

    def __init__(self) -> None:
        pass

    def advance(self, step: int) -> None:
        """Do nothing."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Do nothing."""

    def record(self, step: int, values: dict[str, float]) -> None:
        """Do nothing."""

    def panel(self, step: int, name: str, picture: npt.NDArray[np.uint8]) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def _take_up(path: Path, step: int) -> None:
    """Take out of a log what a run that goes on after ``step`` writes again, and the half line of a killed one."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if _is_until(line, step)]
        if kept != lines:
            write_whole(path, "".join(kept).encode())


def _is_until(line: str, step: int) -> bool:
    try:
        return line.endswith("\n") and int(json.loads(line)["step"]) <= step
    except (ValueError, KeyError, TypeError):
        return False


def _summary_writer(run_dir: Path, step: int) -> Any | None:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run_dir / "tensorboard"), purge_step=step + 1)
