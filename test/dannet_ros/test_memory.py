from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import resource, sys
import numpy as np
from dannet_ros.memory import keep_freed_buffers

if sys.argv[1] == "keep":
    assert keep_freed_buffers()
np.ones(6_220_800, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    pictures = [np.ones(6_220_800, np.uint8) for _ in range(3)]
    del pictures
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""


def page_faults_a_frame(how: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, cwd=ROOT, timeout=300
    )
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this allocator")
def test_freed_pictures_are_not_handed_back_to_the_kernel() -> None:
    assert page_faults_a_frame("keep") < page_faults_a_frame("leave") / 4
