"""Refuses a graph that gives NaN or infinity on any of its frames, and says at which node that begins.

Every graph is tried on a black, a dark and a white picture too: a sum that becomes 0 on one of them, and divides, need
not do so on any picture that somebody has at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dannet_core.errors import MissingPackageError, NotFiniteError, require
from dannet_core.inference.backends.onnxruntime import DISABLED_OPTIMIZERS, INPUT_NAME
from dannet_core.inference.postprocess import LARGEST_SCORE
from dannet_core.inference.preprocess import preprocess
from dannet_core.pixels import Rgb

Frame = npt.NDArray[np.float32]
CHUNK_BYTES: Final = 512 << 20
"""Nodes' outputs that are looked at in one run."""


class NamedFrame(NamedTuple):
    """A frame, 1 x 3 x H x W float32 ImageNet-normalised RGB, and what an error message calls it."""

    name: str
    image: Frame


def hard_pictures(size: tuple[int, int]) -> dict[str, Rgb]:
    """A black picture, a night without light but sensor noise, and a white picture, of (height, width)."""
    rng = np.random.default_rng(0)
    return {
        "a black picture": np.zeros((*size, 3), np.uint8),
        "a dark picture": rng.integers(0, 9, (*size, 3), dtype=np.uint8),
        "a white picture": np.full((*size, 3), 255, np.uint8),
    }


def hard_frames(size: tuple[int, int]) -> list[NamedFrame]:
    """The same as a network takes them."""
    return [NamedFrame(name, preprocess(picture, size)) for name, picture in hard_pictures(size).items()]


def numbered(frames: Sequence[Frame]) -> list[NamedFrame]:
    """Frames of a caller, called frame 1, frame 2, and so on."""
    return [NamedFrame(f"frame {number}", frame) for number, frame in enumerate(frames, 1)]


def with_hard_frames(frames: Sequence[Frame]) -> list[NamedFrame]:
    """A caller's frames, and the hard ones of their size."""
    height, width = frames[0].shape[-2:]
    return [*numbered(frames), *hard_frames((height, width))]


def require_finite_graph(model: bytes, where: str, frames: Sequence[Frame] = ()) -> None:
    """Run a graph on frames and on the hard ones of its size, on the CPU.

    Graphs in half precision are looked at node by node, since runtimes compute in float32 where they have no half
    kernels, and an overflow would not show in what comes out; and so are graphs that give finished labels.

    Args:
        model: an `.onnx` file's content; one picture in, of a fixed size. Another graph is left to who reads it.
        where: its name for the error message.
        frames: 1 x 3 x H x W float32, of the graph's input size.

    Raises:
        NotFiniteError: a value is NaN or infinite; the message names the frame and the first such node.
        MissingPackageError: onnxruntime is not installed, or onnx where a node is to be named.
    """
    session = _session(model)
    size = _fixed_size(session)
    if size is None:
        return
    gives_scores = any("float" in output.type for output in session.get_outputs())
    by_node = not gives_scores or _computes_in_half(model)
    for frame in (*numbered(frames), *hard_frames(size)):
        if by_node:
            refuse_first_node(model, where, frame, suspected=False)
        elif not all(map(is_finite, session.run(None, {INPUT_NAME: frame.image}))):
            refuse_first_node(model, where, frame)


def refuse_first_node(model: bytes, where: str, frame: NamedFrame, *, suspected: bool = True) -> None:
    """Name the first node that gives NaN or infinity on a frame.

    Args:
        model: an `.onnx` file's content.
        where: its name for the error message.
        frame: the frame.
        suspected: the frame is known to give such values: refuse it even where no single node does.

    Raises:
        NotFiniteError: there is such a node, or ``suspected``.
    """
    first = _first_node(model, frame.image)
    if first is None and not suspected:
        return
    node = "in no node by itself" if first is None else f"first in node '{first.name}' ({first.op_type})"
    half = first is not None and first.half
    advice = "half precision overflows there: use fp32" if half else "guard the division there, or look at the weights"
    raise NotFiniteError(f"{where}: gives NaN or infinity on {frame.name}, {node}: {advice}")


