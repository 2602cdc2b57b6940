"""What of the TensorRT backend needs no GPU: checks before one is touched, threads, errors, closing."""

import threading

import numpy as np
import pytest

from dannet_core import NightSegmenter
from dannet_core.errors import BackendError, EngineError, ModelFileError
from dannet_core.inference.backends.cuda_errors import engine_error
from dannet_core.inference.backends.tensorrt import gpu_index
from dannet_core.inference.backends.tensorrt_network import check_bindings, check_fits
from dannet_core.inference.engine_file import Binding, EngineInfo, Running, write_engine
from dannet_core.metadata import ModelMetadata


def info(**changes) -> EngineInfo:
    image = Binding((1, 3, 64, 96), "float32")
    known = EngineInfo(
        flavour="tensorrt",
        flavour_version="10.3.0",
        gpu="NVIDIA Orin",
        compute_capability="8.7",
        targets=(),
        workspace_mib=0,
        precision="fp16",
        onnx_sha256="0" * 64,
        plan_sha256="0" * 64,
        plan_bytes=0,
        inputs={"image": image},
        outputs={"stride_logits": Binding((1, 19, 8, 12), "float32"), "relit": image},
        metadata=ModelMetadata("lraspp", "mobilenet_v3_large"),
    )
    return known.replace(**changes)


def test_an_engine_with_the_right_ends_gives_its_input_size():
    assert check_bindings(info(), "m.engine") == (64, 96)
    halves = {"image": Binding((1, 3, 64, 96), "float16")}
    assert check_bindings(info(inputs=halves), "m.engine") == (64, 96)


def test_without_a_relighting_network_there_may_be_a_relit_output_or_none():
    metadata = ModelMetadata("lraspp", "mobilenet_v3_large", relighting_width=0)
    assert check_bindings(info(metadata=metadata), "m.engine") == (64, 96)
    alone = {"stride_logits": Binding((1, 19, 8, 12), "float32")}
    assert check_bindings(info(metadata=metadata, outputs=alone), "m.engine") == (64, 96)
    with pytest.raises(ModelFileError, match="expected 'stride_logits' with 19 channels: export"):
        check_bindings(info(metadata=metadata, outputs={}), "m.engine")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"inputs": {"x": Binding((1, 3, 64, 96), "float32")}},
            r"inputs are \{'x': \[1, 3, 64, 96\]\}, expected 'image'",
        ),
        ({"inputs": {"image": Binding((2, 3, 64, 96), "float32")}}, "expected 'image' of"),
        ({"inputs": {"image": Binding((1, 3, 64, 96), "int8")}}, "'image' is int8, expected float32 or float16"),
        ({"outputs": {"stride_logits": Binding((1, 19, 8, 12), "float32")}}, "outputs are"),
        (
            {
                "outputs": {
                    "stride_logits": Binding((1, 7, 8, 12), "float32"),
                    "relit": Binding((1, 3, 64, 96), "float32"),
                }
            },
            "expected 'stride_logits' with 19 channels",
        ),
    ],
)
def test_other_ends_are_refused_before_a_gpu_is_touched(changes, said):
    with pytest.raises(ModelFileError, match=said):
        check_bindings(info(**changes), "m.engine")


def test_an_engine_for_another_gpu_or_version_names_the_fields_and_the_way_out():
    check_fits(info(), Running("tensorrt", "10.3.0", "NVIDIA Orin", "8.7"), "m.engine")
    with pytest.raises(EngineError) as error:
        check_fits(info(), Running("tensorrt", "11.4.0", "NVIDIA H100", "9.0"), "m.engine")
    for part in ("flavour_version", "'10.3.0'", "'11.4.0'", "gpu", "compute_capability", "dannet build_engine"):
        assert part in str(error.value)


def test_an_rtx_engine_on_a_gpu_without_kernels_names_the_flavour_that_gpu_needs():
    engine = info(flavour="tensorrt_rtx", flavour_version="1.7.1", gpu=None, compute_capability=None)
    h100 = Running("tensorrt_rtx", "1.7.1", "NVIDIA H100", "9.0", ("8.0", "8.9", "12.0"))
    with pytest.raises(EngineError, match=r"targets: .* here it is '9.0': NVIDIA H100 needs .* --flavour tensorrt`"):
        check_fits(engine, h100, "m.engine")
    check_fits(engine, Running("tensorrt_rtx", "1.7.1", "RTX 4090", "8.9", ("8.0", "8.9")), "m.engine")


