"""The torch operations around the network, on the CPU, against the NumPy paths."""

import numpy as np
import pytest

from dannet_core import NightSegmenter, preset
from dannet_core.classes import CITYSCAPES_CLASS_SHARES
from dannet_core.errors import BackendError, SettingsError
from dannet_core.inference.camera_image import ENCODINGS, CameraImage
from dannet_core.inference.frame import EXTRA_OUTPUTS, FrameRequest
from dannet_core.inference.postprocess import class_scaling, scale_logits, upsample_confidence, upsample_labels
from dannet_core.inference.preprocess import preprocess
from dannet_core.metadata import ModelMetadata
from dannet_core.pixels import IMAGENET_STD, colorize, overlay

torch = pytest.importorskip("torch", reason="these are torch operations: pip install torch")
from tiny_network import TinySegmentation, tiny_network  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from dannet_core.inference.backends.pytorch import PyTorchBackend, TorchOptions  # noqa: E402
from dannet_core.inference.backends.torch_frame import TorchFrame  # noqa: E402
from dannet_core.networks import DANNet  # noqa: E402
from dannet_core.networks.relighting import NoRelighting  # noqa: E402
from dannet_core.tone import ToneMapper  # noqa: E402

METADATA = ModelMetadata("lraspp", "mobilenet_v3_large")
ON_DEVICE = TorchOptions(precision="fp32", graph=False, on_device=True)


