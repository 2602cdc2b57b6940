"""The stages that launch kernels, on a device made of this machine's CPU: real arithmetic, queued late."""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from types import ModuleType

import numpy as np
import pytest
from host_device import HostDevice

SMALL_CAMERA, SMALL_INPUT, SMALL_STRIDE = (120, 200), (64, 96), (19, 9, 13)


class NamedHostDevice(HostDevice):
    name, compute_capability = "host", "0.0"


@pytest.fixture
def stage(bench_program, host_kernels, monkeypatch):
    """Loads a stage's module with its sizes small and its device the host's."""
    bench_program("gpu")
    for name in [name for name in sys.modules if name.startswith("gpu_stages")]:
        monkeypatch.delitem(sys.modules, name)
    import gpu_stages.sizes as sizes

    monkeypatch.setattr(sizes, "CAMERA", SMALL_CAMERA)
    monkeypatch.setattr(sizes, "INPUT", SMALL_INPUT)
    monkeypatch.setattr(sizes, "STRIDE", SMALL_STRIDE)

    def load(name):
        module = __import__(f"gpu_stages.{name}", fromlist=[name])
        monkeypatch.setattr(module, "CudaDevice", lambda: NamedHostDevice(host_kernels))
        return module

    yield load
    for name in [name for name in sys.modules if name.startswith("gpu_stages")]:
        sys.modules.pop(name)


def run(module, function, tmp_path):
    record = module.Record(tmp_path / "figures.json", 600.0)
    getattr(module, function)(record, argparse.Namespace(work=tmp_path))
    return record, json.loads((tmp_path / "figures.json").read_text())


def test_the_kernels_are_compared_in_every_encoding_and_equal(stage, monkeypatch, tmp_path):
    from dannet_core.inference.camera_image import ENCODINGS

    module = stage("kernels")
    monkeypatch.setattr(module, "ROUNDS", 1)
    record, figures = run(module, "kernels", tmp_path)
    assert record.exit_code() == 0, figures
    compared = {name: one for name, one in figures.items() if "equal" in one}
    assert len(compared) == 2 * len(ENCODINGS) + 1 + 4 + 1 + 1
    assert all(one["equal"] for one in compared.values())
    assert set(figures["flag for NaN and infinity"]["flags"].values()) == {1}


def test_a_kernel_that_is_wrong_fails_the_stage(stage, monkeypatch, tmp_path):
    module = stage("kernels")
    monkeypatch.setattr(module, "ROUNDS", 1)
    monkeypatch.setattr(module, "upsample_labels", lambda *_: np.zeros(SMALL_CAMERA, np.uint8))
    record, figures = run(module, "kernels", tmp_path)
    assert record.exit_code() == 1
    assert not figures["labels float32 1 outputs"]["equal"]
    assert figures["labels float32 1 outputs"]["labels_equal"] < 0.9


@pytest.fixture
def device_copies(monkeypatch):
    """`pycuda.driver.memcpy_dtod_async` of the host device: queued like everything else."""
    driver = ModuleType("pycuda.driver")
    devices = []

    def copy(target, source, count, stream):
        devices[-1].put(stream, lambda: ctypes.memmove(target, source, count))

    driver.memcpy_dtod_async = copy
    package = ModuleType("pycuda")
    package.driver = driver
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    return devices


@pytest.mark.parametrize("graphs", [True, False])
def test_a_whole_frame_is_labelled_as_the_copied_logits_say(stage, device_copies, host_kernels, monkeypatch, graphs):
    module = stage("frame")

    def open_device():
        device_copies.append(NamedHostDevice(host_kernels, seed=3))
        return device_copies[-1]

    monkeypatch.setattr(module, "CudaDevice", open_device)
    result = module.whole_frame(np.float16, graphs, ("color",), frames=4)
    assert result["equal"]
    assert result["labels_equal"] >= 0.9999
    assert result["graph"] == ("used" if graphs else "switched off")
    assert result["memory_growth_mib"] == 0
    assert result["ms"]["n"] == 4
    assert set(result["stages_ms"]) == {
        f"device_{one}" for one in ("upload", "preprocess", "infer", "postprocess", "download")
    }
    (device,) = device_copies
    assert device.closed
    assert not device.live
    assert not device.live_pinned


def test_the_ratio_is_the_released_loop_over_the_whole_frame(bench_program, tmp_path):
    pytest.importorskip("torch", reason="pip install torch")
    bench_program("gpu")
    from gpu_stages.networks import ratio
    from gpu_stages.record import Record

    record = Record(tmp_path / "figures.json", 60.0)
    record.add("pspnet 960x540", {"latency_ms": {"p50": 5.0}})
    ratio(record, "pspnet")
    assert "pspnet released over ours" not in record.values
    record.add("pspnet released loop", {"latency_ms": {"p50": 120.0}})
    ratio(record, "pspnet")
    assert record.values["pspnet released over ours"] == 24.0
