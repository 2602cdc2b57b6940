from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from dannet_core.cli.main import main
from dannet_core.deploy.onnx_export import GraphOptions, MatrixPool, export_onnx, prepare
from dannet_core.deploy.parity import check_label_parity, check_parity, require_parity
from dannet_core.errors import ModelFileError, OutputError, SettingsError
from dannet_core.inference.presets import PRESETS
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.metadata import ModelMetadata
from dannet_core.networks.weights import save_weights

UNWANTED = {"Shape", "Gather", "GatherND", "Slice", "BatchNormalization", "Constant", "Reshape", "If", "Loop"}
LARGEST_LIGHT_FILE_BYTES = 15_000_000


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)


@pytest.fixture(scope="module")
def light_fp16(light_net, light_metadata, frames, tmp_path_factory) -> Path:
    size = frames[0].shape[-2:]
    return export_onnx(light_net, light_metadata, size, tmp_path_factory.mktemp("fp16") / "light.onnx", "fp16")


def test_the_light_model_is_one_small_file_that_agrees_with_the_network(light_fp32, light_net, frames):
    report = check_parity(light_net, light_fp32, frames)
    require_parity(report)
    assert report.max_rel_of_range < 1e-4
    assert report.relit_max_abs < 1e-4
    assert light_fp32.stat().st_size < LARGEST_LIGHT_FILE_BYTES
    assert [path.name for path in light_fp32.parent.iterdir()] == ["light.onnx"]


def test_the_light_graph_has_no_shape_arithmetic_and_no_batch_norms(light_fp32):
    found = operators(light_fp32)
    assert not UNWANTED & set(found)
    assert sum(found.values()) <= 180


@pytest.mark.slow
def test_pyramid_pooling_stays_compact_and_exact_at_sizes_it_does_not_divide(make_net, frames, tmp_path):
    metadata = ModelMetadata("pspnet", "resnet18", relighting_width=0)
    net = make_net(metadata)
    path = export_onnx(net, metadata, frames[0].shape[-2:], tmp_path / "net.onnx")
    found = operators(path)
    assert not UNWANTED & set(found)
    assert sum(found.values()) <= 75
    assert [output.name for output in onnx.load(str(path)).graph.output] == ["stride_logits"]
    report = check_parity(net, path, frames)
    require_parity(report)
    assert report.max_rel_of_range < 1e-4
    assert report.relit_max_abs == 0.0


def test_half_precision_computes_in_half_between_float_ends(light_fp16, light_fp32, light_net, frames):
    model = onnx.load(str(light_fp16))
    ends = [*model.graph.input, *model.graph.output]
    assert {end.type.tensor_type.elem_type for end in ends} == {onnx.TensorProto.FLOAT}
    # Shapes and paddings are the integers.
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64}
    assert light_fp16.stat().st_size < 0.55 * light_fp32.stat().st_size
    report = check_parity(light_net, light_fp16, frames)
    assert report.precision == "fp16"
    # Labels of random weights have many near ties; the logits are what can be held to a bound here.
    assert report.max_rel_of_range < 5e-3
    assert report.label_agreement > 0.97


