"""What a run shows while it goes on: progress bar, `metrics.jsonl`, TensorBoard."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm


class Watch:
    """Writes scalars and pictures of the first process; the others get a `NullWatch`.

    Args:
        run_dir: gets ``metrics.jsonl`` and ``tensorboard/``.
        steps: (first, end) of the run, for the bar and its ETA.
        batch_size: samples a step, for images a second.
        tensorboard: write TensorBoard files, where the package is installed.
    """

    def __init__(self, run_dir: Path, steps: tuple[int, int], batch_size: int, tensorboard: bool) -> None:
        self._file = (run_dir / "metrics.jsonl").open("a", encoding="utf-8")
        self._bar = tqdm(total=steps[1], initial=steps[0], unit="step", dynamic_ncols=True)
        self._batch_size = batch_size
        self._last = (time.perf_counter(), steps[0])
        self._board: Any = _summary_writer(run_dir) if tensorboard else None

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
        """Write scalars to the log and to TensorBoard."""
        line = {"step": step, **{name: round(value, 6) for name, value in values.items()}}
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
        """Print a line above the bar."""
        tqdm.write(text)

    def close(self) -> None:
        """Flush and close everything."""
        self._bar.close()
        self._file.close()
        if self._board is not None:
            self._board.close()


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


def _summary_writer(run_dir: Path) -> Any | None:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run_dir / "tensorboard"))
