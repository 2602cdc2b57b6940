"""`dannet` verbs as processes of `bench/reproduction.py`: trainings go on where they stopped, and end in time."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class OutOfTimeError(Exception):
    """The budget is used up; what was done is on disk."""


class Runs:
    """Starts verbs one after the other in the calling thread; several threads may share it.

    Args:
        threads: CPU threads a process.
        budget_s: seconds from now after which nothing is started, and what runs is stopped; None = no end.
    """

    def __init__(self, threads: int, budget_s: float | None = None) -> None:
        self._environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
        self._end_s = None if budget_s is None else time.monotonic() + budget_s
        self._failed = threading.Event()

    def train(self, verb: str, folder: Path, *arguments: object) -> None:
        """`dannet train` or `pretrain` into ``folder``, unless it is finished.

        Raises:
            OutOfTimeError: before or while it ran; the next call goes on from its last checkpoint.
            RuntimeError: it failed; the message has the verb's own line.
        """
        finished = folder / "finished"
        if not finished.is_file():
            resume = ("--resume",) if any(folder.glob("checkpoints/*.pt")) else ()
            self.dannet(verb, *arguments, "--run_dir", folder, *resume)
            finished.touch()

    def evaluate(self, model: Path, data_set: str, root: Path, out: Path, *arguments: object) -> dict[str, Any]:
        """Metrics of a model on a validation set, from ``out`` where it was evaluated before."""
        if not (out / "metrics.json").is_file():
            where = ("--dataset", data_set, "--root", root, "--out", out)
            self.dannet("evaluate", "--model", model, *where, "--worst", 0, "--threads", 1, *arguments)
        return dict(json.loads((out / "metrics.json").read_text(encoding="utf-8")))

    def dannet(self, verb: str, *arguments: object) -> None:
        """Run a verb to its end.

        Raises:
            OutOfTimeError: likewise.
            RuntimeError: it failed.
        """
        if self._failed.is_set():
            raise OutOfTimeError
        command = [sys.executable, "-m", "dannet_core", verb, *map(str, arguments)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self._environment, cwd=ROOT
        ) as process:
            try:
                _, errors = process.communicate(timeout=self._left_s())
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)  # a training saves its state
                process.communicate()
                raise OutOfTimeError from None
        if process.returncode != 0:
            self._failed.set()  # jobs that wait would only hide the message
            last = (errors.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"{' '.join(command[2:])}\n  {last}")

    def _left_s(self) -> float | None:
        if self._end_s is None:
            return None
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise OutOfTimeError
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
