import numpy as np
import pytest

from dannet_core import NightSegmenter, preset
from dannet_core.classes import IGNORE_ID
from dannet_core.errors import BackendError, ImageError, ModelFileError, SettingsError
from dannet_core.inference.backends import Backend, open_backend


@pytest.fixture
def segmenter(tiny_onnx):
    with NightSegmenter.load(tiny_onnx) as opened:
        yield opened


def test_labels_have_the_size_of_the_picture_and_name_classes(segmenter, night_rgb):
    prediction = segmenter.segment(night_rgb)
    assert prediction.labels.shape == night_rgb.shape[:2]
    assert prediction.labels.dtype == np.uint8
    assert prediction.labels.max() < 19
    assert len(np.unique(prediction.labels)) > 1
    assert set(prediction.timings_ms) == {"preprocess", "infer", "postprocess"}


def test_confidence_and_relit_come_on_demand(segmenter, night_rgb):
    prediction = segmenter.segment(night_rgb)
    assert prediction.confidence.shape == night_rgb.shape[:2]
    assert 1 / 19 < prediction.confidence.min() <= prediction.confidence.max() <= 1
    assert prediction.relit.shape == night_rgb.shape
    assert prediction.relit.mean() > night_rgb.mean() + 20  # the tiny model lifts every channel by 0.5
    with pytest.raises(BackendError, match="with_relit=True"):
        _ = segmenter.segment(night_rgb, with_relit=False).relit


def test_pixels_below_min_confidence_become_unknown(segmenter, night_rgb):
    plain = segmenter.segment(night_rgb)
    threshold = float(np.median(plain.confidence))
    segmenter.settings = preset("paper", min_confidence=threshold)
    labels = segmenter.segment(night_rgb).labels
    np.testing.assert_array_equal(labels == IGNORE_ID, plain.confidence < threshold)
    np.testing.assert_array_equal(labels[labels != IGNORE_ID], plain.labels[labels != IGNORE_ID])


def test_reads_any_memory_layout_alike(segmenter, night_rgb):
    expected = segmenter.segment(night_rgb).labels
    bgr = np.ascontiguousarray(night_rgb[:, :, ::-1])
    np.testing.assert_array_equal(segmenter.segment(bgr[:, :, ::-1]).labels, expected)
    wide = np.zeros((120, 210, 3), np.uint8)
    wide[:, :200] = night_rgb
    np.testing.assert_array_equal(segmenter.segment(wide[:, :200]).labels, expected)


def test_refuses_what_is_not_a_picture(segmenter):
    with pytest.raises(ImageError, match="float64"):
        segmenter.segment(np.zeros((100, 100, 3)))


def test_refuses_a_size_the_graph_was_not_made_for_and_keeps_its_settings(segmenter):
    before = segmenter.settings
    with pytest.raises(SettingsError, match=r"input_size: got \(540, 960\), but the model was exported for \(64, 96\)"):
        segmenter.settings = preset("official")
    assert segmenter.settings == before


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("papr", {}, "preset: got 'papr', expected one of paper, official"),
        ("paper", {"reweight_std": 2.0}, "reweight_std: got 2.0, expected 0 to 1"),
        ("paper", {"min_confidence": float("nan")}, "min_confidence: got nan"),
        ("paper", {"reweight": "x"}, "reweight: got 'x'"),
        ("paper", {"resize": "x"}, "resize: got 'x'"),
        ("paper", {"input_size": (1, 1)}, "input_size: got"),
        ("paper", {"alpha": 1}, "inference setting: got 'alpha'"),
    ],
)
def test_presets_name_the_wrong_setting(name, changes, said):
    with pytest.raises(SettingsError, match=said):
        preset(name, **changes)


def test_a_closed_segmenter_says_so(tiny_onnx, night_rgb):
    segmenter = NightSegmenter.load(tiny_onnx)
    segmenter.close()
    segmenter.close()
    with pytest.raises(BackendError, match="closed: load the model again"):
        segmenter.segment(night_rgb)


def test_warm_up_runs_the_model(segmenter):
    segmenter.warm_up((100, 100), rounds=1)


def test_backends_keep_the_protocol(tiny_onnx):
    assert isinstance(open_backend(tiny_onnx), Backend)


@pytest.mark.parametrize(
    ("name", "backend", "said"),
    [
        ("absent.onnx", "auto", "no such model file"),
        ("model.pth", "auto", r"got suffix '.pth', expected .safetensors, .onnx, .engine"),
        ("tiny.onnx", "pytorch", "backend 'pytorch' does not read .onnx files, expected 'openvino', 'onnxruntime'"),
    ],
)
def test_the_door_says_which_file_it_cannot_open(tiny_onnx, name, backend, said):
    with pytest.raises(ModelFileError, match=said):
        NightSegmenter.load(tiny_onnx.with_name(name), backend=backend)


def test_a_truncated_or_foreign_onnx_is_refused_in_one_line(tiny_onnx, tmp_path):
    whole = tiny_onnx.read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("empty", b""), ("text", b"not a model")):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=f"{name}.onnx: not a usable ONNX file") as error:
            NightSegmenter.load(path)
        assert "\n" not in str(error.value)


def test_an_onnx_without_our_metadata_is_refused(tiny_onnx, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(tiny_onnx))
    del model.metadata_props[:]
    onnx.save(model, str(tmp_path / "bare.onnx"))
    with pytest.raises(ModelFileError, match="not a DANNet model"):
        NightSegmenter.load(tmp_path / "bare.onnx")


def test_asking_for_cuda_where_there_is_none_is_one_line(tiny_onnx):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(BackendError, match="no CUDA: pip install onnxruntime-gpu"):
        NightSegmenter.load(tiny_onnx, device="cuda")


def test_an_unknown_device_is_named(tiny_onnx):
    with pytest.raises(BackendError, match="device: got 'quantum', expected auto, cpu, cuda or cuda:N"):
        NightSegmenter.load(tiny_onnx, device="quantum")
