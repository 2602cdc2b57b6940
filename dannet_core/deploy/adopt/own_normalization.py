"""Constants at the head of a graph that show that it normalises its picture itself."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dannet_core.deploy.adopt.foreign import ForeignGraph
from dannet_core.deploy.adopt.normalization import AS_THEY_ARE, Normalization
from dannet_core.errors import SettingsError, require
from dannet_core.pixels import IMAGENET_MEAN

Values = npt.NDArray[np.float64]
_MOVING: Final = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_ARITHMETIC: Final = frozenset({"Add", "Div", "Mul", "Sub"})
_BYTES_UP_TO: Final = 0.07
"""Networks want numbers of a size of one to five: a factor up to this one is for pixels of 0..255."""
_UNIT_FROM: Final = 0.5
"""And one from this on is for pixels of 0..1."""
_MEAN_OF_BYTES_FROM: Final = 1.5
"""A mean above it is one of pixels of 0..255."""


def own_normalization(foreign: ForeignGraph) -> Normalization | None:
    """A normalisation that leaves all but the range to the graph; None where the graph shows nothing.

    Raises:
        SettingsError: it scales its picture, by factors that fit neither pixels of 0..1 nor of 0..255.
    """
    onnx = require("onnx", "adopt models", "pip install onnx")
    factor, offset, nodes = _affine_head(onnx, foreign)
    mean = -offset / factor
    if not nodes or (mean < 0).any():  # no pixel is below 0
        return None
    divisors = _divisors(factor, mean)
    if len(divisors) > 1:
        said = ", ".join(nodes)
        raise SettingsError(
            f"pixel_range: the graph begins with {said}, which fits neither 1 nor 255: say which it wants"
        )
    where = f"recognised: the graph begins with {', '.join(nodes)}"
    if not divisors:
        return None
    (divisor,) = divisors
    return Normalization(divisor, *AS_THEY_ARE[1:], _color(mean * divisor / 255), where)


def _divisors(factor: Values, mean: Values) -> set[float]:
    """What the mean and the factor, where there are any, say that bytes are to be divided by: two where they differ."""
    divisors = set()
    if mean.any():
        divisors.add(1.0 if mean.max() > _MEAN_OF_BYTES_FROM else 255.0)
    largest = float(np.abs(factor).max())
    if (factor != 1).any():
        divisors |= {1.0} if largest <= _BYTES_UP_TO else {255.0} if largest >= _UNIT_FROM else {1.0, 255.0}
    return divisors


def _color(mean: npt.NDArray[np.float64]) -> str | None:
    """The order in which ImageNet's mean, of pixels of 0..1, appears; None where it is another mean."""
    for color, expected in (("rgb", IMAGENET_MEAN), ("bgr", IMAGENET_MEAN[::-1])):
        if mean.size == 3 and np.allclose(mean, expected, atol=2e-3):
            return color
    return None


class _Affine(NamedTuple):
    """Factor and offset by channel, and the nodes that make them, in words."""

    factor: Values
    offset: Values
    nodes: tuple[str, ...]

    def then(self, operator: str, value: Values, reverse: bool) -> _Affine:
        """With one more node of a constant; ``reverse``: the constant comes first."""
        factor, offset = self.factor + 0 * value, self.offset + 0 * value
        if operator == "Mul":
            factor, offset = factor * value, offset * value
        elif operator == "Div":
            factor, offset = factor / value, offset / value
        elif operator == "Add":
            offset = offset + value
        else:
            factor, offset = (-factor, value - offset) if reverse else (factor, offset - value)
        named = f"{operator} {'/'.join(f'{one:.4g}' for one in value)}"
        return _Affine(factor, offset, (*self.nodes, named))


def _affine_head(onnx: Any, foreign: ForeignGraph) -> _Affine:
    """What the first nodes do that add and multiply by constants."""
    graph = foreign.model.graph
    constants = _constants(graph)
    head, tensor = _Affine(np.ones(1), np.zeros(1), ()), foreign.input
    while True:
        readers = [node for node in graph.node if tensor in node.input]
        node = readers[0] if len(readers) == 1 else None
        if node is not None and node.op_type in _ARITHMETIC:
            others = [constants[name] for name in node.input if name != tensor and name in constants]
            reverse = node.input[0] != tensor
            value = onnx.numpy_helper.to_array(others[0]).astype(np.float64).ravel() if others else np.empty(0)
            scales = node.op_type in ("Mul", "Div")
            if value.size not in (1, 3) or (scales and not value.all()) or (reverse and node.op_type == "Div"):
                return head
            head = head.then(node.op_type, value, reverse)
        elif node is None or node.op_type not in _MOVING:
            return head
        tensor = node.output[0]


def _constants(graph: Any) -> dict[str, Any]:
    """Tensors that do not depend on the picture, by name."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found.update((node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value")
    return found
