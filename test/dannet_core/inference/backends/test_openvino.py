"""OpenVINO gives ONNX Runtime's labels, keeps compiled graphs safely, and loses no NaN."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import write_tiny_onnx

from dannet_core import NightSegmenter
from dannet_core.errors import BackendError, MissingPackageError, NotFiniteError
from dannet_core.inference.backends.onnxruntime import OnnxRuntimeBackend
from dannet_core.inference.backends.openvino_cache import cache_folder

pytest.importorskip("openvino", reason="runs .onnx models on a CPU: pip install openvino")
from dannet_core.inference.backends.openvino import OpenVinoBackend

IMAGE = np.random.default_rng(0).normal(0, 1, (1, 3, 64, 96)).astype(np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dannet" / "openvino"


def test_it_is_onnx_runtimes_output_and_the_choice_of_auto(tiny_onnx, night_rgb):
    ours, theirs = OpenVinoBackend(tiny_onnx), OnnxRuntimeBackend(tiny_onnx, "cpu")
    got, expected = ours.infer(IMAGE, with_relit=True), theirs.infer(IMAGE, with_relit=True)
    np.testing.assert_allclose(got.logits, expected.logits, atol=1e-5)
    np.testing.assert_allclose(got.relit, expected.relit, atol=1e-6)
    assert ours.infer(IMAGE, with_relit=False).relit is None
    with NightSegmenter.load(tiny_onnx, device="cpu") as segmenter:
        assert segmenter.backend_name == "openvino"
        reference = NightSegmenter(theirs).segment(night_rgb).labels
        np.testing.assert_array_equal(segmenter.segment(night_rgb).labels, reference)


def test_an_output_is_not_overwritten_by_the_next(tiny_onnx):
    backend = OpenVinoBackend(tiny_onnx, cache=False)
    first = backend.infer(IMAGE, with_relit=True)
    kept = first.logits.copy(), first.relit.copy()
    backend.infer(-IMAGE, with_relit=True)
    np.testing.assert_array_equal(first.logits, kept[0])
    np.testing.assert_array_equal(first.relit, kept[1])


def test_a_second_start_is_from_the_cache_and_another_model_of_that_name_is_not(tiny_onnx, tmp_path, cache):
    model = tmp_path / "m.onnx"
    shutil.copy(tiny_onnx, model)
    first = OpenVinoBackend(model).infer(IMAGE, False).logits
    again = OpenVinoBackend(model)
    assert again.from_cache
    np.testing.assert_array_equal(again.infer(IMAGE, False).logits, first)
    times = model.stat()
    data = bytearray(model.read_bytes())
    weights = data.index(np.float32(write_weights()).tobytes())
    data[weights : weights + 4] = np.float32(9).tobytes()
    model.write_bytes(data)
    os.utime(model, ns=(times.st_atime_ns, times.st_mtime_ns))
    changed = OpenVinoBackend(model)
    assert not changed.from_cache
    np.testing.assert_allclose(
        changed.infer(IMAGE, False).logits, OnnxRuntimeBackend(model, "cpu").infer(IMAGE, False).logits, atol=1e-4
    )
    assert len(list(cache.iterdir())) == 2


def write_weights() -> float:
    """The first weight of `tiny_onnx`."""
    return float(np.random.default_rng(3).normal(0, 3, (19, 3, 1, 1)).astype(np.float32).flat[0])


@pytest.mark.parametrize("damage", [slice(0, 2000), slice(0, 0), slice(0, -9), slice(1, None)])
def test_a_damaged_entry_is_compiled_anew(tiny_onnx, cache, damage, caplog):
    expected = OpenVinoBackend(tiny_onnx).infer(IMAGE, False).logits
    (entry,) = cache.iterdir()
    entry.write_bytes(entry.read_bytes()[damage])
    again = OpenVinoBackend(tiny_onnx)
    assert not again.from_cache
    assert "not usable, compiling anew" in caplog.text
    np.testing.assert_array_equal(again.infer(IMAGE, False).logits, expected)
    assert OpenVinoBackend(tiny_onnx).from_cache


def test_a_folder_that_cannot_be_written_is_no_failure(tiny_onnx, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level("INFO"):
        assert OpenVinoBackend(tiny_onnx).infer(IMAGE, False).logits.shape == (19, 8, 12)
    assert "the compiled model is not kept" in caplog.text
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder().is_absolute()


def divide_before_a_relu(path):
    """A graph that divides 0 by 0 in the dark, and has a ReLU after it: OpenVINO's is 0 for NaN."""
    onnx = pytest.importorskip("onnx")
    write_tiny_onnx(path, blind_in_the_dark=True)
    model = onnx.load(str(path))
    last = model.graph.node[-1]
    last.output[0] = "with_nan"
    model.graph.node.append(onnx.helper.make_node("Relu", ["with_nan"], ["stride_logits"]))
    onnx.save(model, str(path))


