"""How torch runs a network on CUDA, as far as it can be seen without: options, folding, graphs, marks."""

import contextlib
import copy
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest

from dannet_core import NightSegmenter
from dannet_core.errors import BackendError, SettingsError

torch = pytest.importorskip("torch", reason="runs networks: pip install torch")
from varied_network import LEAST_CLASSES, METADATA, num_classes_seen, varied_network  # noqa: E402

from dannet_core.inference.backends import pytorch  # noqa: E402
from dannet_core.inference.backends.pytorch import PyTorchBackend  # noqa: E402
from dannet_core.inference.backends.torch_graph import SIZES_KEPT, TorchGraph  # noqa: E402
from dannet_core.inference.backends.torch_options import TorchOptions, decide, set_up_process  # noqa: E402
from dannet_core.networks import DANNet, build_dannet  # noqa: E402
from dannet_core.networks.weights import save_weights  # noqa: E402


class WithoutAuxiliary(torch.nn.Sequential):
    def forward(self, x):
        return super().forward(x), None


class Slow(torch.nn.Module):
    def forward(self, x):
        time.sleep(0.05)
        return torch.nn.functional.avg_pool2d(x, 8).repeat(1, 7, 1, 1)[:, :19], None


@pytest.fixture
def net():
    torch.manual_seed(0)
    made = build_dannet("lraspp", backbone="mobilenet_v3_large", relighting_width=8)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return made


def test_everything_that_pays_is_on_by_itself_on_cuda_and_nothing_of_it_on_the_cpu():
    on_cuda, on_cpu = decide(TorchOptions(), True), decide(TorchOptions(), False)
    expected = TorchOptions("fp16", channels_last=True, graph=True, on_device=True, fold=True, kernels=True)
    assert on_cuda == expected
    assert on_cpu == TorchOptions("fp32", channels_last=False, graph=False, on_device=False, fold=False, kernels=False)
    asked = TorchOptions("bf16", channels_last=False, compile=True, fold=False, kernels=False)
    assert decide(asked, True) == TorchOptions(
        "bf16", channels_last=False, compile=True, graph=True, on_device=True, fold=False, kernels=False
    )


def test_cudnn_tries_its_algorithms_on_cuda_only(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    set_up_process(torch, "cpu", 0)
    assert not torch.backends.cudnn.benchmark
    set_up_process(torch, "cuda:1", 0)
    assert torch.backends.cudnn.benchmark


def test_folding_leaves_no_batch_norm_and_the_same_scores(net):
    image = np.random.default_rng(0).normal(0, 1, (1, 3, 96, 128)).astype(np.float32)
    plain = PyTorchBackend(copy.deepcopy(net), METADATA).infer(image, with_relit=True)
    options = TorchOptions(precision="fp32", graph=False, on_device=False, fold=True)
    backend = PyTorchBackend(net, METADATA, options=options)
    folded = backend.infer(image, with_relit=True)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in backend._net.modules())
    np.testing.assert_allclose(folded.logits, plain.logits, atol=1e-4)
    np.testing.assert_allclose(folded.relit, plain.relit, atol=1e-4)


def test_a_weight_too_large_for_fp16_is_named_or_keeps_auto_in_fp32(net, tmp_path, monkeypatch):
    with torch.no_grad():
        net.segmentation.low_classifier.weight[0, 0] = 1e5
    path = save_weights(net, tmp_path / "net.safetensors", METADATA)
    with pytest.raises(SettingsError, match=r"got 'fp16', but weight 'segmentation.low_classifier.weight' exceeds"):
        PyTorchBackend.open(path, "cpu", options=TorchOptions(precision="fp16"))
    # As on CUDA, with its settings decided, but on the CPU.
    decided = TorchOptions("fp16", graph=False, on_device=False, fold=True)
    monkeypatch.setattr(pytorch, "decide", lambda _options, _on_cuda: decided)
    backend = PyTorchBackend.open(path, "cpu")
    assert backend.precision == "fp32"
    assert backend.remark == "in fp32: weight 'segmentation.low_classifier.weight' exceeds fp16"


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999), ("fp16", 0.96), ("bf16", 0.8)])
def test_precisions_agree_on_a_network_that_could_disagree(precision, least, night_rgb):
    random = build_dannet("lraspp", backbone="mobilenet_v3_large", relighting_width=8)
    assert num_classes_seen(NightSegmenter(PyTorchBackend(random, METADATA)).segment(night_rgb).labels) < 3
    net = varied_network(night_rgb)
    expected = NightSegmenter(PyTorchBackend(copy.deepcopy(net), METADATA)).segment(night_rgb).labels
    assert num_classes_seen(expected) >= LEAST_CLASSES
    options = TorchOptions(precision=precision, channels_last=True, graph=False, on_device=True, fold=True)
    labels = NightSegmenter(PyTorchBackend(copy.deepcopy(net), METADATA, options=options)).segment(night_rgb).labels
    assert (labels == expected).mean() >= least
    # What a wrong network would say: the same one with its picture upside down.
    turned = np.ascontiguousarray(night_rgb[::-1])
    wrong = NightSegmenter(PyTorchBackend(net, METADATA)).segment(turned).labels
    assert (wrong == expected).mean() < 0.5


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles C++ on a CPU: apt install g++")
def test_a_compiled_network_gives_the_same_labels(night_rgb):
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Conv2d(3, 19, 1), torch.nn.BatchNorm2d(19))
    net = DANNet(torch.nn.Conv2d(3, 3, 3, padding=1), WithoutAuxiliary(layers)).eval()
    expected = NightSegmenter(PyTorchBackend(copy.deepcopy(net), METADATA)).segment(night_rgb).labels
    assert num_classes_seen(expected) >= 2
    options = TorchOptions(precision="fp32", graph=False, on_device=True, fold=True, compile=True)
    labels = NightSegmenter(PyTorchBackend(net, METADATA, options=options)).segment(night_rgb).labels
    assert (labels == expected).mean() >= 0.999


