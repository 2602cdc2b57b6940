"""INT8 graphs of the light network, run by ONNX Runtime and, where it is installed, built by TensorRT for RTX."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from dannet_core.deploy.engine_build import BuildOptions, build_engine
from dannet_core.deploy.quantize import QuantizeSettings, _held_out, quantize
from dannet_core.errors import ModelFileError, OutputError, SettingsError
from dannet_core.inference.preprocess import preprocess
from dannet_core.inference.segmenter import NightSegmenter

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def night_frames(toy_nights):
    return [preprocess(rgb, (288, 512)) for rgb in toy_nights]


@pytest.fixture(scope="module")
def all_int8(demo, night_frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "demo.onnx"
    report = quantize(demo, path, night_frames, QuantizeSettings(method="minmax", min_agreement=0.0))
    return path, report


def opened(path: Path) -> NightSegmenter:
    """As it was measured: another runtime computes int8 layers as this processor lets it."""
    return NightSegmenter.load(path, backend="onnxruntime", threads=1)


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def test_every_convolution_takes_int8_as_tensorrt_wants_it(all_int8):
    path, report = all_int8
    model = onnx.load(str(path))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made_by = producers(model)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == report.layers == 57
    for node in convolutions:
        picture, weight = (made_by[name] for name in node.input[:2])
        assert (picture.op_type, weight.op_type) == ("DequantizeLinear", "DequantizeLinear")
        # Activations: one scale each. Weights: stored in int8, one scale a channel. Zero points are zero.
        assert made_by[picture.input[0]].op_type == "QuantizeLinear"
        assert constants[picture.input[1]].size == 1
        values, scales = constants[weight.input[0]], constants[weight.input[1]]
        assert values.dtype == np.int8
        assert scales.shape == values.shape[:1]
        assert not constants[picture.input[2]].any()
        assert not constants[weight.input[2]].any()
        # Biases stay as they are.
        assert all(constants[name].dtype == np.float16 for name in node.input[2:])
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["HardSwish"] == 25
    assert kinds["Cast"] == 18


def test_the_int8_file_is_small_and_says_what_it_is(all_int8, demo, toy_nights):
    path, report = all_int8
    assert path.stat().st_size < 0.35 * demo.stat().st_size
    assert (report.layers, report.kept, report.frames) == (57, (), (3, 1))
    assert "57 of 57 convolutions in int8" in str(report)
    with opened(path) as int8, opened(demo) as single:
        assert int8.metadata == single.metadata.replace(precision="int8")
        (held_out,) = _held_out(4)
        labels = [segmenter.segment(toy_nights[held_out]).labels for segmenter in (int8, single)]
    assert (labels[0] == labels[1]).mean() == pytest.approx(report.agreement, abs=1e-3)
    assert report.agreement > 0.8


@pytest.mark.parametrize("count", [16, 32, 64])
def test_frames_that_measure_are_of_both_kinds_whether_these_take_turns_or_follow_each_other(count):
    drawn = _held_out(count)
    assert len(set(drawn)) == len(drawn) == count // 4
    for kinds in ({index % 2 for index in drawn[:4]}, {index < count // 2 for index in drawn[:4]}):
        assert len(kinds) == 2
    assert _held_out(count) == drawn


def test_layers_that_cost_labels_are_left_out_until_enough_labels_stay(all_int8, demo, night_frames, tmp_path):
    _, whole = all_int8
    needed = (1 + whole.agreement) / 2
    settings = QuantizeSettings(method="minmax", min_agreement=needed, groups=4, rest="fp32")
    report = quantize(demo, tmp_path / "part.onnx", night_frames, settings)
    assert report.agreement >= needed > report.agreement_all
    assert 0 < len(report.kept) < report.layers
    assert all(name.startswith("segmentation.") for name in report.kept)
    model = onnx.load(str(tmp_path / "part.onnx"))
    made_by = producers(model)
    for node in model.graph.node:
        if node.op_type == "Conv":
            quantized = node.input[1] in made_by and made_by[node.input[1]].op_type == "DequantizeLinear"
            assert quantized == (node.name not in report.kept)
    assert {tensor.data_type for tensor in model.graph.initializer} == {
        TensorProto.FLOAT,
        TensorProto.INT8,
        TensorProto.INT64,
    }


def test_tensorrt_for_rtx_builds_the_int8_graph(all_int8, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
    built = build_engine(all_int8[0], tmp_path / "light.engine", BuildOptions(flavour="tensorrt_rtx"))
    assert (built.info.precision, built.info.inputs["image"].dtype) == ("int8", "float32")


def test_mistakes_are_named_and_nothing_is_written(demo_fp16, demo, night_frames, tmp_path):
    out = tmp_path / "out.onnx"
    with pytest.raises(ModelFileError, match="got fp16 logits, expected fp32 logits: export with --precision fp32"):
        quantize(demo_fp16, out, night_frames)
    with pytest.raises(SettingsError, match="frames: got 1, expected at least 2"):
        quantize(demo, out, night_frames[:1])
    with pytest.raises(SettingsError, match=r"frames: got shape \(1, 3, 288, 504\), expected 1 x 3 x \(288, 512\)"):
        quantize(demo, out, [frame[..., :504] for frame in night_frames])
    with pytest.raises(ModelFileError, match=r"got suffix '\.engine'"):
        quantize(demo, tmp_path / "out.engine", night_frames)
    with pytest.raises(OutputError, match="no such folder"):
        quantize(demo, tmp_path / "absent" / "out.onnx", night_frames)
    (tmp_path / "bad.onnx").write_bytes(b"\x00bad")
    with pytest.raises(ModelFileError, match=r"bad\.onnx: not a usable ONNX file"):
        quantize(tmp_path / "bad.onnx", out, night_frames)
    for wrong in ({"method": "guess"}, {"rest": "int4"}, {"min_agreement": 1.5}, {"groups": 0}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            QuantizeSettings(**wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.onnx"]