def test_nan_that_openvino_would_make_a_label_is_refused(tmp_path, night_rgb):
    divide_before_a_relu(tmp_path / "m.onnx")
    for _ in range(2):  # compiled, and from the cache
        with NightSegmenter(OpenVinoBackend(tmp_path / "m.onnx")) as segmenter:
            with pytest.raises(NotFiniteError, match="gave no labels for this picture: openvino: it divided by 0"):
                segmenter.segment(np.zeros((120, 200, 3), np.uint8))
            assert segmenter.segment(night_rgb).labels.max() < 19


def spoiled(path, spoil):
    """The tiny graph with some nodes and a ReLU behind its logits ``x``."""
    onnx = pytest.importorskip("onnx")
    write_tiny_onnx(path)
    model = onnx.load(str(path))
    constants = {"large": 1000.0, "rsqrt": -0.5, "huge": 1e15}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()
    )
    last = next(node for node in model.graph.node if "stride_logits" in node.output)
    last.output[0] = "x"
    for kind, inputs, output in spoil:
        model.graph.node.append(onnx.helper.make_node(kind, inputs, [output]))
    model.graph.node.append(onnx.helper.make_node("Relu", ["y"], ["stride_logits"]))
    onnx.save(model, str(path))


@pytest.mark.parametrize(
    "spoil",
    [
        [("Log", ["x"], "y")],
        [("Sqrt", ["x"], "y")],
        [("Pow", ["x", "rsqrt"], "y")],
        [("Mul", ["x", "large"], "l"), ("Exp", ["l"], "e"), ("Sub", ["e", "e"], "y")],
        [("Mul", ["x", "huge"], "a"), ("Mul", ["a", "a"], "b"), ("Mul", ["b", "b"], "c"), ("Sub", ["c", "c"], "y")],
    ],
    ids=["log", "root", "power", "exponent", "overflow"],
)
def test_whatever_makes_nan_before_a_relu_gives_no_labels(tmp_path, night_rgb, spoil):
    spoiled(tmp_path / "m.onnx", spoil)
    with NightSegmenter(OnnxRuntimeBackend(tmp_path / "m.onnx", "cpu")) as segmenter, pytest.raises(NotFiniteError):
        segmenter.segment(night_rgb)
    with NightSegmenter.load(tmp_path / "m.onnx", device="cpu") as segmenter, pytest.raises(NotFiniteError):
        segmenter.segment(night_rgb)


def test_weights_that_are_no_numbers_run_in_onnx_runtime(tiny_onnx, tmp_path, night_rgb):
    data = tiny_onnx.read_bytes().replace(np.float32(write_weights()).tobytes(), np.float32(np.nan).tobytes())
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(BackendError, match="holds NaN, infinity or more than 1e"):
        OpenVinoBackend(tmp_path / "m.onnx")
    with NightSegmenter.load(tmp_path / "m.onnx", device="cpu") as segmenter:
        assert segmenter.backend_name == "onnxruntime"
        assert "not openvino: openvino: m.onnx: constant" in segmenter.why
        with pytest.raises(NotFiniteError):
            segmenter.segment(night_rgb)


def test_devices_and_precisions_that_are_not_here_are_one_line(tiny_onnx):
    with pytest.raises(BackendError, match=r"device: got 'gpu.7', which OpenVINO does not see: expected one of .*cpu"):
        OpenVinoBackend(tiny_onnx, "gpu.7")
    with pytest.raises(BackendError, match=r"device: got 'cuda', expected auto, cpu, gpu, gpu\.N or npu"):
        OpenVinoBackend(tiny_onnx, "cuda")
    with pytest.raises(BackendError, match="precision: got 'fp64', expected one of fp32, bf16"):
        OpenVinoBackend(tiny_onnx, precision="fp64")


def test_closed_is_closed(tiny_onnx):
    backend = OpenVinoBackend(tiny_onnx)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="is closed"):
        backend.infer(IMAGE, False)


def test_it_computes_in_float32_with_the_threads_asked_for_and_idles_between_frames(tiny_onnx):
    backend = OpenVinoBackend(tiny_onnx, threads=1)
    assert backend._compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert "float32" in str(backend._compiled.get_property("INFERENCE_PRECISION_HINT"))
    backend.infer(IMAGE, False)
    used_s = time.process_time()
    time.sleep(1)
    assert time.process_time() - used_s < 0.2


def test_memory_does_not_grow(tiny_onnx):
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    backend = OpenVinoBackend(tiny_onnx)
    for _ in range(50):
        backend.infer(IMAGE, True)
    before = resident()
    for _ in range(200):
        backend.infer(IMAGE, True)
    assert resident() - before < 4 << 20