class Mark:
    """An event of a GPU that does everything at once."""

    def record(self):
        self.at_s = time.perf_counter()

    def elapsed_time(self, end):
        return (end.at_s - self.at_s) * 1e3


def test_profiling_times_the_network_alone_and_says_where_it_cannot(night_rgb):
    options = TorchOptions(precision="fp32", graph=False, on_device=True)
    backend = PyTorchBackend(DANNet(torch.nn.Identity(), Slow()).eval(), METADATA, options=options)
    segmenter = NightSegmenter(backend)
    assert not segmenter.set_profiling(True)
    assert set(segmenter.segment(night_rgb).timings_ms) == {"preprocess", "infer", "postprocess"}
    backend._new_mark = Mark
    assert segmenter.set_profiling(True)
    times = segmenter.segment(night_rgb).timings_ms
    stages = [name for name in times if name.startswith("device_")]
    assert stages == [f"device_{name}" for name in ("upload", "preprocess", "infer", "postprocess", "download")]
    assert times["device_infer"] >= 50
    # The wait after submit is something else.
    assert times["infer"] < 50
    segmenter.submit(night_rgb)
    with pytest.raises(BackendError, match="profiling: 1 frames are in flight: collect them first"):
        segmenter.set_profiling(False)
    segmenter.collect()
    assert segmenter.set_profiling(False)
    assert len(segmenter.segment(night_rgb).timings_ms) == 3


class Cuda:
    """torch.cuda with graphs whose replay is the function once more, into the memory of its first outputs."""

    def __init__(self, refuse=False):
        self.refuse, self.modes, self.synchronized, self.calls = refuse, [], 0, []
        self.CUDAGraph = lambda: SimpleNamespace(replay=None)

    def Stream(self):  # noqa: N802  torch's name
        return SimpleNamespace(wait_stream=lambda _other: None)

    def current_stream(self):
        def synchronize():
            self.synchronized += 1

        return SimpleNamespace(wait_stream=lambda _other: None, synchronize=synchronize)

    def stream(self, _stream):
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def graph(self, graph, capture_error_mode="global"):
        self.modes.append(capture_error_mode)
        if self.refuse:
            raise RuntimeError("operation not permitted when stream is capturing\nat line 3")
        yield
        static, output = self.calls[-1]
        graph.replay = lambda: output.copy_(self.work(static))

    @staticmethod
    def work(image):
        return image * 2 + 1

    def function(self, image):
        assert image.dtype == torch.bfloat16
        assert image.is_contiguous(memory_format=torch.channels_last)
        self.calls.append((image, self.work(image)))
        return self.calls[-1][1]


def prepare(image):
    return image.to(dtype=torch.bfloat16, memory_format=torch.channels_last)


def test_a_graph_is_captured_in_this_threads_name_only_and_gives_what_the_function_does():
    cuda = Cuda()
    graph = TorchGraph(SimpleNamespace(cuda=cuda), cuda.function, prepare)
    for size in [8, 8, 12, 8, 16]:
        image = torch.randn(1, 3, size, size)
        torch.testing.assert_close(graph(image), Cuda.work(prepare(image)))
    assert graph.refused == ""
    assert cuda.modes == ["thread_local"] * 3
    assert len(graph._captured) == SIZES_KEPT
    # What goes may still be at work.
    assert cuda.synchronized == 1


def test_a_graph_that_cannot_be_captured_is_run_as_a_function_and_says_why():
    cuda = Cuda(refuse=True)
    graph = TorchGraph(SimpleNamespace(cuda=cuda), cuda.function, prepare)
    for _ in range(2):
        image = torch.randn(1, 3, 8, 8)
        torch.testing.assert_close(graph(image), Cuda.work(prepare(image)))
    assert graph.refused == "operation not permitted when stream is capturing"
    assert len(cuda.modes) == 1
