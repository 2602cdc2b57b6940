"""Both ends of a frame by the project's kernels in torch's memory: compiled for the host, run on CPU tensors."""

import copy
import ctypes
from types import SimpleNamespace

import numpy as np
import pytest
from host_device import JOBS

from dannet_core import NightSegmenter, preset
from dannet_core.errors import BackendError, EngineError, NotFiniteError
from dannet_core.inference.backends import driver_kernels
from dannet_core.inference.backends.driver_kernels import DriverKernels, open_kernels
from dannet_core.inference.camera_image import DEEP_ENCODINGS, ENCODINGS, CameraImage
from dannet_core.inference.frame import EXTRA_OUTPUTS, FrameRequest
from dannet_core.inference.kernels.jobs import CameraJob
from dannet_core.metadata import ModelMetadata
from dannet_core.pixels import overlay
from dannet_core.tone import ToneMapper

torch = pytest.importorskip("torch", reason="these are torch tensors: pip install torch")
from tiny_network import tiny_network  # noqa: E402

from dannet_core.inference.backends import pytorch  # noqa: E402
from dannet_core.inference.backends.pytorch import PyTorchBackend  # noqa: E402
from dannet_core.inference.backends.torch_frame import TorchFrame  # noqa: E402
from dannet_core.inference.backends.torch_kernels import PLANS_KEPT, KernelFrame, check_agreement  # noqa: E402
from dannet_core.inference.backends.torch_options import TorchOptions  # noqa: E402

PAPER = preset("paper")
METADATA = ModelMetadata("lraspp", "mobilenet_v3_large")
ON_DEVICE = TorchOptions(precision="fp32", graph=False, on_device=True)


class HostLauncher:
    """Runs a kernel at once, on the memory of CPU tensors."""

    def __init__(self, kernels, broken=""):
        self.kernels, self.broken, self.launched, self.closed = kernels, broken, [], 0

    def close(self):
        self.closed += 1

    def launch(self, kernel, job, grid, shared_bytes):
        assert min(grid) > 0
        assert shared_bytes <= 48 * 1024
        self.launched.append(kernel)
        job = JOBS[kernel].from_buffer_copy(job)
        self.kernels.run(kernel, job)
        if kernel == self.broken:
            ctypes.memset(getattr(job, "network" if kernel == "camera_to_network" else "labels"), 3, 6000)


@pytest.fixture(scope="module")
def light_net():
    return tiny_network()


@pytest.fixture
def by_kernels(light_net, host_kernels):
    """Makes a segmenter whose ends are kernels, and its launcher."""

    def make(options=ON_DEVICE, net=light_net, settings=PAPER):
        backend, launcher = PyTorchBackend(net, METADATA, options=options), HostLauncher(host_kernels)
        half = options.precision == "fp16"
        backend._frame = KernelFrame(torch, METADATA, "cpu", launcher, half=half)
        assert backend.ends_by == "kernels"
        return NightSegmenter(backend, settings), launcher

    return make


def camera_of(encoding, height=120, width=200):
    kind, samples = ENCODINGS[DEEP_ENCODINGS.get(encoding, encoding)], 2 if encoding in DEEP_ENCODINGS else 1
    step = width * kind.bytes_per_pixel * samples + 6
    data = np.random.default_rng(3).integers(0, 256, int(height * kind.rows_per_row) * step, dtype=np.uint8)
    return CameraImage(data, height, width, step, encoding).toned(ToneMapper())


@pytest.mark.parametrize("encoding", [*ENCODINGS, *DEEP_ENCODINGS])
def test_frames_of_every_encoding_are_what_the_cpu_path_makes(by_kernels, light_net, encoding, monkeypatch):
    camera = camera_of(encoding)
    reference = NightSegmenter(PyTorchBackend(light_net, METADATA)).segment(camera, outputs=EXTRA_OUTPUTS)
    rgb = camera.to_rgb()
    segmenter, launcher = by_kernels()
    monkeypatch.setattr(CameraImage, "to_rgb", lambda _camera: pytest.fail("decoded on the CPU"))
    for _ in range(2):
        ours = segmenter.segment(camera, outputs=EXTRA_OUTPUTS)
    assert launcher.launched == ["camera_to_network", "logits_to_outputs"] * 2
    assert (ours.labels == reference.labels).mean() >= 0.995
    np.testing.assert_allclose(ours.outputs["confidence"], reference.outputs["confidence"], atol=0.02)
    np.testing.assert_array_equal(ours.outputs["color"], ours.colorize())
    assert np.abs(ours.outputs["overlay"].astype(int) - overlay(rgb, ours.labels)).max() <= 1


