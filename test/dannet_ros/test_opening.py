"""Engines that the node really builds in configure, with TensorRT for RTX, and what it does where they do not run."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

from std_msgs.msg import Header

from dannet_core.errors import BackendError
from dannet_core.file_lock import locked
from dannet_core.inference.engine_file import read_engine_info
from dannet_core.inference.gpu import Gpu, find_gpu
from dannet_core.metadata import ModelMetadata
from dannet_ros import opening
from dannet_ros.conversions import to_image
from dannet_ros.diagnostics import NOTHING_COUNTED, findings, values

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(find_gpu() is not None, reason="says what a machine without a GPU does"),
]


@pytest.fixture
def rtx() -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")


def test_without_a_gpu_auto_runs_the_graph_and_says_so(
    make_rig: Callable[..., Any], night: np.ndarray, tmp_path: Path
) -> None:
    rig = make_rig(engine_cache=str(tmp_path / "engines"))
    shown = values(rig.node._health())
    assert shown["backend"] in ("openvino", "onnxruntime")
    assert shown["why this backend"] == "no engine: no NVIDIA GPU here"
    assert shown["outputs by"].split()[0] in ("numba", "numpy")
    assert not (tmp_path / "engines").exists()
    rig.listen("label")
    rig.node._on_image(to_image(night, "rgb8", Header()))
    rig.until(lambda: len(rig.came["label"]) == 1)


@pytest.mark.usefixtures("rtx")
def test_engine_is_built_once_and_what_is_missing_to_run_it_is_named(
    make_rig: Callable[..., Any], tmp_path: Path
) -> None:
    rig = make_rig(start=False, backend="tensorrt", engine_cache=str(tmp_path))
    assert not rig.node.autostart()
    built = list(tmp_path.glob("*.engine"))
    assert len(built) == 1
    assert read_engine_info(built[0]).flavour == "tensorrt_rtx"
    assert built[0].name in rig.node.failure or "pycuda" in rig.node.failure
    assert findings(rig.node._health(), NOTHING_COUNTED)[0].text == rig.node.failure
    written = built[0].stat().st_mtime_ns
    assert not rig.node.autostart()
    assert built[0].stat().st_mtime_ns == written


@pytest.mark.usefixtures("rtx")
def test_auto_goes_on_with_the_graph_where_the_engine_does_not_run(
    make_rig: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU that TensorRT does not know: the engine is there, and cannot be loaded."""
    monkeypatch.setattr(opening, "find_gpu", lambda: Gpu("Test GPU", "8.7"))
    rig = make_rig(engine_cache=str(tmp_path))
    assert list(tmp_path.glob("*.engine"))
    shown = values(rig.node._health())
    assert shown["backend"] in ("openvino", "onnxruntime")
    assert shown["why this backend"].startswith("no engine: ")


@pytest.mark.parametrize(
    ("source", "backend"), [("test graph", "pytorch"), ("another network", "openvino onnxruntime")]
)
def test_a_gpu_without_an_engine_gets_the_same_models_weights_in_pytorch(
    make_rig: Callable[..., Any],
    tiny_model: Path,
    night: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    backend: str,
) -> None:
    """As on an H100 with TensorRT for RTX alone; torch's CUDA is its CPU here."""
    torch_weights = pytest.importorskip("dannet_core.networks.weights", reason="weights need torch: pip install torch")
    networks = pytest.importorskip("dannet_core.networks", reason="networks need torch: pip install torch")
    model = Path(shutil.copy(tiny_model, tmp_path / "night.onnx"))
    net = networks.build_dannet("lraspp", backbone="mobilenet_v3_large")
    metadata = ModelMetadata("lraspp", "mobilenet_v3_large", source=source)
    torch_weights.save_weights(net, tmp_path / "night.safetensors", metadata)
    load = opening._load

    def load_on_the_cpu(path: Path, name: str, parameters: Any, settings: Any) -> Any:
        if parameters.device == "cuda":
            parameters = dataclasses.replace(parameters, device="cpu")
        return load(path, name, parameters, settings)

    monkeypatch.setattr(opening, "_load", load_on_the_cpu)
    monkeypatch.setattr(opening, "find_gpu", lambda: Gpu("NVIDIA H100", "9.0"))
    monkeypatch.setattr(opening, "_engine", lambda *_: _refuse())
    rig = make_rig(model=str(model), engine_cache=str(tmp_path / "engines"))
    shown = values(rig.node._health())
    assert shown["backend"] in backend
    expected = "no engine: NVIDIA H100 needs flavour tensorrt"
    assert shown["why this backend"] == expected + ("; night.safetensors in PyTorch instead" * (backend == "pytorch"))
    rig.listen("label")
    rig.node._on_image(to_image(night, "rgb8", Header()))
    rig.until(lambda: len(rig.came["label"]) == 1)


def _refuse() -> Any:
    raise BackendError("NVIDIA H100 needs flavour tensorrt")


@pytest.mark.usefixtures("rtx")
def test_progress_is_reported_while_configuring_and_stopping_ends_it(
    make_rig: Callable[..., Any], tiny_model: Path, tmp_path: Path
) -> None:
    """Another process holds the engine's lock, so that the build takes as long as the test likes."""
    rig = make_rig(start=False, backend="tensorrt", engine_cache=str(tmp_path), diagnostics_period_s=0.1)
    assert not rig.node.autostart()
    engine = next(tmp_path.glob("*.engine"))
    reports: list[str] = []
    report = rig.node._diagnostics.report

    def report_and_stop() -> None:
        reports.extend(finding.text for finding in findings(rig.node._health(), NOTHING_COUNTED))
        report()
        if "waiting for another process" in reports[-1]:
            rig.node.stopping.set()

    rig.node._diagnostics.report = report_and_stop
    with locked(engine.with_name(f".{engine.name}.lock"), lambda _: None):
        assert not rig.node.autostart(), "with the lock still held: it gave up waiting"
    assert rig.node.failure == "stopped while the model was being opened"
    assert any("opening the model for" in text and "waiting for another process" in text for text in reports), reports
    assert not rig.node.hung


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"backend": "tensorrt"}, "parameter engine_cache: not set, expected a folder"),
        ({"engine_cache": "x", "model": "x.engine"}, "expected an .onnx model to build from, got x.engine"),
        ({"engine_cache": "x", "backend": "onnxruntime"}, "got backend onnxruntime, device auto: unset it"),
        ({"engine_cache": "x", "device": "cpu"}, "got backend auto, device cpu: unset it"),
    ],
)
def test_parameters_that_do_not_go_together_are_named(
    make_rig: Callable[..., Any], parameters: dict[str, Any], said: str
) -> None:
    rig = make_rig(start=False, **parameters)
    assert not rig.node.autostart()
    assert said in rig.node.failure


def test_cache_folder_that_cannot_be_made_is_named(make_rig: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
    (tmp_path / "file").write_text("")
    rig = make_rig(start=False, backend="tensorrt", engine_cache=str(tmp_path / "file" / "engines"))
    assert not rig.node.autostart()
    assert "cannot make the folder" in rig.node.failure