def camera_of(encoding: str, height: int, width: int) -> CameraImage:
    kind = ENCODINGS[encoding]
    step = width * kind.bytes_per_pixel + 6
    data = np.random.default_rng(3).integers(0, 256, int(height * kind.rows_per_row) * step, dtype=np.uint8)
    return CameraImage(data, height, width, step, encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_becomes_the_same_rgb(encoding):
    camera = camera_of(encoding, 66, 84)
    np.testing.assert_array_equal(TorchFrame(METADATA, "cpu").upload(camera).numpy(), camera.to_rgb())


class Operations(TorchDispatchMode):
    """Notes every operation on tensors."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_frame_that_is_not_the_first_takes_nothing_but_its_pixels_from_the_cpu(encoding):
    frame, camera = TorchFrame(METADATA, "cpu"), camera_of(encoding, 66, 84)
    request = FrameRequest(preset("paper"), (64, 80), frozenset(EXTRA_OUTPUTS))
    logits = torch.randn(19, 8, 10)
    frame.postprocess(logits, frame.upload(camera), request)
    frame.preprocess(frame.upload(camera), request)
    with Operations() as seen:
        picture = frame.upload(camera)
        frame.preprocess(picture, request)
        arrived = len(seen.names)
        frame.postprocess(logits, picture, request)
    # An index made of a list becomes a tensor on the CPU, which a GPU would wait for.
    assert not [name for name in seen.names[:arrived] if name.startswith("aten.index.Tensor")]
    assert not [name for name in seen.names[arrived:] if name.startswith("aten.lift")]
    assert not [name for name in seen.names if "local_scalar" in name or "nonzero" in name]


@pytest.mark.parametrize("encoding", ["rgb16", "mono16", "bayer_gbrg16"])
def test_samples_of_16_bits_are_mapped_before_they_are_uploaded(encoding):
    data = np.random.default_rng(3).integers(0, 256, 66 * 600, dtype=np.uint8)
    camera = CameraImage(data, 66, 84, 600, encoding).toned(ToneMapper())
    np.testing.assert_array_equal(TorchFrame(METADATA, "cpu").upload(camera).numpy(), camera.to_rgb())


@pytest.mark.parametrize(
    ("encoding", "step", "rows"),
    [("nv12", 96, 96), ("uyvy", 192, 64), ("bayer_rggb8", 96, 64), ("bayer_gbrg16", 192, 64)],
)
def test_a_picture_decoded_on_the_way_lives_as_long_as_what_was_uploaded(encoding, step, rows):
    data = np.random.default_rng(3).integers(0, 256, rows * step, dtype=np.uint8)
    camera = CameraImage(data, 64, 96, step, encoding)
    camera = camera.toned(ToneMapper())
    for _ in range(20):
        uploaded = TorchFrame(METADATA, "cpu").upload(camera)
        others = [np.full((64, 96, 3), 255, np.uint8) for _ in range(10)]  # they take what was given back
        np.testing.assert_array_equal(uploaded.numpy(), camera.to_rgb())
    assert all(other.all() for other in others)


@pytest.mark.parametrize("resize", ["area", "antialiased"])
@pytest.mark.parametrize("target", [(108, 192), (216, 384), (81, 144), (256, 448), (64, 400)])
def test_network_input_is_within_a_byte_of_the_numpy_path(target, resize):
    camera = camera_of("bgr8", 216, 384)
    frame = TorchFrame(METADATA, "cpu")
    ours = frame.preprocess(frame.upload(camera), FrameRequest(preset("paper", resize=resize), target)).numpy()
    difference = np.abs(ours - preprocess(camera.to_rgb(), target, resize)) * (IMAGENET_STD * 255)[:, None, None]
    assert difference.max() <= 1.001
    assert difference.mean() < 0.25  # newer versions of Pillow sometimes filter columns before rows


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("method", ["probabilities", "logits", "none"])
def test_outputs_equal_the_numpy_path(method, align_corners):
    rng = np.random.default_rng(5)
    coarse = torch.from_numpy(rng.normal(0, 4, (1, 19, 4, 6)).astype(np.float32))
    logits = torch.nn.functional.interpolate(coarse, (20, 33), mode="bicubic")[0]
    camera = camera_of("rgb8", 160, 264)
    settings = preset("paper", reweight=method)
    frame = TorchFrame(METADATA.replace(align_corners=align_corners), "cpu")
    request = FrameRequest(settings, (160, 264), frozenset(EXTRA_OUTPUTS), 0.3)
    made = {name: value.numpy() for name, value in frame.postprocess(logits, frame.upload(camera), request).items()}
    scores = scale_logits(logits.numpy(), class_scaling(method, CITYSCAPES_CLASS_SHARES, 0.16))
    assert (made["labels"] == upsample_labels(scores, (160, 264), align_corners)).mean() >= 0.9999
    np.testing.assert_allclose(made["confidence"], upsample_confidence(scores, (160, 264), align_corners), atol=1e-4)
    np.testing.assert_array_equal(made["color"], colorize(made["labels"]))
    assert np.abs(made["overlay"].astype(int) - overlay(camera.to_rgb(), made["labels"], 0.3)).max() <= 1
    assert np.abs(made["confidence_bytes"] - made["confidence"] * 255).max() <= 0.51


@pytest.fixture(scope="module")
def light_net():
    return tiny_network()


def test_whole_frames_on_the_device_are_what_the_cpu_path_makes(light_net, night_rgb):
    ours = NightSegmenter(PyTorchBackend(light_net, METADATA, options=ON_DEVICE))
    theirs = NightSegmenter(PyTorchBackend(light_net, METADATA))
    mine, reference = (one.segment(night_rgb, outputs=EXTRA_OUTPUTS) for one in (ours, theirs))
    assert (mine.labels == reference.labels).mean() >= 0.999
    np.testing.assert_allclose(mine.confidence, reference.confidence, atol=1e-3)
    assert np.abs(mine.relit.astype(int) - reference.relit).max() <= 1
    threshold = float(np.median(reference.confidence))
    ours.settings = preset("paper", min_confidence=threshold)
    assert 0.2 < (ours.segment(night_rgb).labels == 255).mean() < 0.8


def test_submitted_frames_come_back_in_order(light_net, night_rgb):
    segmenter = NightSegmenter(PyTorchBackend(light_net, METADATA, options=ON_DEVICE))
    other = np.ascontiguousarray(night_rgb[::-1])
    expected = [segmenter.segment(one).labels for one in (night_rgb, other)]
    segmenter.submit(night_rgb)
    segmenter.submit(other)
    with pytest.raises(BackendError, match="collect one first"):
        segmenter.submit(other)
    for labels in expected:
        np.testing.assert_array_equal(segmenter.collect().labels, labels)


def test_bf16_and_channels_last_change_few_labels(light_net, night_rgb):
    import copy

    options = TorchOptions(precision="bf16", channels_last=True, graph=False, on_device=True)
    half = NightSegmenter(PyTorchBackend(copy.deepcopy(light_net), METADATA, options=options)).segment(night_rgb)
    full = NightSegmenter(PyTorchBackend(light_net, METADATA)).segment(night_rgb)
    assert half.labels.shape == full.labels.shape
    assert (half.labels == full.labels).mean() > 0.8  # random weights: many classes lie close together


def test_relit_that_was_not_wanted_is_refused(light_net, night_rgb):
    segmenter = NightSegmenter(PyTorchBackend(light_net, METADATA, options=ON_DEVICE))
    with pytest.raises(BackendError, match="with_relit=True"):
        _ = segmenter.segment(night_rgb, with_relit=False).relit


def test_an_unknown_precision_is_named():
    with pytest.raises(SettingsError, match="precision: got 'fp8', expected one of auto, fp32, fp16, bf16"):
        TorchOptions(precision="fp8")


def test_a_closed_backend_says_so(light_net, night_rgb):
    segmenter = NightSegmenter(PyTorchBackend(light_net, METADATA, options=ON_DEVICE))
    segmenter.close()
    with pytest.raises(BackendError, match="closed: load the model again"):
        segmenter.segment(night_rgb)


def test_without_a_relighting_network_there_is_no_relit_picture(night_rgb):
    net = DANNet(NoRelighting(), TinySegmentation()).eval()
    metadata = METADATA.replace(relighting_width=0)
    for options in (None, ON_DEVICE):
        backend = PyTorchBackend(net, metadata, options=options)
        assert backend.infer(np.zeros((1, 3, 64, 96), np.float32), with_relit=True).relit is None
        with NightSegmenter(backend) as segmenter:
            prediction = segmenter.segment(night_rgb)
            with pytest.raises(SettingsError, match=r"relit: the model has no relighting network \(lraspp\)"):
                _ = prediction.relit