def test_closing_waits_for_what_is_in_flight_and_gives_the_kernels_back(by_kernels, night_rgb):
    segmenter, launcher = by_kernels()
    waited = []
    segmenter._backend._done = lambda: SimpleNamespace(synchronize=lambda: waited.append(launcher.closed))
    segmenter.submit(night_rgb)
    segmenter.submit(night_rgb)
    for _ in range(2):
        segmenter.close()
    assert waited == [0, 0]
    assert launcher.closed == 1
    with pytest.raises(BackendError, match="closed: load the model again"):
        segmenter.segment(night_rgb)


def test_two_frames_in_flight_keep_apart_and_the_pixels_are_the_callers_again(by_kernels, night_rgb):
    segmenter, _ = by_kernels()
    other = np.ascontiguousarray(night_rgb[::-1])
    expected = [segmenter.segment(one).labels for one in (night_rgb, other)]
    segmenter.submit(night_rgb)
    segmenter.submit(other)
    for labels in expected:
        np.testing.assert_array_equal(segmenter.collect().labels, labels)


def test_min_confidence_and_the_filter_reach_the_kernels(by_kernels, light_net, night_rgb):
    plain = NightSegmenter(PyTorchBackend(light_net, METADATA), preset("official"))
    threshold = float(np.median(plain.segment(night_rgb).confidence))
    plain.settings = settings = preset("official", min_confidence=threshold)
    segmenter, _ = by_kernels(settings=settings)
    ours, theirs = segmenter.segment(night_rgb), plain.segment(night_rgb)
    assert 0.2 < (ours.labels == 255).mean() < 0.8
    assert (ours.labels == theirs.labels).mean() >= 0.98


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_and_channels_last_go_through_the_kernels(by_kernels, light_net, night_rgb, precision):
    options = TorchOptions(precision=precision, channels_last=True, graph=False, on_device=True)
    segmenter, _ = by_kernels(options, copy.deepcopy(light_net))
    full = NightSegmenter(PyTorchBackend(light_net, METADATA)).segment(night_rgb)
    half = segmenter.segment(night_rgb)
    assert len(np.unique(full.labels)) >= 4
    assert (half.labels == full.labels).mean() > (0.97 if precision == "fp16" else 0.8)


def test_logits_in_channels_last_are_read_as_what_they_are(host_kernels, night_rgb):
    frame = KernelFrame(torch, METADATA, "cpu", HostLauncher(host_kernels), half=False)
    picture, request = frame.upload(CameraImage.from_rgb(night_rgb)), FrameRequest(preset("paper"), (64, 96))
    frame.preprocess(picture, request)
    logits = torch.randn(1, 19, 8, 12)
    last = logits.to(memory_format=torch.channels_last)
    planes, last = (frame.postprocess(one[0], picture, request) for one in (logits, last))
    np.testing.assert_array_equal(planes["labels"].numpy(), last["labels"].numpy())


def test_a_frame_without_numbers_is_failed_and_the_next_one_is_not(by_kernels, light_net, night_rgb):
    net = copy.deepcopy(light_net)
    segmenter, _ = by_kernels(net=net)
    expected = segmenter.segment(night_rgb).labels
    convolution = net.segmentation.layers[1]
    with torch.no_grad():
        kept, convolution.bias[4] = float(convolution.bias[4]), torch.nan
    with pytest.raises(NotFiniteError, match="stride_logits: "):
        segmenter.segment(night_rgb)
    with torch.no_grad():
        convolution.bias[4] = kept
    np.testing.assert_array_equal(segmenter.segment(night_rgb).labels, expected)


def test_tables_of_formats_long_gone_are_dropped(host_kernels):
    frame = KernelFrame(torch, METADATA, "cpu", HostLauncher(host_kernels), half=False)
    request = FrameRequest(preset("paper"), (64, 96))
    for width in range(100, 130):
        frame.preprocess(frame.upload(camera_of("rgb8", 80, width)), request)
    assert len(frame._plans) == PLANS_KEPT


@pytest.mark.parametrize("half", [False, True])
def test_kernels_that_compute_what_torch_does_are_taken_and_others_refused(host_kernels, half):
    operations = TorchFrame(METADATA, "cpu")
    good = KernelFrame(torch, METADATA, "cpu", HostLauncher(host_kernels), half=half)
    check_agreement(torch, good, operations, METADATA)
    for broken in ("camera_to_network", "logits_to_outputs"):
        frame = KernelFrame(torch, METADATA, "cpu", HostLauncher(host_kernels, broken), half=half)
        with pytest.raises(BackendError, match="the kernels differ from torch operations: "):
            check_agreement(torch, frame, operations, METADATA)