def is_finite(values: npt.NDArray[Any]) -> bool:
    """Whether all of a tensor are numbers; integers always are."""
    return values.dtype.kind != "f" or not values.size or float(np.abs(values).max()) <= LARGEST_SCORE


class _Node(NamedTuple):
    name: str
    op_type: str
    half: bool


def _session(model: bytes, *, as_written: bool = False) -> Any:
    runtime = require("onnxruntime", "run .onnx models", "pip install onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    if as_written:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return runtime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(DISABLED_OPTIMIZERS)
    )


def _fixed_size(session: Any) -> tuple[int, int] | None:
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 and inputs[0].name == INPUT_NAME else []
    fixed = len(shape) == 4 and shape[:2] == [1, 3] and all(type(side) is int for side in shape)
    return (shape[2], shape[3]) if fixed else None


def _computes_in_half(model: bytes) -> bool:
    try:
        onnx = require("onnx", "look into .onnx models", "pip install onnx")
    except MissingPackageError:  # a vehicle that builds its engine has ONNX Runtime alone: what comes out still tells
        return False
    halves = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    graph = onnx.load_model_from_string(model).graph
    return any(tensor.data_type in halves for tensor in graph.initializer)


def _first_node(model: bytes, image: Frame) -> _Node | None:
    """The first node, in the order of computation, one of whose outputs is not finite; None where none is."""
    onnx = require("onnx", "say which node of a graph gives NaN", "pip install onnx")
    typed = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model))
    for nodes in _chunks(onnx, typed):
        part = onnx.ModelProto()
        part.CopyFrom(typed)
        wanted = [tensor for _, outputs in nodes for tensor in outputs]
        del part.graph.output[:]
        part.graph.output.extend(wanted)
        drop_unused(part.graph)
        values = _session(part.SerializeToString(), as_written=True).run(
            [tensor.name for tensor in wanted], {INPUT_NAME: image}
        )
        finite = {tensor.name: is_finite(value) for tensor, value in zip(wanted, values, strict=True)}
        for node, outputs in nodes:
            if not all(finite[tensor.name] for tensor in outputs):
                half = outputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT
                return _Node(node.name or node.output[0], node.op_type, half)
    return None


def _chunks(onnx: Any, model: Any) -> Iterator[list[tuple[Any, list[Any]]]]:
    """Nodes with their float outputs, as many as fit into `CHUNK_BYTES` at once."""
    sizes = {onnx.TensorProto.FLOAT: 4, onnx.TensorProto.FLOAT16: 2}
    known = {tensor.name: tensor for tensor in (*model.graph.value_info, *model.graph.output)}
    chunk: list[tuple[Any, list[Any]]] = []
    room = CHUNK_BYTES
    for node in model.graph.node:
        outputs = [known[name] for name in node.output if name in known]
        outputs = [tensor for tensor in outputs if tensor.type.tensor_type.elem_type in sizes]
        if not outputs:
            continue
        for tensor in outputs:
            sides = [dimension.dim_value for dimension in tensor.type.tensor_type.shape.dim]
            room -= int(np.prod(sides)) * sizes[tensor.type.tensor_type.elem_type]
        chunk.append((node, outputs))
        if room <= 0:
            yield chunk
            chunk, room = [], CHUNK_BYTES
    if chunk:
        yield chunk


def read_by(node: Any) -> set[str]:
    """Names that a node reads; bodies inside it read tensors of the graph around them too."""
    names = set(node.input)
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            names.update(tensor.name for tensor in body.output)
            names.update(*(read_by(inner) for inner in body.node))
    return names


def drop_unused(graph: Any) -> None:
    """Remove nodes and initializers that lead to no output; nodes are in the order of computation."""
    used = {tensor.name for tensor in graph.output}
    needed = []
    for node in reversed(graph.node):
        if used & set(node.output):
            used.update(read_by(node))
            needed.append(node)
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(needed))
    graph.initializer.extend(weights)
