"""The demo's child processes: started with the tree's own code on a private DDS domain, and always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dannet_core.errors import DannetError

ROOT = Path(__file__).resolve().parents[1]
STOP_S = 10.0


class DemoError(DannetError):
    """The demo did not show what it is there to show."""


def use_private_dds(domain: int) -> None:
    """Set up this process's environment, which its children inherit: large images, this machine only."""
    os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(ROOT / "config" / "fastdds.xml")
    os.environ["RMW_IMPLEMENTATION"] = "rmw_fastrtps_cpp"
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


def run_module(module: str, arguments: Sequence[str]) -> str:
    """Run ``python -m module`` to its end; returns what it printed.

    Raises:
        DemoError: it failed; its own last line is the reason.
    """
    with _started(module, arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        output, errors = process.communicate()
    if process.returncode != 0:
        reason = errors.strip().splitlines()[-1] if errors.strip() else f"exit code {process.returncode}"
        raise DemoError(reason)
    return output.strip()


@contextmanager
def background(module: str, arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run ``python -m module`` beside the block, its output in ``log``; it is ended when the block ends, however."""
    with log.open("w") as file, _started(module, arguments, stdout=file, stderr=subprocess.STDOUT) as process:
        yield process


@contextmanager
def _started(
    module: str, arguments: Sequence[str], stdout: int | object, stderr: int
) -> Iterator[subprocess.Popen[str]]:
    # A session of its own: Ctrl-C then reaches the demo only, which ends its children in order.
    process: subprocess.Popen[str] = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=stdout,  # type: ignore[call-overload]  # a file or PIPE
        stderr=stderr,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Ask with SIGINT, wait, and only then kill."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
