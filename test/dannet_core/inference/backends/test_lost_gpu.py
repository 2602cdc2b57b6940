"""After a fatal error on the GPU the process ends in its own way: with what it says and its own exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dannet_core.inference.gpu import find_gpu

TESTS = Path(__file__).parents[3]
BEGIN = """
import sys, threading
from dannet_core.errors import EngineError
from dannet_core.inference.backends.cuda_device import CudaDevice

def say(error):
    print(f"fatal={error.fatal}", str(error), flush=True)

def end(name):
    if name == "thread":
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    else:
        work()
    print("ended", flush=True)
    sys.exit(2)
"""
FAKE = """
import lost_gpu
lost_gpu.install()
"""
CLOSE = """    try:
        device.close()
    except EngineError as error:
        say(error)
"""
LOSE = """
def work():
    global device
    device = CudaDevice()
    try:
        lost_gpu.lose(device)
    except EngineError as error:
        say(error)
"""
REAL = """
from dannet_core.inference.kernels.jobs import LabelJob

def work():
    device = CudaDevice()
    stream, event = device.stream(), device.event()
    job = LabelJob()
    job.not_finite = 16  # no memory of anybody
    job.logits, job.factor, job.offset = 16, 16, 16
    job.classes, job.stride_height, job.stride_width = 19, 68, 120
    job.camera.height, job.camera.width = 64, 64
    try:
        device.launch("logits_to_outputs", bytes(job), (2, 8), 0, stream)
        device.record(event, stream)
        device.synchronize(event)
    except EngineError as error:
        say(error)
"""


def run(*parts: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", "".join(parts)], capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip


@pytest.mark.parametrize("where", ["thread", "main"])
def test_a_thread_that_closes_a_lost_gpu_does_not_abort_the_process(where):
    done = run(BEGIN, FAKE, LOSE, CLOSE, f"end({where!r})")
    assert done.returncode == 2, done.stderr
    lost, leaving, ended = done.stdout.splitlines()
    assert lost.startswith("fatal=True cuda: waiting for the GPU: cuEventSynchronize failed: an illegal memory access")
    assert leaving.startswith("fatal=True cuda: leaving the context: cuCtxPopCurrent failed")
    assert "start the process again" in leaving
    assert ended == "ended"
    assert "PyCUDA ERROR" not in done.stderr


def test_a_program_that_ends_without_closing_a_lost_gpu_keeps_its_exit_code():
    done = run(BEGIN, FAKE, LOSE, "end('main')")
    assert done.returncode == 2, done.stderr
    assert done.stdout.splitlines()[-1] == "ended"
    assert "PyCUDA ERROR" not in done.stderr


def test_a_whole_gpu_is_left_as_it_was(tmp_path):
    script = """
def work():
    device = CudaDevice()
    device.close()
    assert not lost_gpu.STACK.entries
"""
    done = run(BEGIN, FAKE, script, "end('thread')")
    assert (done.returncode, done.stdout, done.stderr) == (2, "ended\n", "")


@pytest.mark.gpu
@pytest.mark.parametrize("where", ["thread", "main"])
def test_a_kernel_that_writes_where_nothing_is_ends_the_process_in_order(where):
    if find_gpu() is None:
        pytest.skip("no NVIDIA GPU")
    pytest.importorskip("pycuda.driver", reason="pip install 'dannet_ros[gpu]'")
    done = run(BEGIN, REAL, CLOSE, f"end({where!r})")
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("fatal=True")
    assert "start the process again" in done.stdout
    assert done.stdout.splitlines()[-1] == "ended"
