"""A float32 graph made one that computes in half, with float32 at both ends; integers and quantized parts stay."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dannet_core.deploy.single_island import keep_attention_single
from dannet_core.errors import SettingsError, require

HALF_SCALES_OPSET: Final = 19
"""From this operator set on, QuantizeLinear and DequantizeLinear take half scales."""
_FLOAT_INPUTS: Final = {"Resize": (2,)}
"""Inputs that the operator wants in float32 whatever it computes in."""


def to_half(model: Any) -> Any:
    """A copy of a `ModelProto` with half weights and computation, but for its linear attention.

    Args:
        model: every float tensor inside is float32; no node is a Cast to a float type.

    Raises:
        SettingsError: a weight is too large for fp16.
    """
    onnx = require("onnx", "make half graphs", "pip install onnx")
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    graph = halved.graph
    own = keep_attention_single(onnx, graph)
    kept = {node.input[i] for node in graph.node for i in _FLOAT_INPUTS.get(node.op_type, ()) if i < len(node.input)}
    kept |= own
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.name not in kept:
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(_half(onnx.numpy_helper.to_array(tensor), tensor.name), tensor.name)
            )
    del graph.value_info[:]
    _cast_ends(onnx, graph)
    for domain in halved.opset_import:
        if domain.domain in ("", "ai.onnx"):
            domain.version = max(domain.version, HALF_SCALES_OPSET)
    return halved


def _half(values: np.ndarray[Any, np.dtype[Any]], name: str) -> np.ndarray[Any, np.dtype[np.float16]]:
    if values.size and float(np.abs(values).max()) > float(np.finfo(np.float16).max):
        raise SettingsError(f"precision: weight '{name}' exceeds fp16's largest number 65504: use fp32")
    return values.astype(np.float16)


def _cast_ends(onnx: Any, graph: Any) -> None:
    """Float inputs become half behind the door, float outputs float before it."""
    names = {tensor.name: tensor.name + "_half" for tensor in (*graph.input, *graph.output) if _is_float(onnx, tensor)}
    for node in graph.node:
        for ends in (node.input, node.output):
            for i, name in enumerate(ends):
                ends[i] = names.get(name, name)
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    for i, tensor in enumerate(t for t in graph.input if t.name in names):
        graph.node.insert(i, onnx.helper.make_node("Cast", [tensor.name], [names[tensor.name]], to=half))
    for tensor in graph.output:
        if tensor.name in names:
            graph.node.append(onnx.helper.make_node("Cast", [names[tensor.name]], [tensor.name], to=single))


def _is_float(onnx: Any, tensor: Any) -> bool:
    return bool(tensor.type.tensor_type.elem_type == onnx.TensorProto.FLOAT)
