"""A network that gives NaN or infinity: on every backend a failed frame, never a label."""

import numpy as np
import pytest

from dannet_core import NightSegmenter, preset
from dannet_core.classes import CITYSCAPES_CLASS_SHARES
from dannet_core.errors import NotFiniteError
from dannet_core.inference.backends.tensorrt import TensorRTBackend
from dannet_core.inference.frame import EXTRA_OUTPUTS
from dannet_core.inference.postprocess import class_scaling, require_finite, scale_logits

DARK = np.zeros((120, 200, 3), np.uint8)
ALL = r"the network gave no labels for this picture: stride_logits: 1824 of 1824 values are NaN or infinite"


@pytest.fixture(params=["float32", "float16"])
def on_device(request, make_backend, blind_onnx):
    """Makes a segmenter whose every stage runs on the host device; on request with captured graphs."""

    def make(**options) -> NightSegmenter:
        backend, _ = make_backend(kind=request.param, model=blind_onnx, **options)
        assert isinstance(backend, TensorRTBackend)
        return NightSegmenter(backend)

    return make


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
@pytest.mark.parametrize("method", ["probabilities", "logits", "none"])
def test_one_value_that_is_no_number_is_enough(value, method):
    logits = np.random.default_rng(0).normal(0, 5, (19, 7, 9)).astype(np.float32)
    scaling = class_scaling(method, CITYSCAPES_CLASS_SHARES, 0.16)
    assert scale_logits(logits, scaling).shape == (7, 9, 19)
    logits[3, 6, 8] = value
    with pytest.raises(NotFiniteError, match="stride_logits: 1 of 1197 values are NaN or infinite, expected numbers"):
        scale_logits(logits, scaling)


def test_the_largest_half_is_a_number():
    require_finite(np.full(4, 65504, np.float16), "x")
    with pytest.raises(NotFiniteError, match="x: 1 of 2"):
        require_finite(np.array([65504, np.inf], np.float16), "x")


@pytest.mark.parametrize("min_confidence", [0.0, 0.5])
def test_onnx_runtime_refuses_the_picture_and_labels_the_next(blind_onnx, tiny_onnx, night_rgb, min_confidence):
    settings = preset("paper", min_confidence=min_confidence)
    with NightSegmenter.load(blind_onnx, settings) as segmenter, NightSegmenter.load(tiny_onnx, settings) as sound:
        with pytest.raises(NotFiniteError, match=ALL + ".*export it again, which tries dark and bright pictures"):
            segmenter.segment(DARK, outputs=EXTRA_OUTPUTS)
        np.testing.assert_array_equal(segmenter.segment(night_rgb).labels, sound.segment(night_rgb).labels)


@pytest.mark.parametrize("graphs", [True, False])
def test_the_kernel_raises_a_flag_that_the_next_frame_clears(on_device, night_rgb, graphs):
    with on_device(graphs=graphs) as segmenter:
        expected = segmenter.segment(night_rgb).labels
        for _ in range(4):
            with pytest.raises(NotFiniteError, match=ALL):
                segmenter.segment(DARK, outputs=EXTRA_OUTPUTS)
            np.testing.assert_array_equal(segmenter.segment(night_rgb).labels, expected)


def test_of_two_overlapped_frames_only_the_bad_one_fails(on_device, night_rgb):
    with on_device(graphs=True, seed=3) as segmenter:
        expected = segmenter.segment(night_rgb).labels
        for bad_first in (True, False, True, False):
            pictures = [DARK, night_rgb] if bad_first else [night_rgb, DARK]
            for picture in pictures:
                segmenter.submit(picture)
            for picture in pictures:
                if picture is DARK:
                    with pytest.raises(NotFiniteError, match=ALL):
                        segmenter.collect()
                else:
                    np.testing.assert_array_equal(segmenter.collect().labels, expected)


@pytest.mark.parametrize("camera", [(64, 64), (90, 160)])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("stage", [True, False])
def test_the_kernel_sees_every_score_whatever_the_pixels_need(host_kernels, camera_format, camera, half, stage):
    from dannet_core.inference.camera_image import CameraImage
    from dannet_core.inference.kernels.jobs import label_launch

    picture = CameraImage.from_rgb(np.zeros((*camera, 3), np.uint8))
    shape = (19, 40, 60) if camera == (64, 64) else (19, 9, 11)
    launch = label_launch(camera_format(picture), shape, half, True)
    launch = launch if stage else type(launch)(**{**launch.__dict__, "stage": (0, 0), "shared_bytes": 0})
    scaling = class_scaling("probabilities", CITYSCAPES_CLASS_SHARES, 0.16)
    logits = np.random.default_rng(1).normal(0, 3, shape).astype(np.float16 if half else np.float32)
    flag = host_kernels.outputs(picture, logits, launch, scaling, ("labels", "not_finite"))["not_finite"]
    assert flag[0] == 0
    for place in ((0, 0, 0), (18, shape[1] - 1, shape[2] - 1), (7, 1, 3)):
        for value in (np.nan, np.inf, -np.inf):
            bad = logits.copy()
            bad[place] = value
            assert host_kernels.outputs(picture, bad, launch, scaling, ("labels", "not_finite"))["not_finite"][0] == 1


def test_a_black_warm_up_picture_is_run_as_often_as_any_and_then_named(blind_onnx, night_rgb):
    with NightSegmenter.load(blind_onnx) as segmenter:
        with pytest.raises(NotFiniteError, match=ALL):
            segmenter.warm_up((120, 200))
        assert segmenter.segment(night_rgb).labels.max() < 19


def test_a_relit_picture_of_nan_is_refused_when_it_is_asked_for(tiny_onnx, night_rgb):
    with NightSegmenter.load(tiny_onnx) as segmenter:
        infer = segmenter._backend.infer

        def with_a_hole(image, with_relit):
            output = infer(image, with_relit)
            output.relit[1, 3, 5] = np.nan
            return output

        segmenter._backend.infer = with_a_hole
        prediction = segmenter.segment(night_rgb)
        with pytest.raises(NotFiniteError, match="relit: 1 of 18432 values are NaN or infinite"):
            _ = prediction.relit


@pytest.mark.parametrize("on_device", [True, False])
def test_pytorch_refuses_it_too(on_device, night_rgb):
    torch = pytest.importorskip("torch", reason="runs networks: pip install torch")
    from dannet_core.inference.backends.pytorch import PyTorchBackend, TorchOptions
    from dannet_core.metadata import ModelMetadata
    from dannet_core.networks import build_dannet

    torch.manual_seed(0)
    net = build_dannet("lraspp", backbone="mobilenet_v3_large", relighting_width=8)
    options = TorchOptions(precision="fp32", graph=False, on_device=on_device)
    metadata = ModelMetadata("lraspp", "mobilenet_v3_large", 8, input_size=(64, 96))
    with NightSegmenter(PyTorchBackend(net, metadata, "cpu", options)) as segmenter:
        assert segmenter.segment(night_rgb).labels.max() < 19
        with torch.no_grad():
            net.segmentation.low_classifier.bias[4] = torch.inf
        with pytest.raises(NotFiniteError, match=r"stride_logits: 96 of 1824 values are NaN or infinite"):
            segmenter.segment(night_rgb)
