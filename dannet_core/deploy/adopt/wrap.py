"""Puts nodes in front of a foreign graph and behind it, so that it takes and gives what this package's graphs do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dannet_core.deploy.adopt.foreign import ForeignGraph
from dannet_core.deploy.adopt.picture_input import PictureInput
from dannet_core.deploy.adopt.scores import Scores
from dannet_core.deploy.finite_graph import read_by
from dannet_core.errors import require
from dannet_core.inference.backends.onnxruntime import INPUT_NAME, LOGITS_NAME
from dannet_core.metadata import ModelMetadata
from dannet_core.pixels import IMAGENET_MEAN, IMAGENET_STD

PREFIX: Final = "dannet_adopt"
SMALLEST_LIKELIHOOD: Final = 1e-7
"""Taken for smaller ones, 0 included, before their logarithm; half precision can hold it."""
_MOVING: Final = frozenset({"Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_AXES_ARE_AN_INPUT: Final = 13
"""From this operator set on, ReduceSum takes its axes as an input."""
_BACKWARD: Final = np.array([2, 1, 0])


class _Chain:
    """Nodes one behind the other, with their constants, under names that are not taken."""

    def __init__(self, onnx: Any, tensor: str, taken: set[str]) -> None:
        self._onnx = onnx
        self._taken = taken
        self.tensor = tensor
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *constants: npt.NDArray[Any], first: bool = False, **attributes: Any) -> None:
        """A node on what the chain gives so far; ``first``: the constant is its first input."""
        names = [self._constant(values) for values in constants]
        inputs = [*names, self.tensor] if first else [self.tensor, *names]
        self.put(operator, inputs, **attributes)

    def put(self, operator: str, inputs: Sequence[str], **attributes: Any) -> None:
        """A node on any tensors."""
        output = self._name(operator)
        self.nodes.append(self._onnx.helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        self.tensor = output

    def end(self, name: str) -> None:
        """Give the last tensor its name."""
        if not self.nodes:
            self.add("Identity")
        self.nodes[-1].output[0] = self.tensor = name

    def cast(self, kind: str) -> None:
        """Change the type."""
        self.add("Cast", to=self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind)))

    def _constant(self, values: npt.NDArray[Any]) -> str:
        name = self._name("constant")
        self.constants.append(self._onnx.numpy_helper.from_array(values, name))
        return name

    def _name(self, what: str) -> str:
        number = 1
        while (name := f"{PREFIX}/{what}_{number}") in self._taken:
            number += 1
        self._taken.add(name)
        return name


def wrap(foreign: ForeignGraph, picture: PictureInput, scores: Scores, metadata: ModelMetadata) -> Any:
    """The `ModelProto` from 1 x 3 x H x W float32 ImageNet-normalised RGB to 1 x K x h x w float32 scores.

    The graph's own nodes stay as they are, those behind the scores left out.
    """
    onnx = require("onnx", "adopt models", "pip install onnx")
    model = onnx.ModelProto()
    model.CopyFrom(foreign.model)
    graph = model.graph
    clashing = _rename_ours(graph)
    source, target = (clashing.get(name, name) for name in (foreign.input, scores.tensor))
    _leave_out_behind(graph, target)
    taken = _names(graph)
    front = _Chain(onnx, INPUT_NAME, taken)
    _front(picture, front, feed_float=_is_cast_first(graph, source))
    front.end(source)
    behind = _Chain(onnx, target, taken)
    _behind(foreign.opset, scores, behind)
    behind.end(LOGITS_NAME)
    theirs = [type(node).FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend([*front.nodes, *theirs, *behind.nodes])
    graph.initializer.extend([*front.constants, *behind.constants])
    float32 = onnx.TensorProto.FLOAT
    graph.input.append(onnx.helper.make_tensor_value_info(INPUT_NAME, float32, [1, 3, *picture.size]))
    shape = [1, metadata.num_classes, *scores.size]
    graph.output.append(onnx.helper.make_tensor_value_info(LOGITS_NAME, float32, shape))
    properties = {entry.key: entry.value for entry in model.metadata_props} | metadata.to_strings()
    onnx.helper.set_model_props(model, properties)
    return model


def at_size(foreign: ForeignGraph, picture: PictureInput, outputs: Sequence[str]) -> bytes:
    """The foreign graph itself for pictures of one size, giving some of its tensors."""
    onnx = require("onnx", "adopt models", "pip install onnx")
    model = onnx.ModelProto()
    model.CopyFrom(foreign.model)
    graph = model.graph
    dimensions = graph.input[0].type.tensor_type.shape.dim
    for dimension, side in zip(dimensions, picture.shape, strict=True):
        dimension.dim_value = side
    # What the exporter wrote about shapes need not hold for this size.
    del graph.value_info[:], graph.output[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    content: bytes = model.SerializeToString()
    return content


def _front(picture: PictureInput, chain: _Chain, *, feed_float: bool) -> None:
    if picture.is_imagenet:
        _colors(picture, chain)
    else:
        # Back to the bytes exactly, so that the graph sees the very numbers that its own program would give it.
        chain.add("Mul", _planes(255 * np.float64(IMAGENET_STD)))
        chain.add("Add", _planes(255 * np.float64(IMAGENET_MEAN) + 0.5))
        chain.add("Floor")
        _colors(picture, chain)
        _normalize(picture, chain)
    if picture.layout.endswith("hwc"):
        chain.add("Transpose", perm=[0, 2, 3, 1])
    if not picture.layout.startswith("n"):
        chain.add("Reshape", np.array(picture.shape))
    if picture.kind != "float32" and not (picture.kind == "uint8" and feed_float):
        chain.cast(picture.kind)


def _colors(picture: PictureInput, chain: _Chain) -> None:
    if picture.color == "bgr":
        chain.add("Gather", _BACKWARD, axis=1)


def _normalize(picture: PictureInput, chain: _Chain) -> None:
    steps = (("Div", (picture.divisor,) * 3, 1.0), ("Sub", picture.mean, 0.0), ("Div", picture.std, 1.0))
    for operator, values, neutral in steps:
        if any(value != neutral for value in values):
            chain.add(operator, _planes(values))


def _behind(opset: int, scores: Scores, chain: _Chain) -> None:
    if scores.kind != "float32":
        chain.cast("float32")
    if scores.layout == "labels":
        _one_hot(opset, scores, chain)
        return
    if scores.layout in ("chw", "hwc"):
        full = (scores.channels, *scores.size) if scores.layout == "chw" else (*scores.size, scores.channels)
        chain.add("Reshape", np.array((1, *full)))
    if scores.layout.endswith("hwc"):
        chain.add("Transpose", perm=[0, 3, 1, 2])
    if scores.are_likelihoods:
        chain.add("Max", np.full(1, SMALLEST_LIKELIHOOD, np.float32))
        chain.add("Log")
    if not scores.is_in_order:
        chain.add("Gather", np.array(scores.classes), axis=1)


def _one_hot(opset: int, scores: Scores, chain: _Chain) -> None:
    """1 where the label is the class, 0 elsewhere; 0/0, which fails the frame, where it is none of the classes."""
    chain.add("Reshape", np.array((1, 1, *scores.size)))
    chain.add("Sub", np.array(scores.classes, np.float32)[None, :, None, None])
    chain.add("Abs")
    chain.add("Sub", np.ones(1, np.float32), first=True)
    chain.add("Relu")
    ones = chain.tensor
    if opset < _AXES_ARE_AN_INPUT:
        chain.add("ReduceSum", axes=[1], keepdims=1)
    else:
        chain.add("ReduceSum", np.array([1]), keepdims=1)
    chain.put("Div", [ones, chain.tensor])


def _planes(values: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return np.asarray(values, np.float32)[None, :, None, None]


def _is_cast_first(graph: Any, tensor: str) -> bool:
    """Whether nothing computes with the bytes of an input before they are cast: then floats do as well.

    TensorRT has no bytes inside a network.
    """
    readers = [node for node in graph.node if tensor in read_by(node)]
    return bool(readers) and all(
        node.op_type == "Cast" or (node.op_type in _MOVING and _is_cast_first(graph, node.output[0]))
        for node in readers
    )


def _leave_out_behind(graph: Any, tensor: str) -> None:
    """Remove the nodes that nothing in front of ``tensor`` needs."""
    used, needed = {tensor}, []
    for node in reversed(graph.node):
        if used & set(node.output):
            used |= read_by(node)
            needed.append(node)
    kept = [type(node).FromString(node.SerializeToString()) for node in reversed(needed)]
    weights = [type(one).FromString(one.SerializeToString()) for one in graph.initializer if one.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)


def _rename_ours(graph: Any) -> dict[str, str]:
    """Their tensors that have the names of our input and output get others; returns which."""
    taken = _names(graph)
    renamed = {}
    for name in (INPUT_NAME, LOGITS_NAME):
        if name in taken:
            other = name + "_theirs"
            while other in taken:
                other += "_"
            renamed[name] = other
    if renamed:
        _rename(graph, renamed)
    return renamed


def _rename(graph: Any, names: dict[str, str]) -> None:
    for tensor in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        for ends in (node.input, node.output):
            for i, name in enumerate(ends):
                ends[i] = names.get(name, name)
        for attribute in node.attribute:
            for body in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                _rename(body, names)


def _names(graph: Any) -> set[str]:
    """All names of tensors and nodes, those of bodies that read them included."""
    names = {tensor.name for tensor in (*graph.input, *graph.output, *graph.initializer)}
    for node in graph.node:
        names |= {node.name, *node.output} | read_by(node)
    return names
