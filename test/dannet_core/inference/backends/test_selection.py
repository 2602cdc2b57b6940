import logging
import shutil

import numpy as np
import pytest

from dannet_core import NightSegmenter
from dannet_core.errors import BackendError, EngineError, ModelFileError
from dannet_core.inference import tensorrt_flavour
from dannet_core.inference.backends import selection
from dannet_core.inference.backends.selection import choose, choose_reader
from dannet_core.inference.backends.tensorrt import TensorRTBackend
from dannet_core.inference.engine_file import Binding, EngineInfo, write_engine
from dannet_core.inference.gpu import Gpu
from dannet_core.metadata import ModelMetadata


class Opened:
    def __init__(self, name, device):
        self.name, self.device = name, device


@pytest.fixture
def files(tmp_path):
    paths = {suffix: tmp_path / f"night{suffix}" for suffix in (".engine", ".safetensors", ".onnx")}
    for path in paths.values():
        path.write_bytes(b"")
    return paths


@pytest.fixture(params=[True, False], ids=["gpu", "no gpu"])
def has_gpu(request, monkeypatch):
    monkeypatch.setattr(selection, "find_spec", lambda _name: object())
    monkeypatch.setattr(selection, "find_gpu", lambda: Gpu("Test GPU", "9.0") if request.param else None)
    return request.param


def opener(*refused):
    def open_file(name, path, device):
        if (path.suffix, device) in refused or path.suffix in refused or name in refused:
            raise EngineError(f"{path.suffix} does not run")
        return Opened(name, device)

    return open_file


def test_tensorrt_comes_first_where_there_is_a_gpu_and_openvino_elsewhere(files, has_gpu):
    choice = choose(files, "auto", opener())
    assert choice.backend.name == ("tensorrt" if has_gpu else "openvino")
    expected = "the best that runs here" + ("" if has_gpu else "; not night.engine: no NVIDIA GPU here")
    assert choice.why == expected


def test_what_does_not_open_is_passed_over_and_named(files, has_gpu):
    choice = choose(files, "auto", opener(".engine"))
    assert (choice.backend.name, choice.backend.device) == (("pytorch", "cuda") if has_gpu else ("openvino", "cpu"))
    if has_gpu:
        assert choice.why == "the best that runs here; not night.engine: .engine does not run"
    last = choose(files, "auto", opener(".engine", (".safetensors", "cuda"), ".onnx"))
    assert (last.backend.name, last.backend.device) == ("pytorch", "cpu")


def test_an_rtx_engine_on_a_gpu_it_does_not_run_on_gives_way_to_pytorch_on_cuda(files, monkeypatch):
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX: pip install tensorrt-rtx-cu13")
    image, logits = Binding((1, 3, 64, 96), "float32"), Binding((1, 19, 8, 12), "float32")
    info = EngineInfo(
        flavour="tensorrt_rtx",
        flavour_version=rtx.__version__,
        gpu=None,
        compute_capability=None,
        targets=(),
        workspace_mib=0,
        precision="fp16",
        onnx_sha256="0" * 64,
        plan_sha256="",
        plan_bytes=0,
        inputs={"image": image},
        outputs={"stride_logits": logits},
        metadata=ModelMetadata("lraspp", "mobilenet_v3_large", relighting_width=0),
    )
    write_engine(files[".engine"], b"plan", info)
    for module in (selection, tensorrt_flavour):
        monkeypatch.setattr(module, "find_gpu", lambda _device=0: Gpu("NVIDIA H100", "9.0"))

    def open_file(name, path, device):
        return TensorRTBackend.open(path) if name == "tensorrt" else opener()(name, path, device)

    choice = choose(files, "auto", open_file)
    assert (choice.backend.name, choice.backend.device) == ("pytorch", "cuda")
    assert "NVIDIA H100 needs an engine of flavour tensorrt" in choice.why


