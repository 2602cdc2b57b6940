"""`dannet` verbs as processes of `bench/reproduction.py`: trainings go on where they were stopped, and all end in time."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "config" / "train"


class OutOfTime(Exception):
    """The budget is used up; what was done is on disk."""


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        key: folder name.
        title: as the page shows it.
        paper: the paper's mIoU on Dark Zurich-val, percent (Tables 1 and 4); None where it has no such row.
        ablation: file under config/train/ablations, without suffix.
        arguments: further ones for `dannet train`.
        pretrained: starts from the source-only model.
        labelled: is given the labelled source pictures.
        evaluate: further arguments for `dannet evaluate`.
        model_of: evaluates this row's model instead of training one.
    """

    key: str
    title: str
    paper: float | None = None
    ablation: str | None = None
    arguments: tuple[str, ...] = ()
    pretrained: bool = True
    labelled: bool = True
    evaluate: tuple[str, ...] = ()
    model_of: str | None = None

    def adaptation(self) -> list[str]:
        """What this row gives `dannet train` after its configuration."""
        ablation = ["--config", str(CONFIGS / "ablations" / f"{self.ablation}.yaml")] if self.ablation else []
        return [*ablation, *self.arguments]


class Runs:
    """Starts verbs one after the other in the calling thread; several threads may share it.

    Args:
        train_arguments: for every training, after those of the row.
        threads: CPU threads a process.
        budget_s: seconds from now after which nothing is started, and what runs is stopped; None = no end.
    """

    def __init__(self, train_arguments: Sequence[str], threads: int, budget_s: float | None = None) -> None:
        self.train_arguments = list(train_arguments)
        self._environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
        self._end_s = None if budget_s is None else time.monotonic() + budget_s
        self._failed = threading.Event()

    def train(self, verb: str, folder: Path, *arguments: object) -> float:
        """`dannet train` or `pretrain` into ``folder``, unless it is finished; returns the seconds that it took.

        Raises:
            OutOfTime: before or while it ran; the next call goes on from its last checkpoint.
            RuntimeError: it failed; the message has the verb's own line.
        """
        finished = folder / "seconds"
        if not finished.is_file():
            resume = ("--resume",) if any(folder.glob("checkpoints/*.pt")) else ()
            start_s = time.perf_counter()
            self.dannet(verb, *arguments, *self.train_arguments, "--run_dir", folder, *resume)
            finished.write_text(f"{time.perf_counter() - start_s:.0f}\n", encoding="utf-8")
        return float(finished.read_text(encoding="utf-8"))

    def evaluate(self, model: Path, data_set: str, root: Path, out: Path, *arguments: object) -> dict[str, Any]:
        """Metrics of a model on a validation set, from ``out`` where it was evaluated before."""
        if not (out / "metrics.json").is_file():
            where = ("--dataset", data_set, "--root", root, "--out", out)
            self.dannet("evaluate", "--model", model, *where, "--worst", 0, "--threads", 1, *arguments)
        return dict(json.loads((out / "metrics.json").read_text(encoding="utf-8")))

    def dannet(self, verb: str, *arguments: object) -> None:
        """Run a verb to its end.

        Raises:
            OutOfTime: likewise.
            RuntimeError: it failed.
        """
        if self._failed.is_set():
            raise OutOfTime
        command = [sys.executable, "-m", "dannet_core", verb, *map(str, arguments)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self._environment, cwd=ROOT
        ) as process:
            try:
                _, errors = process.communicate(timeout=self._left_s())
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)  # a training saves its state
                process.communicate()
                raise OutOfTime from None
        if process.returncode != 0:
            self._failed.set()  # jobs that wait would only hide the message
            last = (errors.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"{' '.join(command[2:])}\n  {last}")

    def _left_s(self) -> float | None:
        if self._end_s is None:
            return None
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise OutOfTime
        return left_s


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=False, capture_output=True, text=True, cwd=ROOT)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "gpu": gpu,
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
    }