def test_finished_labels_are_those_that_this_package_makes_of_the_logits(
    light_net, light_metadata, frames, tmp_path, capsys
):
    weights, path = tmp_path / "light.safetensors", tmp_path / "labels.onnx"
    save_weights(light_net, weights, light_metadata)
    size = [str(side) for side in frames[0].shape[-2:]]
    arguments = ["--model", str(weights), "--out", str(path), "--input-size", *size]
    more = ["--output", "labels", "--preset", "official", "--label-size", "180", "333"]
    assert main(["export", *arguments, *more]) == 0
    assert re.search(r"labels\.onnx: 14\.\d MB, fp32 labels, labels agree on (99\.99|100)", capsys.readouterr().out)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [(o.name, o.shape, o.type) for o in session.get_outputs()] == [("labels", [1, 180, 333], "tensor(uint8)")]
    assert not UNWANTED & set(operators(path))
    assert check_label_parity(light_net, path, frames, PRESETS["official"]).label_agreement > 0.9999
    # The other preset re-weights otherwise, and that shows.
    assert check_label_parity(light_net, path, frames, PRESETS["paper"]).label_agreement < 0.999
    with pytest.raises(ModelFileError, match=r"labels\.onnx: gives finished labels, expected logits"):
        NightSegmenter.load(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["labels.onnx", "light.safetensors"]


def test_names_shapes_and_metadata_are_in_the_file(light_fp32, light_fp16, light_metadata, frames):
    height, width = frames[0].shape[-2:]
    session = onnxruntime.InferenceSession(str(light_fp32), providers=["CPUExecutionProvider"])
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("image", [1, 3, height, width])]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [
        ("stride_logits", [1, 19, 13, 17]),
        ("relit", [1, 3, height, width]),
    ]
    for path, precision in ((light_fp32, "fp32"), (light_fp16, "fp16")):
        properties = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
        expected = light_metadata.replace(input_size=(height, width), precision=precision)
        assert ModelMetadata.from_strings(properties, str(path)) == expected


def test_the_file_tells_nothing_about_the_machine_it_was_made_on(light_fp32, repository):
    data = light_fp32.read_bytes()
    for trace in (str(repository), "site-packages", "stack_trace", ".py"):
        assert trace.encode() not in data


def test_exporting_leaves_the_network_as_it_is(light_net, light_metadata, frames, tmp_path):
    before = {key: tensor.clone() for key, tensor in light_net.state_dict().items()}
    prepare(light_net, "fp16")
    after = light_net.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(("side", "size"), [(68, 2), (121, 3), (13, 6), (6, 6), (1, 2)])
def test_matrix_pooling_is_adaptive_average_pooling(side, size):
    x = torch.randn(2, 3, side, 17, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(MatrixPool(size)(x), nn.functional.adaptive_avg_pool2d(x, size), atol=1e-5)


def test_arguments_out_of_range_are_named_and_nothing_is_written(light_net, light_metadata, tmp_path):
    path = tmp_path / "net.onnx"
    with pytest.raises(SettingsError, match=r"input_size: got \(63, 100\)"):
        export_onnx(light_net, light_metadata, (63, 100), path)
    with pytest.raises(SettingsError, match="precision: got 'int8', expected one of fp32, fp16"):
        export_onnx(light_net, light_metadata, (64, 64), path, "int8")
    with pytest.raises(SettingsError, match="opset: got 12, expected 18 to 23"):
        export_onnx(light_net, light_metadata, (64, 64), path, options=GraphOptions(opset=12))
    with pytest.raises(SettingsError, match="output: got 'colours', expected one of logits, labels"):
        export_onnx(light_net, light_metadata, (64, 64), path, options=GraphOptions("colours"))
    with pytest.raises(SettingsError, match=r"label_size: got \(64, 64\) with output 'logits', expected none"):
        export_onnx(light_net, light_metadata, (64, 64), path, options=GraphOptions(label_size=(64, 64)))
    with pytest.raises(ModelFileError, match=r"got suffix '\.pb', expected '\.onnx'"):
        export_onnx(light_net, light_metadata, (64, 64), path.with_suffix(".pb"))
    with pytest.raises(OutputError, match="no such folder"):
        export_onnx(light_net, light_metadata, (64, 64), tmp_path / "absent" / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_weights_too_large_for_half_precision_are_named(light_net):
    large = prepare(light_net, "fp32")
    with torch.no_grad():
        large.segmentation.low_classifier.weight[0] = 1e6
    with pytest.raises(SettingsError, match=r"'segmentation.low_classifier.weight' exceeds"):
        prepare(large, "fp16")
    assert np.isfinite(large.segmentation.low_classifier.weight.detach().numpy()).all()
