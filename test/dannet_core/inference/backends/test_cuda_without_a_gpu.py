"""What can be held about the CUDA layer where there is no GPU: what is missing is named, and capture cleans up."""

import ctypes
import importlib.util
from types import SimpleNamespace

import pytest

from dannet_core.errors import BackendError, MissingPackageError
from dannet_core.inference.backends import cuda_device
from dannet_core.inference.backends.cuda_graph import capture, check


def test_without_pycuda_it_is_named_with_how_to_get_it():
    if importlib.util.find_spec("pycuda") is not None:
        pytest.skip("pycuda is installed here")
    with pytest.raises(MissingPackageError, match=r"pycuda.driver is needed to run .engine .*: pip install pycuda"):
        cuda_device.CudaDevice()


def test_nvcc_is_found_under_cuda_home_where_it_is_not_on_the_path(tmp_path, monkeypatch):
    nvcc = tmp_path / "cuda" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("#!/bin/sh\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    assert cuda_device.find_nvcc() == str(nvcc)


def test_an_event_is_waited_for_asleep_and_keeps_the_time_only_where_somebody_asks():
    flags = SimpleNamespace(DEFAULT=0, BLOCKING_SYNC=1, DISABLE_TIMING=2)  # as CUDA numbers them
    device = cuda_device.CudaDevice.__new__(cuda_device.CudaDevice)
    device._cuda = SimpleNamespace(event_flags=flags, Event=lambda flags=0: flags, Error=RuntimeError)
    assert (device.event(), device.event(timed=True)) == (3, 1)


class Driver:
    """Answers as a driver library does: a number, and texts by pointer."""

    def __init__(self, **codes: int) -> None:
        self.codes, self.called = codes, []

    def cuGetErrorString(self, _code, text):  # noqa: N802 - the driver's name
        text._obj.value = b"operation not permitted when stream is capturing"
        return 0

    def __getattr__(self, name):
        if not name.startswith("cu") or name == "cuMissing":
            raise AttributeError(name)

        def function(*_):
            self.called.append(name)
            return self.codes.get(name, 0)

        return function


STREAM = SimpleNamespace(handle=1)


def test_a_driver_error_carries_the_drivers_words():
    check(Driver(), "cuGraphLaunch")
    with pytest.raises(BackendError, match="cuGraphLaunch failed: operation not permitted when stream is capturing"):
        check(Driver(cuGraphLaunch=900), "cuGraphLaunch")
    with pytest.raises(BackendError, match="cuMissing: this driver has no such function: update the NVIDIA driver"):
        check(Driver(), "cuMissing")


def test_a_captured_graph_is_launched_and_freed_once():
    driver, enqueued = Driver(), []
    graph = capture(driver, STREAM, lambda: enqueued.append(1))
    graph.launch(STREAM)
    graph.free()
    graph.free()
    assert enqueued == [1]
    assert driver.called == [
        "cuStreamBeginCapture_v2",
        "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags",
        "cuGraphLaunch",
        "cuGraphExecDestroy",
    ]


def test_a_stream_leaves_capture_mode_when_something_cannot_be_captured():
    driver = Driver()

    def fail():
        raise RuntimeError("cuMemAlloc failed:\noperation not permitted")

    with pytest.raises(BackendError, match="graph: not captured: cuMemAlloc failed: operation not permitted"):
        capture(driver, STREAM, fail)
    assert driver.called == ["cuStreamBeginCapture_v2", "cuStreamEndCapture"]


def test_the_driver_library_is_named_where_there_is_none():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        from dannet_core.inference.backends.cuda_graph import open_driver

        with pytest.raises(BackendError, match=r"libcuda.so.1: cannot be opened .*: install the NVIDIA driver"):
            open_driver()
    else:
        pytest.skip("there is an NVIDIA driver here")
