"""Linear attention in a half graph stays in float32: its sums over all pixels leave half's range at both ends."""

from __future__ import annotations

from typing import Any, Final

_PASSING: Final = frozenset({"Add", "Identity", "Reshape", "Slice", "Split", "Transpose"})
"""What may lie between the products of an attention and its quotient."""
_ONE_FLOAT_INPUT: Final = frozenset({"Reshape", "Slice", "Split"})
"""Their other inputs are integers."""


def keep_attention_single(onnx: Any, graph: Any) -> set[str]:
    """Put casts to float32 before the attention of a graph that is to become half, casts to half behind it, in place.

    Args:
        onnx: the package.
        graph: a `GraphProto` with float32 tensors, nodes in the order of computation.

    Returns:
        Names of the attention's constants, which must stay in float32; they are copies.
    """
    island = attention_nodes(graph)
    outputs = {name for node in island for name in node.output}
    entering = {name: f"{name}_single" for node in island for name in _float_inputs(node) if name not in outputs}
    leaving = {name: f"{name}_left" for node in graph.node if node not in island for name in node.input}
    leaving = {name: left for name, left in leaving.items() if name in outputs}
    constants = [tensor for tensor in graph.initializer if tensor.name in entering]
    for tensor in constants:
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = entering[tensor.name]
    casts = {name: (single, onnx.TensorProto.FLOAT) for name, single in entering.items()}
    casts |= {name: (left, onnx.TensorProto.FLOAT16) for name, left in leaving.items()}

    def behind(names: Any) -> list[Any]:
        return [onnx.helper.make_node("Cast", [n], [casts[n][0]], to=casts[n][1]) for n in names if n in casts]

    ordered = behind(tensor.name for tensor in graph.input)
    for node in graph.node:
        renamed = entering if node in island else leaving
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        ordered += [node, *behind(node.output)]
    copies = onnx.GraphProto()
    copies.node.extend(ordered)
    del graph.node[:]
    graph.node.extend(copies.node)
    return {entering[tensor.name] for tensor in constants}


def attention_nodes(graph: Any) -> list[Any]:
    """The nodes from products of two computed tensors to the quotient these end in, in the order of computation."""
    made_by = {name: node for node in graph.node for name in node.output}

    def products(node: Any) -> list[Any]:
        """``node`` and what is before it, if there is a product among them."""
        makers = [made_by[name] for name in node.input if name in made_by]
        found = [node] if node.op_type == "MatMul" and len(makers) == len(node.input) else []
        if node.op_type in _PASSING or found:
            before = [one for maker in makers for one in products(maker)]
            found = [node, *before] if before else found
        return found

    inside: set[str] = set()
    for quotient in graph.node:
        if quotient.op_type == "Div":
            before = [one for name in quotient.input if name in made_by for one in products(made_by[name])]
            inside.update(name for node in ([quotient, *before] if before else []) for name in node.output)
    return [node for node in graph.node if inside & set(node.output)]


def _float_inputs(node: Any) -> list[str]:
    return list(node.input[:1] if node.op_type in _ONE_FLOAT_INPUT else node.input)
