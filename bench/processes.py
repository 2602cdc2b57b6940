"""Child processes of a bench, and the machine that it runs on."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """A child process with its CPU and memory."""

    def __init__(self, command: list[str], log: Path, **environment: str) -> None:
        self._log = log.open("w")
        # In a session of its own: a terminal's Ctrl-C is for the bench, which ends its children in order.
        self._child = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            env=os.environ | environment,
        )
        self.pid = self._child.pid

    def cpu_s(self) -> float:
        """User and system time so far, seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mb(self) -> float:
        """Resident memory, MiB, shared memory included."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def finish(self, interrupt: bool = True) -> int:
        """Ctrl-C, wait, exit code."""
        if interrupt:
            self._child.send_signal(signal.SIGINT)
        code = self._child.wait(timeout=20)
        self._log.close()
        return code

    def running(self) -> bool:
        """True until it has exited."""
        return self._child.poll() is None

    def kill(self) -> None:
        """End it if it is still there."""
        if self.running():
            self._child.kill()


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "?")
    ask = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "python": platform.python_version(),
        "system": platform.system() + " " + platform.release(),
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "nice": os.nice(0),
        "commit": commit.stdout.strip(),
    }


@contextlib.contextmanager
def awake(wanted: bool) -> Iterator[None]:
    """While it lasts no core is ever without work: a loop on each that gives way to everything else (SCHED_IDLE).

    The host of a virtual machine gives away cores that sleep, and takes its time to give them back.
    """
    give_way = "import os\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"
    loop = [sys.executable, "-c", give_way]
    loops = [subprocess.Popen(loop) for _ in range(os.cpu_count() or 1)] if wanted else []
    try:
        yield
    finally:
        for process in loops:
            process.kill()
            process.wait()


def stolen_s() -> float:
    """Seconds since start-up, all cores together, in which this virtual machine wanted a core and its host had none.

    The `steal` field of proc(5), /proc/stat. Whatever it adds to a latency is the host's other guests, not the node.
    """
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()
    return int(fields[8]) / TICKS
