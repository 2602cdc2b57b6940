from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from dannet_core.errors import BackendError, MissingPackageError, SettingsError
from dannet_core.inference import tensorrt_flavour
from dannet_core.inference.gpu import Gpu, ask_driver
from dannet_core.inference.tensorrt_flavour import Flavour, choose_flavour_to_build, import_flavour


@pytest.fixture
def rtx() -> Flavour:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
    return import_flavour("tensorrt_rtx")


def test_rtx_names_its_targets_and_refuses_others(rtx):
    assert {"7.5", "8.0", "8.6", "8.9", "12.0"} <= set(rtx.known_targets())
    assert rtx.target("8.6") == rtx.module.ComputeCapability.SM86
    with pytest.raises(SettingsError, match=r"targets: got '6.1', tensorrt_rtx \S+ builds for one of 7.5, 8.0"):
        rtx.target("6.1")


def on_gpu(monkeypatch, name: str, capability: str) -> None:
    monkeypatch.setattr(tensorrt_flavour, "find_gpu", lambda _device=0: Gpu(name, capability))


@pytest.mark.parametrize("capability", ["8.0", "8.6", "8.9", "12.0", "12.1"])
def test_rtx_builds_without_targets_for_a_gpu_it_knows(rtx, monkeypatch, capability):
    on_gpu(monkeypatch, "RTX", capability)
    assert rtx.running().known == rtx.known_targets()
    rtx.check_gpu(rtx.running())


@pytest.mark.parametrize(("name", "capability"), [("NVIDIA H100", "9.0"), ("Orin", "8.7"), ("NVIDIA B200", "10.0")])
def test_rtx_refuses_a_gpu_it_has_no_kernels_for_and_says_which_flavour_that_needs(rtx, monkeypatch, name, capability):
    on_gpu(monkeypatch, name, capability)
    said = rf"has no kernels for {name} \(compute capability {capability}\), only for 7.5, 8.0, .* flavour tensorrt "
    with pytest.raises(BackendError, match=said):
        rtx.check_gpu(rtx.running())
    plain = Flavour("tensorrt", "10.3.0", rtx.module)
    assert plain.running().known == ()
    plain.check_gpu(plain.running())


def test_rtx_asks_for_targets_where_it_would_leave_the_gpu_here_out(rtx, monkeypatch):
    on_gpu(monkeypatch, "RTX 2080", "7.5")
    with pytest.raises(BackendError, match=r"here is RTX 2080 \(compute capability 7.5\): give targets 7.5"):
        rtx.check_gpu(rtx.running())


def test_only_tensorrt_itself_has_a_timing_cache_and_needs_the_gpu(rtx):
    plain = Flavour("tensorrt", "10.3.0", rtx.module)
    assert (rtx.has_timing_cache, rtx.needs_gpu_to_build, rtx.has_runtime_cache) == (False, False, True)
    assert (plain.has_timing_cache, plain.needs_gpu_to_build, plain.has_runtime_cache) == (True, True, False)
    assert plain.known_targets() == ()
    with pytest.raises(SettingsError, match="only TensorRT for RTX has targets"):
        plain.target("8.6")


def test_networks_are_strongly_typed_with_the_flag_where_there_is_one(rtx):
    assert rtx.network_flags == 1 << int(rtx.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    without = SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace())
    assert Flavour("tensorrt", "12.0", without).network_flags == 0


def test_a_missing_or_old_or_unknown_flavour_is_named(monkeypatch):
    with pytest.raises(SettingsError, match="flavour: got 'openvino', expected one of tensorrt, tensorrt_rtx"):
        import_flavour("openvino")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingPackageError, match=r"tensorrt is needed to build engines .*: pip install tensorrt"):
        import_flavour("tensorrt", "build engines")
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="8.6.1"))
    with pytest.raises(BackendError, match=r"tensorrt: got version 8\.6\.1, expected 10.3 or later"):
        import_flavour("tensorrt")


@pytest.mark.parametrize(
    ("installed", "gpu", "chosen"),
    [
        (True, Gpu("Orin", "8.7"), "tensorrt"),
        (True, None, "tensorrt_rtx"),
        (False, Gpu("Orin", "8.7"), "tensorrt_rtx"),
    ],
)
def test_auto_takes_tensorrt_only_where_it_can_build(monkeypatch, installed, gpu, chosen):
    monkeypatch.setattr(
        tensorrt_flavour.importlib.util, "find_spec", {"tensorrt": object()}.get if installed else {}.get
    )
    monkeypatch.setattr(tensorrt_flavour, "find_gpu", lambda: gpu)
    assert choose_flavour_to_build() == chosen


def driver(status: int = 0) -> SimpleNamespace:
    """Answers as libcuda does: values through pointers, a status returned."""

    def put(pointer, value) -> int:
        pointer._obj.value = value
        return 0

    def put_name(buffer, size, device) -> int:
        assert size == len(buffer)
        buffer.value = f"GPU {device.value}".encode()
        return 0

    return SimpleNamespace(
        cuInit=lambda _flags: status,
        cuDeviceGet=lambda device, index: put(device, index) if index < 2 else 101,
        cuDeviceGetName=put_name,
        cuDeviceGetAttribute=lambda value, attribute, _device: put(value, {75: 8, 76: 7}[attribute]),
    )


def test_the_driver_names_the_gpu_and_its_compute_capability():
    assert ask_driver(driver(), 1) == Gpu("GPU 1", "8.7")


@pytest.mark.parametrize(("status", "index"), [(100, 0), (0, 2)])
def test_no_gpu_is_none(status, index):
    assert ask_driver(driver(status), index) is None


def test_the_error_log_keeps_the_first_errors_until_they_are_taken():
    rtx = pytest.importorskip("tensorrt_rtx")
    log = import_flavour("tensorrt_rtx").error_log()
    severity = rtx.ILogger.Severity
    log.log(severity.WARNING, "not an error")
    for number in range(5):
        log.log(severity.ERROR, f"error\n {number}")
    assert log.take() == "error 0; error 1; error 2"
    assert log.take() == ""


def test_what_the_library_says_reaches_whoever_asks_last(rtx):
    """TensorRT keeps the logger of its first runtime or builder for all others."""
    first = rtx.error_log()
    builder = rtx.module.Builder(first)
    second = import_flavour("tensorrt_rtx").error_log()
    another = rtx.module.Builder(second)
    network = another.create_network(rtx.network_flags)
    parser = rtx.module.OnnxParser(network, second)
    assert not parser.parse(b"not a graph")
    said = second.take()
    assert said
    del builder
    first.log(rtx.module.ILogger.Severity.ERROR, "an old word")
    assert import_flavour("tensorrt_rtx").error_log().take() == ""
