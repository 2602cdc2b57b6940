"""What `bench/inference.py` gives each backend."""

import sys
from types import SimpleNamespace

import pytest


@pytest.mark.parametrize(
    ("backend", "has_gpu", "providers", "precision"),
    [
        ("onnxruntime", True, ["CPUExecutionProvider"], "fp32"),
        ("onnxruntime", True, ["CUDAExecutionProvider", "CPUExecutionProvider"], "fp16"),
        ("onnxruntime", False, ["CUDAExecutionProvider", "CPUExecutionProvider"], "fp32"),
        ("openvino", True, ["CUDAExecutionProvider"], "fp32"),
        ("tensorrt", False, [], "fp16"),
    ],
)
def test_half_precision_is_for_what_runs_on_the_gpu(
    bench_program, monkeypatch, tmp_path, backend, has_gpu, providers, precision
):
    inference = bench_program("inference")
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(get_available_providers=lambda: providers))
    asked = []
    monkeypatch.setattr(inference, "make_graph", lambda *given: asked.append(given[2]) or tmp_path / "x.onnx")
    monkeypatch.setattr(inference, "dannet", lambda *_: SimpleNamespace(returncode=0))
    inference.make_model("pspnet", (540, 960), backend, has_gpu, tmp_path)
    assert asked == [precision]
