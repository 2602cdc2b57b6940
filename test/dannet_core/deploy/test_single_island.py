"""What of a half graph stays in float32, on a linear attention whose sums half cannot hold."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dannet_core.deploy.half_graph import to_half
from dannet_core.deploy.single_island import attention_nodes

PIXELS, CHANNELS = 4096, 4


def attention_model(eps: float = 1e-5) -> onnx.ModelProto:
    """Queries, keys and values of one picture; the last channel of the values is 1, for what is divided by."""
    nodes = [
        helper.make_node("Relu", ["picture"], ["k"]),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[1, 0]),
        helper.make_node("Mul", ["picture", "gain"], ["q0"]),
        helper.make_node("Relu", ["q0"], ["q"]),
        helper.make_node("Pad", ["picture", "pads", "one"], ["v"]),
        helper.make_node("MatMul", ["kt", "v"], ["kv"]),
        helper.make_node("MatMul", ["q", "kv"], ["sums"]),
        helper.make_node("Slice", ["sums", "zero", "channels", "axis"], ["above"]),
        helper.make_node("Slice", ["sums", "channels", "end", "axis"], ["below0"]),
        helper.make_node("Add", ["below0", "eps"], ["below"]),
        helper.make_node("Div", ["above", "below"], ["attended"]),
        helper.make_node("Div", ["attended", "gain"], ["out"]),
    ]
    constants = {
        "gain": np.float32(2),
        "one": np.float32(1),
        "eps": np.float32(eps),
        "pads": np.array([0, 0, 0, 1]),
        "zero": np.array([0]),
        "channels": np.array([CHANNELS]),
        "end": np.array([CHANNELS + 1]),
        "axis": np.array([1]),
    }
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [PIXELS, CHANNELS])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [PIXELS, CHANNELS])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    return {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}


def run(model: onnx.ModelProto, picture: np.ndarray) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"picture": picture})[0]


def test_products_sums_and_quotient_of_an_attention_are_found():
    names = [node.output[0] for node in attention_nodes(attention_model().graph)]
    assert names == ["kv", "sums", "above", "below0", "below", "attended"]


def test_they_stay_in_float32_and_the_rest_becomes_half():
    halved = to_half(attention_model())
    onnx.checker.check_model(halved, full_check=True)
    kinds = types(halved)
    assert {kinds[name] for name in ("kv", "sums", "above", "below0", "below", "attended")} == {TensorProto.FLOAT}
    assert {kinds[name] for name in ("k", "kt", "q", "v", "attended_left")} == {TensorProto.FLOAT16}
    constants = {tensor.name: tensor.data_type for tensor in halved.graph.initializer}
    assert (constants["eps_single"], constants["gain"]) == (TensorProto.FLOAT, TensorProto.FLOAT16)


@pytest.mark.parametrize("level", [0.0, -1.0, 1e-3, 30.0])
def test_dark_flat_and_bright_pictures_give_the_float_graphs_values(level):
    """At 30 the sums are near 10^7, beyond half; at 0 and below, 0 is divided by what half loses."""
    model = attention_model()
    picture = np.full((PIXELS, CHANNELS), level, np.float32) * np.linspace(0.5, 1, CHANNELS, dtype=np.float32)
    expected, got = run(model, picture), run(to_half(model), picture)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, expected, rtol=4e-3, atol=1e-6)


def test_a_division_by_a_constant_and_products_with_weights_are_no_attention():
    nodes = [
        helper.make_node("MatMul", ["rows", "picture"], ["pooled"]),
        helper.make_node("Div", ["pooled", "count"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "pool",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2, 8])],
        [
            numpy_helper.from_array(np.ones((2, 8), np.float32), "rows"),
            numpy_helper.from_array(np.float32(8), "count"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    assert attention_nodes(graph) == []
    assert types(to_half(model))["pooled"] == TensorProto.FLOAT16