def test_a_signal_finds_its_stack_whichever_model_is_closed_first(tiny_onnx):
    """In a process of its own: with a freed stack the signal writes into whatever lies there now."""
    script = """
import ctypes, gc, pathlib, signal, sys
from dannet_core.inference.backends.openvino import OpenVinoBackend
class Stack(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
def stack():
    now = Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(now)) == 0
    return now.start, now.flags, now.size
first, second = (OpenVinoBackend(pathlib.Path(sys.argv[1]), cache=False) for _ in range(2))
opened = stack()
first.close(); del first; gc.collect()
second.close(); del second; gc.collect()
third = OpenVinoBackend(pathlib.Path(sys.argv[1]), cache=False)
assert stack() == opened, (stack(), opened)
taken = []
signal.signal(signal.SIGUSR1, lambda *_: taken.append(1))
for _ in range(20):
    signal.raise_signal(signal.SIGUSR1)
print(len(taken))
"""
    done = subprocess.run([sys.executable, "-c", script, str(tiny_onnx)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "20\n"), done.stderr[-500:]


def test_importing_it_opens_no_connection(tiny_onnx, tmp_path):
    script = f"""
import socket
class Refuse(socket.socket):
    def __init__(self, *_args, **_kwargs): raise SystemExit("a socket")
socket.socket = Refuse
from dannet_core.inference.backends.openvino import OpenVinoBackend
from pathlib import Path
OpenVinoBackend(Path({str(tiny_onnx)!r}))
"""
    environment = os.environ | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "c")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["c"]


def quantized(path):
    """A graph whose one convolution is INT8, with weights and a picture that overflow sums of 16 bits."""
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    write_tiny_onnx(path)
    model = onnx.load(str(path))
    graph = model.graph
    signs = np.where(np.arange(19) % 2, 127, -127).astype(np.int8)
    values = {
        "scale": np.float32(2 / 255),
        "zero": np.uint8(0),
        "weight_scale": np.float32(0.02),
        "weight_zero": np.int8(0),
        "integers": np.repeat(signs, 3).reshape(19, 3, 1, 1),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())
    old = list(graph.node)
    del graph.node[:]
    graph.node.extend(
        [
            old[0],
            helper.make_node("QuantizeLinear", ["pooled", "scale", "zero"], ["small"]),
            helper.make_node("DequantizeLinear", ["small", "scale", "zero"], ["back"]),
            helper.make_node("DequantizeLinear", ["integers", "weight_scale", "weight_zero"], ["weights"]),
            helper.make_node("Conv", ["back", "weights", "bias"], ["stride_logits"]),
            old[2],
        ]
    )
    onnx.save(model, str(path))


def test_int8_runs_as_int8_where_the_processor_adds_it_up_right_and_exactly_elsewhere(tmp_path):
    quantized(tmp_path / "m.onnx")
    backend, theirs = OpenVinoBackend(tmp_path / "m.onnx"), OnnxRuntimeBackend(tmp_path / "m.onnx", "cpu")
    bright = np.full((1, 3, 64, 96), 2, np.float32)
    kinds = {
        node.get_rt_info()["runtimePrecision"].astype(str)
        for node in backend._compiled.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].astype(str) == "Convolution"
    }
    assert kinds == {"f32"} if "no VNNI" in backend.remark else kinds <= {"u8", "i8"}
    weights = np.where(np.arange(19) % 2, 1, -1) * 127 * 0.02
    bias = theirs.infer(np.zeros((1, 3, 64, 96), np.float32), False).logits[:, 0, 0]
    expected = bias + 3 * 2 * weights
    np.testing.assert_allclose(backend.infer(bright, False).logits[:, 4, 5], expected, atol=1e-3)
    again = OpenVinoBackend(tmp_path / "m.onnx")
    assert (again.from_cache, again.remark) == (True, backend.remark)
    np.testing.assert_allclose(again.infer(bright, False).logits[:, 4, 5], expected, atol=1e-3)


def test_two_pictures_may_be_submitted_before_one_is_collected(tiny_onnx, night_rgb):
    other = np.ascontiguousarray(night_rgb[::-1, ::-1])
    with NightSegmenter.load(tiny_onnx, backend="openvino", device="cpu") as segmenter:
        alone = [segmenter.segment(picture) for picture in (night_rgb, other)]
        segmenter.submit(night_rgb)
        segmenter.submit(other)
        with pytest.raises(BackendError, match="2 pictures are in flight"):
            segmenter.submit(night_rgb)
        for expected in alone:
            got = segmenter.collect()
            np.testing.assert_array_equal(got.labels, expected.labels)
            np.testing.assert_array_equal(got.confidence, expected.confidence)
            np.testing.assert_array_equal(got.relit, expected.relit)


def test_without_the_package_it_is_one_line_and_auto_goes_on(tiny_onnx, night_rgb, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)  # as where it is not installed
    with pytest.raises(MissingPackageError, match=r"openvino.*pip install") as refused:
        NightSegmenter.load(tiny_onnx, backend="openvino", device="cpu")
    assert "\n" not in str(refused.value)
    with NightSegmenter.load(tiny_onnx, device="cpu") as segmenter:
        assert segmenter.backend_name == "onnxruntime"
        assert "not openvino: it is not installed (pip install openvino)" in segmenter.why
        assert segmenter.segment(night_rgb).labels.shape == night_rgb.shape[:2]
