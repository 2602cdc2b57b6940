"""What a graph does to its scores at the very end: argmax, softmax, resize."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from dannet_core.deploy.adopt.foreign import ForeignGraph

_PASSING: Final = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_SOFTMAX_OF_ONE_AXIS: Final = 13
"""From this operator set on; before, it took the default axis 1 and all that follow."""
_ALIGN_CORNERS: Final = {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True}


class Resized(NamedTuple):
    """What goes into a bilinear resize, its node's name, and which of two ways it goes."""

    tensor: str
    node: str
    align_corners: bool


def argmax_input(foreign: ForeignGraph) -> tuple[str, str, int] | None:
    """What goes into the argmax that a graph of labels ends in, that node's name and axis; None without one."""
    node = _maker(foreign, foreign.output)
    while node is not None and node.op_type in _PASSING:
        node = _maker(foreign, node.input[0])
    attributes = _attributes(node)
    if node is None or node.op_type != "ArgMax" or attributes.get("select_last_index"):
        return None
    return node.input[0], _named(node), attributes.get("axis", 0)


def softmax_input(foreign: ForeignGraph, tensor: str, class_axis: int, rank: int) -> tuple[str, str] | None:
    """What goes into the softmax or sigmoid that makes a tensor, and which it is; None where nothing such does."""
    node = _maker(foreign, tensor)
    if node is None or node.op_type not in ("Softmax", "Sigmoid"):
        return None
    default = -1 if foreign.opset >= _SOFTMAX_OF_ONE_AXIS else 1
    axis = _attributes(node).get("axis", default)
    if node.op_type == "Softmax" and axis % rank != class_axis:
        return None
    return node.input[0], node.op_type


def resize_input(foreign: ForeignGraph, tensor: str) -> Resized | None:
    """What goes into the bilinear resize that makes a tensor; None where nothing such does."""
    node = _maker(foreign, tensor)
    if node is None or node.op_type != "Resize":
        return None
    attributes = _attributes(node)
    how = _ALIGN_CORNERS.get(attributes.get("coordinate_transformation_mode", b"half_pixel").decode())
    if attributes.get("mode", b"nearest") != b"linear" or how is None or attributes.get("antialias"):
        return None
    return Resized(node.input[0], _named(node), how)


def _maker(foreign: ForeignGraph, tensor: str) -> Any:
    return next((node for node in foreign.model.graph.node if tensor in node.output), None)


def _attributes(node: Any) -> dict[str, Any]:
    """Integers and strings."""
    return {} if node is None else {one.name: one.s or one.i for one in node.attribute}


def _named(node: Any) -> str:
    return str(node.name or node.output[0])
