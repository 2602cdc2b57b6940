"""On a real GPU: the kernels, torch's path, and an engine built and run. `python -m pytest -m gpu`."""

import numpy as np
import pytest
from host_device import uploaded

from dannet_core import NightSegmenter
from dannet_core.classes import CITYSCAPES_CLASS_SHARES
from dannet_core.inference.camera_image import DEEP_ENCODINGS, ENCODINGS, CameraImage
from dannet_core.inference.frame import EXTRA_OUTPUTS
from dannet_core.inference.gpu import find_gpu
from dannet_core.inference.kernels.jobs import camera_launch, label_launch
from dannet_core.inference.postprocess import class_scaling, scale_logits, upsample_confidence, upsample_labels
from dannet_core.inference.preprocess import preprocess
from dannet_core.pixels import IMAGENET_STD, overlay
from dannet_core.tone import ToneMapper

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _gpu():
    if find_gpu() is None:
        pytest.skip("no NVIDIA GPU")


@pytest.fixture
def device():
    pytest.importorskip("pycuda.driver", reason="pip install 'dannet_ros[gpu]'")
    from dannet_core.inference.backends.cuda_device import CudaDevice

    gpu = CudaDevice()
    yield gpu
    gpu.close()


@pytest.fixture
def engine(tiny_onnx, tmp_path):
    pytest.importorskip("pycuda.driver", reason="pip install 'dannet_ros[gpu]'")
    from dannet_core.deploy.engine_build import BuildOptions, build_engine
    from dannet_core.inference.tensorrt_flavour import choose_flavour_to_build

    pytest.importorskip(choose_flavour_to_build(), reason="no TensorRT")
    return build_engine(tiny_onnx, tmp_path / "tiny.engine", BuildOptions()).path


def on_device(device, stream, arrays):
    buffers = {}
    for name, values in arrays.items():
        array = np.ascontiguousarray(values)
        buffers[name] = device.allocate(array.nbytes)
        device.upload(buffers[name], array, stream)
    return buffers


def fetch(device, stream, buffer, shape, kind):
    host = np.empty(shape, kind)
    done = device.event()
    device.download(host, buffer, stream)
    device.record(done, stream)
    device.synchronize(done)
    return host


@pytest.mark.parametrize("resize", ["area", "antialiased"])
@pytest.mark.parametrize("encoding", [*ENCODINGS, *DEEP_ENCODINGS])
def test_camera_kernel_equals_the_cpu_path(device, camera_format, encoding, resize):
    kind, height, width = ENCODINGS[DEEP_ENCODINGS.get(encoding, encoding)], 1080, 1920
    step = width * kind.bytes_per_pixel * (2 if encoding in DEEP_ENCODINGS else 1) + 64
    data = np.random.default_rng(0).integers(0, 256, int(height * kind.rows_per_row) * step, dtype=np.uint8)
    camera = CameraImage(data, height, width, step, encoding).toned(ToneMapper())
    launch = camera_launch(camera_format(camera), (540, 960), False, resize)
    stream = device.stream()
    buffers = on_device(device, stream, {"camera": uploaded(camera), "out": np.full((3, 540, 960), np.nan, np.float32)})
    tables = on_device(device, stream, launch.tables)  # kept: memory is given back with the last reference to it
    addresses = {name: buffer.address for name, buffer in tables.items()}
    job = launch.job(buffers["camera"].address, buffers["out"].address, addresses)
    device.launch("camera_to_network", bytes(job), launch.grid, launch.shared_bytes, stream)
    ours = fetch(device, stream, buffers["out"], (3, 540, 960), np.float32)
    difference = np.abs(ours - preprocess(camera.to_rgb(), (540, 960), resize)[0]) * (IMAGENET_STD * 255)[:, None, None]
    assert difference.max() <= 1.01


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("align_corners", [True, False])
def test_label_kernel_equals_the_cpu_path(device, camera_format, align_corners, kind):
    import cv2

    rng = np.random.default_rng(0)
    coarse = rng.normal(0, 4, (9, 14, 19)).astype(np.float32)
    logits = np.stack([cv2.resize(coarse[..., k], (120, 68), interpolation=cv2.INTER_CUBIC) for k in range(19)])
    logits = logits.astype(kind)
    rgb = rng.integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    camera = CameraImage.from_rgb(rgb)
    scaling = class_scaling("probabilities", CITYSCAPES_CLASS_SHARES, 0.16)
    launch = label_launch(camera_format(camera), logits.shape, kind == np.float16, align_corners)
    kinds = {
        "labels": np.zeros((1080, 1920), np.uint8),
        "confidence": np.zeros((1080, 1920), np.float32),
        "overlay": np.zeros((1080, 1920, 3), np.uint8),
    }
    stream = device.stream()
    inputs = on_device(device, stream, {"camera": camera.data, "logits": logits})
    tables = on_device(device, stream, {**launch.tables, "factor": scaling.factor, "offset": scaling.offset})
    outputs = on_device(device, stream, kinds)
    job = launch.job(
        inputs["camera"].address,
        inputs["logits"].address,
        {name: buffer.address for name, buffer in tables.items()},
        {name: buffer.address for name, buffer in outputs.items()},
        0.0,
        0.5,
    )
    device.launch("logits_to_outputs", bytes(job), launch.grid, launch.shared_bytes, stream)
    made = {name: fetch(device, stream, outputs[name], like.shape, like.dtype) for name, like in kinds.items()}
    scores = scale_logits(logits.astype(np.float32), scaling)
    assert (made["labels"] == upsample_labels(scores, (1080, 1920), align_corners)).mean() >= 0.9999
    np.testing.assert_allclose(made["confidence"], upsample_confidence(scores, (1080, 1920), align_corners), atol=1e-4)
    assert np.abs(made["overlay"].astype(int) - overlay(rgb, made["labels"])).max() <= 1


