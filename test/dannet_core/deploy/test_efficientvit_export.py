"""EfficientViT as a graph: the same labels, and finite where its attention has nothing to attend to."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch

from dannet_core.deploy.engine_build import BuildOptions, build_engine
from dannet_core.deploy.onnx_export import export_onnx
from dannet_core.deploy.parity import LABEL_AGREEMENT, check_parity
from dannet_core.deploy.quantize import QuantizeSettings, quantize
from dannet_core.inference.backends.onnxruntime import OnnxRuntimeBackend
from dannet_core.inference.preprocess import preprocess
from dannet_core.metadata import ModelMetadata
from dannet_core.pixels import normalize

pytest.importorskip("timm", reason="the backbone is timm's: pip install timm")

SIZE = (96, 160)
METADATA = ModelMetadata("efficientvit", "b0", relighting_width=0, align_corners=False, source="random")
FLAT = {level: normalize(np.full((*SIZE, 3), level, np.uint8)) for level in (0, 128, 255)}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pictures(toy_nights):
    return [preprocess(rgb, SIZE) for rgb in toy_nights]


@pytest.fixture(scope="module")
def net(make_net):
    """Random weights; in the first attention no query is ever above 0, as happens to real ones in the dark."""
    net = make_net(METADATA)
    first = next(module for module in net.modules() if type(module).__name__ == "LiteMLA")
    first.qkv.conv.weight.data[: first.dim] = 0
    return net.eval()


@pytest.fixture(scope="module")
def graphs(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("efficientvit")
    return {p: export_onnx(net, METADATA, SIZE, folder / f"{p}.onnx", p) for p in ("fp32", "fp16")}


@pytest.fixture(scope="module")
def int8(graphs, pictures):
    path = graphs["fp32"].with_name("int8.onnx")
    quantize(graphs["fp32"], path, pictures, QuantizeSettings(method="minmax", min_agreement=0.0))
    return path


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_graphs_labels_are_the_networks(precision, net, graphs, pictures):
    report = check_parity(net, graphs[precision], pictures)
    assert report.label_agreement >= LABEL_AGREEMENT[precision]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_flat_pictures_give_finite_logits(precision, graphs, int8, pictures):
    backend = OnnxRuntimeBackend(int8 if precision == "int8" else graphs[precision], device="cpu")
    for image in (*FLAT.values(), *pictures):
        assert np.isfinite(backend.infer(image, with_relit=False).logits).all()
    backend.close()


def test_what_keeps_a_quotient_finite_survives_the_exporter(graphs):
    """The exporter's optimiser takes a constant below 1e-8 for 0 and drops its addition."""
    graph = onnx.load(str(graphs["fp32"])).graph
    made_by = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    quotients = [node for node in graph.node if node.op_type == "Div"]
    assert len(quotients) == 4
    for quotient in quotients:
        addition = made_by[quotient.input[1]]
        assert addition.op_type == "Add"
        assert min(float(constants[name].min()) for name in addition.input if name in constants) >= 1e-6


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_sums_and_quotients_are_in_float32_in_every_precision(precision, graphs, int8):
    model = onnx.load(str(int8 if precision == "int8" else graphs[precision]))
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    by_type = Counter((node.op_type, kinds.get(node.output[0])) for node in model.graph.node)
    assert by_type["MatMul", onnx.TensorProto.FLOAT] == 8
    assert by_type["Div", onnx.TensorProto.FLOAT] == 4
    assert by_type["HardSwish", onnx.TensorProto.FLOAT16] == 25


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_tensorrt_for_rtx_builds_them(precision, graphs, int8, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
    graph = int8 if precision == "int8" else graphs[precision]
    built = build_engine(graph, tmp_path / "b0.engine", BuildOptions(flavour="tensorrt_rtx"))
    assert built.info.precision == precision
    assert not built.info.metadata.align_corners


def test_labels_built_into_the_graph_are_upsampled_as_the_network_says(net, pictures, tmp_path):
    from dannet_core.deploy.onnx_export import GraphOptions
    from dannet_core.deploy.parity import check_label_parity
    from dannet_core.inference.presets import PRESETS

    options = GraphOptions("labels", PRESETS["paper"], (120, 200))
    path = export_onnx(net, METADATA, SIZE, tmp_path / "labels.onnx", options=options)
    assert check_label_parity(net, path, pictures[:2], PRESETS["paper"]).label_agreement >= LABEL_AGREEMENT["fp32"]
    assert torch.is_grad_enabled()
