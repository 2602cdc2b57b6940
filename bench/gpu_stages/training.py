"""A training step at the paper's sizes, in bf16 and fp32, and the released step: `bench/training_step.py`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any, Final

from gpu_stages.here import ROOT
from gpu_stages.record import Record, run

SIZES: Final = ("--source-size", "512", "--target-size", "960", "--batch-size", "2", "--steps", "10", "--rounds", "1")
NEEDS_S: Final = 20.0


def step(record: Record, *words: str) -> dict[str, Any]:
    """The program's own record; it ends with the stage's time."""
    command = [sys.executable, "bench/training_step.py", "--device", "cuda", *SIZES, *words]
    limit_s = max(NEEDS_S, record.left_s())
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s, cwd=ROOT)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["failed without a word"])[-1])
    result: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return result


def training(record: Record, arguments: argparse.Namespace) -> None:
    bf16 = record.attempt("bf16", lambda: step(record, "--precision", "bf16"), NEEDS_S)
    checkout = [] if arguments.released is None else ["--released", str(arguments.released)]
    both = record.attempt("fp32", lambda: step(record, "--precision", "fp32", *checkout), NEEDS_S)
    if bf16 and both and "released" in both:
        released_s, ours_s = both["released"]["median_s"], bf16["ours"]["median_s"]
        record.add("released step over ours in bf16", round(released_s / ours_s, 2))


if __name__ == "__main__":
    run(training)