def test_where_kernels_cannot_be_had_torch_operations_take_over_and_the_reason_is_kept(
    light_net, night_rgb, monkeypatch, host_kernels
):
    asked = TorchOptions(precision="fp32", graph=False, on_device=True, kernels=True)
    monkeypatch.setattr(driver_kernels, "find_nvrtc", lambda: None)
    backend = PyTorchBackend(light_net, METADATA, options=asked)
    assert backend.ends_by == "torch"
    assert backend.remark.startswith("torch operations around the network: NVRTC is not found: pip install nvidia-")
    with NightSegmenter(backend) as segmenter:
        expected = segmenter.segment(night_rgb).labels
    monkeypatch.setattr(driver_kernels, "find_nvrtc", lambda: ctypes.CDLL("/absent/libnvrtc.so.13"))
    damaged = PyTorchBackend(light_net, METADATA, options=asked)
    assert damaged.remark.startswith("torch operations around the network: NVRTC cannot be loaded: /absent/libnvrtc")
    monkeypatch.setattr(pytorch, "open_kernels", lambda _torch, _device: HostLauncher(host_kernels))
    backend = PyTorchBackend(light_net, METADATA, options=asked)
    assert (backend.ends_by, backend.remark) == ("kernels", "")
    with NightSegmenter(backend) as segmenter:
        assert (segmenter.segment(night_rgb).labels == expected).mean() >= 0.999


def test_a_lost_gpu_is_not_a_reason_to_go_on(light_net, monkeypatch):
    def lost(_torch, _device):
        raise EngineError("cuda: kernel: an illegal memory access", fatal=True)

    monkeypatch.setattr(pytorch, "open_kernels", lost)
    with pytest.raises(EngineError, match="illegal memory access"):
        PyTorchBackend(light_net, METADATA, options=TorchOptions(precision="fp32", on_device=True, kernels=True))


class Driver:
    """Answers as libcuda does, and checks what it is given."""

    def __init__(self, status=0):
        self.status, self.launches, self.unloaded = status, [], []

    def cuModuleUnload(self, module):  # noqa: N802  the driver's name
        self.unloaded.append(module.value)
        return 0

    def cuModuleLoadData(self, module, image):  # noqa: N802  the driver's name
        assert image == b"cubin"
        module._obj.value = 11
        return 0

    def cuModuleGetFunction(self, function, module, name):  # noqa: N802  the driver's name
        assert module.value == 11
        function._obj.value = {b"camera_to_network": 21, b"logits_to_outputs": 22}[name]
        return 0

    def cuLaunchKernel(self, function, *rest):  # noqa: N802  the driver's name
        *sizes, stream, parameters, extra = rest
        job = CameraJob.from_address(parameters[0])
        self.launches.append((function.value, [size.value for size in sizes], stream.value, job.out_width, extra))
        return self.status

    def cuGetErrorString(self, code, text):  # noqa: N802  the driver's name
        text._obj.value = {1: b"invalid argument", 700: b"an illegal memory access was encountered"}[code]
        return 0


def test_a_launch_hands_the_driver_grid_block_stream_and_the_whole_job():
    driver = Driver()
    kernels = DriverKernels(driver, b"cubin", lambda: 77)
    kernels.launch("camera_to_network", bytes(CameraJob(out_width=960)), (30, 68), 4096)
    assert driver.launches == [(21, [30, 68, 1, 32, 8, 1, 4096], 77, 960, None)]
    for _ in range(2):
        kernels.close()
    assert driver.unloaded == [11]


@pytest.mark.parametrize(("status", "fatal"), [(1, False), (700, True)])
def test_what_the_driver_says_of_a_launch_is_an_engine_error(status, fatal):
    kernels = DriverKernels(Driver(status), b"cubin", lambda: 0)
    with pytest.raises(EngineError, match="cuda: kernel logits_to_outputs: cuLaunchKernel failed: ") as error:
        kernels.launch("logits_to_outputs", bytes(ctypes.sizeof(CameraJob)), (1, 1), 0)
    assert error.value.fatal == fatal


def test_kernels_are_compiled_for_the_gpu_that_torch_runs_on(monkeypatch):
    if driver_kernels.find_nvrtc() is None:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc")
    loaded = []

    class Loading(Driver):
        def cuModuleLoadData(self, module, image):  # noqa: N802  the driver's name
            loaded.append(image)
            return super().cuModuleLoadData(module, b"cubin")

    monkeypatch.setattr(driver_kernels, "open_driver", Loading)
    cuda = SimpleNamespace(
        get_device_capability=lambda device: {"cuda:1": (9, 0)}[device],
        current_stream=lambda device: SimpleNamespace(cuda_stream={"cuda:1": 5}[device]),
    )
    kernels = open_kernels(SimpleNamespace(cuda=cuda), "cuda:1")
    assert loaded[0][:4] == b"\x7fELF"
    kernels.launch("camera_to_network", bytes(CameraJob(out_width=64)), (2, 8), 0)
    assert kernels._driver.launches == [(21, [2, 8, 1, 32, 8, 1, 0], 5, 64, None)]