def test_where_there_is_no_gpu_that_is_all_there_is_to_say():
    with pytest.raises(EngineError, match=r"m.engine: no NVIDIA GPU or no driver here: run the .onnx"):
        check_fits(info(), Running("tensorrt", "10.3.0", None, None), "m.engine")


def test_an_engine_without_its_side_file_is_refused(tmp_path):
    (tmp_path / "m.engine").write_bytes(b"plan")
    with pytest.raises(ModelFileError, match="side file"):
        NightSegmenter.load(tmp_path / "m.engine")


def test_what_keeps_an_engine_from_running_here_is_one_line(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX: pip install tensorrt-rtx-cu13")
    path = tmp_path / "m.engine"
    write_engine(path, b"plan", info(flavour="tensorrt_rtx", flavour_version="0.0", gpu=None, compute_capability=None))
    with pytest.raises(EngineError, match=r"m.engine: (no NVIDIA GPU|does not fit: flavour_version)") as error:
        NightSegmenter.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("device", "index"), [("auto", 0), ("cuda", 0), ("cuda:3", 3)])
def test_devices_are_numbered(device, index):
    assert gpu_index(device) == index


@pytest.mark.parametrize("device", ["cpu", "cuda:", "cuda:x", "gpu"])
def test_other_devices_are_refused(device):
    with pytest.raises(BackendError, match=f"device: got '{device}', expected auto, cuda or cuda:N"):
        gpu_index(device)


@pytest.mark.parametrize(
    ("said", "advice", "fatal"),
    [
        ("cuMemAlloc failed: out of memory", "end other programs on it", False),
        ("cuStreamSynchronize failed: an illegal memory access was encountered", "start the process again", True),
        ("cuEventSynchronize failed: unspecified launch failure", "start the process again", True),
        ("cuEventRecord failed: uncorrectable ECC error encountered", "start the process again", True),
        ("cuInit failed: no CUDA-capable device is detected", "check `nvidia-smi`", True),
        ("cuCtxSynchronize failed: unknown error", "check `nvidia-smi`", True),
        (
            "cuInit failed: CUDA driver version is insufficient for CUDA runtime version",
            "update the NVIDIA driver",
            True,
        ),
        ("cuLaunchKernel failed: invalid argument", "invalid argument", False),
    ],
)
def test_what_cuda_says_comes_with_what_to_do(said, advice, fatal):
    error = engine_error("cuda: copying", RuntimeError(said + "\n -- second line"), 123)
    assert isinstance(error, BackendError)
    assert str(error).startswith(f"cuda: copying: {said}")
    assert advice in str(error)
    assert error.fatal == fatal
    assert "\n" not in str(error)
    assert ("123 MiB free" in str(error)) == ("out of memory" in said)


def test_another_thread_is_refused_with_both_names(make_backend, night_rgb):
    backend, _ = make_backend()
    errors = []

    def use():
        for call in (lambda: NightSegmenter(backend).segment(night_rgb), backend.close):
            try:
                call()
            except BackendError as error:
                errors.append(str(error))

    thread = threading.Thread(target=use, name="executor")
    thread.start()
    thread.join()
    said = "tensorrt: made in thread 'MainThread', used in 'executor': load, use and close the model in one thread"
    assert errors == [said, said]
    backend.close()


def test_a_fatal_error_is_raised_again_until_the_model_is_closed(make_backend, night_rgb):
    backend, device = make_backend()
    segmenter = NightSegmenter(backend)
    segmenter.segment(night_rgb)
    device.broken = engine_error("cuda: kernel", RuntimeError("an illegal memory access was encountered"))
    for _ in range(2):
        with pytest.raises(EngineError, match="start the process again"):
            segmenter.segment(night_rgb)
        device.broken = None
    segmenter.close()
    with pytest.raises(BackendError, match="the backend is closed: load the model again"):
        segmenter.segment(night_rgb)


def test_only_the_network_can_be_run_too(make_backend, tiny_onnx):
    from dannet_core.inference.backends import open_backend

    backend, _ = make_backend()
    image = np.random.default_rng(0).normal(0, 1, (1, 3, 64, 96)).astype(np.float32)
    ours, theirs = backend.infer(image, with_relit=True), open_backend(tiny_onnx, "onnxruntime").infer(image, True)
    np.testing.assert_array_equal(ours.logits, theirs.logits)
    np.testing.assert_array_equal(ours.relit, theirs.relit)
    assert backend.infer(image, with_relit=False).relit is None
    backend.close()