def test_a_file_with_one_reader_carries_what_that_has_to_say(files, monkeypatch):
    monkeypatch.setattr(selection, "find_gpu", lambda: Gpu("NVIDIA H100", "9.0"))

    def open_file(name, path, device):
        opened = Opened(name, device)
        opened.remark = "torch operations around the network: NVRTC is not found"
        return opened

    choice = choose_reader(files[".safetensors"], "auto", open_file)
    assert choice.why == ("the backend for .safetensors files; torch operations around the network: NVRTC is not found")
    assert choose(files, "cuda", open_file).why.endswith("; torch operations around the network: NVRTC is not found")


def test_the_cpu_is_used_when_it_is_asked_for(files, has_gpu):
    choice = choose(files, "cpu", opener())
    assert (choice.backend.name, choice.backend.device) == ("openvino", "cpu")
    assert "night.engine: the CPU was asked for" in choice.why


def test_when_nothing_opens_every_reason_is_in_one_line(files, has_gpu):
    with pytest.raises(EngineError, match="no file of this model runs here: ") as error:
        choose(files, "auto", opener(".engine", ".safetensors", ".onnx"))
    assert "night.onnx with onnxruntime: .onnx does not run" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_without_suffix_opens_the_best_file_and_logs_why(tiny_onnx, tmp_path, night_rgb, caplog):
    shutil.copy(tiny_onnx, tmp_path / "night.v2.onnx")
    with (
        caplog.at_level(logging.INFO, "dannet_core.inference"),
        NightSegmenter.load(tmp_path / "night.v2", backend="onnxruntime") as opened,
    ):
        assert (opened.backend_name, opened.why) == ("onnxruntime", "the best that runs here")
        assert opened.segment(night_rgb).labels.dtype == np.uint8
    assert "onnxruntime on cpu runs" in caplog.text


def test_an_onnx_that_openvino_refuses_runs_in_onnx_runtime_with_the_reason(tiny_onnx, has_gpu):
    refused = ("openvino", (".onnx", "cuda"))
    choice = choose_reader(tiny_onnx, "auto", opener(*refused))
    assert (choice.backend.name, choice.backend.device) == ("onnxruntime", "cpu")
    assert "not openvino: .onnx does not run" in choice.why
    assert ("not onnxruntime: " in choice.why) == has_gpu


def test_cuda_comes_before_openvino_and_an_intel_device_is_openvinos(tiny_onnx, has_gpu):
    assert choose_reader(tiny_onnx, "auto", opener()).backend.name == ("onnxruntime" if has_gpu else "openvino")
    assert choose_reader(tiny_onnx, "cuda:0", opener()).backend.name == "onnxruntime"
    intel = choose_reader(tiny_onnx, "gpu.1", opener())
    assert (intel.backend.name, intel.backend.device) == ("openvino", "gpu.1")


def test_without_openvino_it_is_onnx_runtime_and_a_word_about_it(tiny_onnx, monkeypatch):
    monkeypatch.setattr(selection, "find_spec", lambda _name: None)
    monkeypatch.setattr(selection, "find_gpu", lambda: None)
    choice = choose_reader(tiny_onnx, "auto", opener())
    assert choice.backend.name == "onnxruntime"
    assert choice.why == "the best that runs here; not openvino: it is not installed (pip install openvino)"


def test_a_name_with_no_file_says_what_was_looked_for(tmp_path):
    with pytest.raises(ModelFileError, match=r"night: no such model: expected .safetensors, .onnx, .engine"):
        NightSegmenter.load(tmp_path / "night")
    with pytest.raises(ModelFileError, match="backend: got 'tvm', expected one of auto, pytorch"):
        NightSegmenter.load(tmp_path / "night", backend="tvm")


def test_an_engine_asked_to_run_on_the_cpu_is_refused(tmp_path):
    (tmp_path / "night.engine").write_bytes(b"")
    with pytest.raises(BackendError, match="device: got 'cpu', expected auto, cuda or cuda:N"):
        NightSegmenter.load(tmp_path / "night.engine", device="cpu")