def test_an_engine_labels_as_onnx_runtime_does_alone_and_overlapped(engine, tiny_onnx, night_rgb):
    other = np.ascontiguousarray(night_rgb[::-1])
    with NightSegmenter.load(tiny_onnx, device="cpu") as reference, NightSegmenter.load(engine) as segmenter:
        expected = [reference.segment(rgb, outputs=EXTRA_OUTPUTS) for rgb in (night_rgb, other)]
        for _ in range(4):
            ours = segmenter.segment(night_rgb, outputs=EXTRA_OUTPUTS)
        assert segmenter.graph_state() == ""
        assert (ours.labels == expected[0].labels).mean() >= 0.999
        np.testing.assert_allclose(ours.outputs["confidence"], expected[0].confidence, atol=0.02)
        labels = []
        segmenter.submit(night_rgb)
        for rgb in [other, night_rgb] * 10:
            segmenter.submit(rgb)
            labels.append(segmenter.collect().labels)
        labels.append(segmenter.collect().labels)
    for index, one in enumerate(labels):
        assert (one == expected[index % 2].labels).mean() >= 0.999


def test_gpu_memory_stays_the_same_over_frames_and_comes_back_at_the_end(engine, night_rgb):
    from dannet_core.inference.backends.cuda_device import CudaDevice

    watcher = CudaDevice()
    segmenter = NightSegmenter.load(engine)
    segmenter.warm_up(night_rgb.shape[:2])
    warm_mib = segmenter.memory_mib()
    for _ in range(500):
        segmenter.segment(night_rgb)
    assert segmenter.memory_mib() <= warm_mib + 1
    segmenter.close()
    free_after, total = watcher.memory_mib()
    assert total - free_after < warm_mib
    watcher.close()


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "torch operations"])
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999), ("fp16", 0.96), ("bf16", 0.8)])
def test_torch_on_cuda_labels_as_on_the_cpu(precision, least, kernels, night_rgb, monkeypatch):
    torch = pytest.importorskip("torch", reason="pip install torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    import copy

    from varied_network import LEAST_CLASSES, METADATA, num_classes_seen, varied_network

    from dannet_core.inference.backends.pytorch import PyTorchBackend, TorchOptions

    # In TF32, torch's default for convolutions, fp32 is no nearer than fp16.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    net = varied_network(night_rgb)
    expected = NightSegmenter(PyTorchBackend(copy.deepcopy(net), METADATA)).segment(night_rgb)
    assert num_classes_seen(expected.labels) >= LEAST_CLASSES
    options = TorchOptions(precision=precision, channels_last=True, on_device=True, fold=True, kernels=kernels)
    backend = PyTorchBackend(net.cuda(), METADATA, "cuda", options)
    assert (backend.ends_by, backend.remark) == ("kernels" if kernels else "torch", "")
    with NightSegmenter(backend) as segmenter:
        results = [segmenter.segment(night_rgb) for _ in range(3)]
        assert segmenter.graph_state() == ""
    for result in results:
        assert (result.labels == expected.labels).mean() >= least


def test_torch_on_cuda_times_the_network_by_events(night_rgb):
    torch = pytest.importorskip("torch", reason="pip install torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    from varied_network import METADATA, varied_network

    from dannet_core.inference.backends.pytorch import PyTorchBackend, TorchOptions
    from dannet_core.inference.backends.torch_options import decide

    net = varied_network(night_rgb).cuda()
    with NightSegmenter(PyTorchBackend(net, METADATA, "cuda", decide(TorchOptions(), True))) as segmenter:
        segmenter.warm_up(night_rgb.shape[:2])
        assert segmenter.set_profiling(True)
        times = segmenter.segment(night_rgb).timings_ms
    assert 0 < times["device_infer"] < 1000
    assert {"device_upload", "device_preprocess", "device_postprocess", "device_download"} <= set(times)
