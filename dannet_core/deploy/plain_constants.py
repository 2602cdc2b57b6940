"""Graphs of other exporters brought to the form that quantizing and halving expect: weights as initializers."""

from __future__ import annotations

from typing import Any, Final

_ALWAYS_SINGLE: Final = {"Resize": (1, 2)}
"""Inputs that the operator wants in float32 whatever it computes in."""


def constants_to_weights(graph: Any) -> None:
    """Make initializers of the nodes that only hold a tensor, or hand one on, in place."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {tensor.name for tensor in graph.output}
    kept = []
    for node in graph.node:
        values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        if node.op_type == "Identity" and node.input[0] in weights and node.output[0] not in outputs:
            values = [weights[node.input[0]]]
        if values and node.op_type in ("Constant", "Identity"):
            tensor = graph.initializer.add()
            tensor.CopyFrom(values[0])
            tensor.name = node.output[0]
            weights[tensor.name] = tensor
        else:
            kept.append(type(node).FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(kept)


def cast_to_half(onnx: Any, model: Any) -> Any:
    """A copy of a float32 `ModelProto` that casts to half where it cast to float32; the rest is left to `to_half`."""
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    nodes = halved.graph.node
    single = {node.input[i] for node in nodes for i in _ALWAYS_SINGLE.get(node.op_type, ()) if i < len(node.input)}
    for node in nodes:
        for attribute in node.attribute if node.op_type == "Cast" and node.output[0] not in single else ():
            if attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.FLOAT16
    return halved
