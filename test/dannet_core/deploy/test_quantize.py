"""INT8 graphs of the light network, run by ONNX Runtime and, where it is installed, built by TensorRT for RTX."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from dannet_core.deploy.engine_build import BuildOptions, build_engine
from dannet_core.deploy.half_graph import to_half
from dannet_core.deploy.quantize import QuantizeSettings, quantize
from dannet_core.errors import ModelFileError, OutputError, SettingsError
from dannet_core.inference.segmenter import NightSegmenter


@pytest.fixture(scope="module")
def all_int8(light_fp32, frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "light.onnx"
    report = quantize(light_fp32, path, frames, QuantizeSettings(min_agreement=0.0))
    return path, report


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def test_every_convolution_takes_int8_as_tensorrt_wants_it(all_int8):
    path, report = all_int8
    model = onnx.load(str(path))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made_by = producers(model)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == report.layers == 76
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
    assert kinds["Relu"] == 28
    assert kinds["Cast"] == 3


def test_the_int8_file_is_small_and_says_what_it_is(all_int8, light_fp32, light_metadata, frames):
    path, report = all_int8
    assert path.stat().st_size < 0.35 * light_fp32.stat().st_size
    assert (report.layers, report.kept, report.frames) == (76, (), (1, 1))
    assert "76 of 76 convolutions in int8" in str(report)
    with NightSegmenter.load(path) as segmenter:
        size = (frames[0].shape[-2], frames[0].shape[-1])
        assert segmenter.metadata == light_metadata.replace(input_size=size, precision="int8")
        rgb = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
        assert segmenter.segment(rgb).labels.shape == size


def test_int8_logits_stay_near_the_float_ones(all_int8, light_fp32, frames):
    path, report = all_int8
    float_logits, int8_logits = (
        onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(
            ["stride_logits"], {"image": frames[0]}
        )[0]
        for file in (light_fp32, path)
    )
    assert np.corrcoef(float_logits.ravel(), int8_logits.ravel())[0, 1] > 0.97
    assert not np.array_equal(float_logits, int8_logits)
    # Random weights leave many near ties; trained ones keep more labels.
    assert report.agreement > 0.6


def test_layers_that_cost_labels_are_left_out_until_enough_labels_stay(all_int8, light_fp32, frames, tmp_path):
    _, whole = all_int8
    needed = (1 + whole.agreement) / 2
    report = quantize(
        light_fp32, tmp_path / "part.onnx", frames, QuantizeSettings(min_agreement=needed, groups=4, rest="fp32")
    )
    assert report.agreement >= needed > whole.agreement
    assert 0 < len(report.kept) < report.layers
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


def test_a_half_graph_computes_the_same_between_float_ends(light_fp32, frames):
    halved = to_half(onnx.load(str(light_fp32)))
    onnx.checker.check_model(halved, full_check=True)
    kinds = {tensor.data_type for tensor in halved.graph.initializer}
    assert kinds == {TensorProto.FLOAT16, TensorProto.INT64}
    ends = [*halved.graph.input, *halved.graph.output]
    assert {end.type.tensor_type.elem_type for end in ends} == {TensorProto.FLOAT}
    outputs = [
        onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"image": frames[0]})
        for file in (light_fp32.read_bytes(), halved.SerializeToString())
    ]
    for single, half in zip(*outputs, strict=True):
        assert np.abs(single - half).max() < 5e-3 * np.ptp(single)


def test_mistakes_are_named_and_nothing_is_written(light_fp16, light_fp32, frames, tmp_path):
    out = tmp_path / "out.onnx"
    with pytest.raises(ModelFileError, match="got fp16 logits, expected fp32 logits: export with --precision fp32"):
        quantize(light_fp16, out, frames)
    with pytest.raises(SettingsError, match="frames: got 1, expected at least 2"):
        quantize(light_fp32, out, frames[:1])
    with pytest.raises(ModelFileError, match=r"got suffix '\.engine'"):
        quantize(light_fp32, tmp_path / "out.engine", frames)
    with pytest.raises(OutputError, match="no such folder"):
        quantize(light_fp32, tmp_path / "absent" / "out.onnx", frames)
    (tmp_path / "bad.onnx").write_bytes(b"\x00bad")
    with pytest.raises(ModelFileError, match=r"bad\.onnx: not a usable ONNX file"):
        quantize(tmp_path / "bad.onnx", out, frames)
    for wrong in ({"method": "guess"}, {"rest": "int4"}, {"min_agreement": 1.5}, {"groups": 0}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            QuantizeSettings(**wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.onnx"]
