"""What OpenVINO's CPU loses, asked of the graph beforehand: its ReLU, clip and maximum turn NaN into a number.

A network that divides 0 by 0 before a ReLU gives ordinary logits there, and labels that look right. So the weights have
to be numbers, and whatever is divided by, or has its root taken, becomes an output more: its smallest value.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from dannet_core.errors import BackendError

GUARD_NAME: Final = "smallest_divisor"
"""The added output, one float32: above 0 where every division and root of the frame was one of numbers."""
LARGEST_WEIGHT: Final = 1e18
"""Two of these multiplied still are a float32."""
_TINIEST: Final = np.float32(1e-38)


def require_plain_weights(model: Any, path: Path) -> None:
    """Refuse a graph whose constants can make NaN or infinity by themselves.

    Args:
        model: an `openvino.Model`.
        path: its file, for the message.

    Raises:
        BackendError: a constant is NaN, infinite or beyond `LARGEST_WEIGHT`.
    """
    for node in model.get_ops():
        if node.get_type_name() != "Constant" or not node.get_element_type().is_real():
            continue
        data = node.data
        # NaN compares as False.
        if data.size and not float(np.abs(data).max()) <= LARGEST_WEIGHT:
            raise BackendError(
                f"openvino: {path.name}: constant '{node.get_friendly_name()}' holds NaN, infinity or more than "
                f"{LARGEST_WEIGHT:g}, which may become labels in OpenVINO: run it with backend onnxruntime"
            )


def guard_divisions(model: Any) -> bool:
    """Add the output `GUARD_NAME` where the graph has a division or a root that is not safe for every picture.

    Args:
        model: an `openvino.Model`, changed in place.

    Returns:
        Whether there was any.
    """
    from openvino import opset8 as ops

    smallest = []
    for node in model.get_ordered_ops():
        argument, of_root = _risky_argument(node)
        if argument is None:
            continue
        axes = np.arange(len(argument.get_partial_shape()), dtype=np.int64)
        value = ops.convert(argument, np.float32)
        # A root of 0 is 0: it counts as more than nothing.
        value = ops.add(value, ops.constant(_TINIEST)) if of_root else ops.absolute(value)
        smallest.append(ops.unsqueeze(ops.reduce_min(value, ops.constant(axes), keep_dims=False), np.int64(0)))
    if not smallest:
        return False
    joined = ops.reduce_min(ops.concat(smallest, 0), ops.constant(np.zeros(1, np.int64)), keep_dims=True)
    joined.output(0).set_names({GUARD_NAME})
    model.add_results([ops.result(joined)])
    model.validate_nodes_and_infer_types()
    return True


def _risky_argument(node: Any) -> tuple[Any | None, bool]:
    """What must not be 0 (of a division) or less (of a root), and which of the two; None where it cannot be."""
    kind = node.get_type_name()
    if kind == "Divide" and node.get_output_element_type(0).is_real():
        return (None, False) if _is_positive(node.input_value(1)) else (node.input_value(1), False)
    if kind in ("Sqrt", "Log"):
        return (None, True) if _is_not_negative(node.input_value(0)) else (node.input_value(0), True)
    if kind != "Power":
        return None, False
    exponent = _constant(node.input_value(1))
    whole = exponent is not None and bool((exponent == np.round(exponent)).all())
    if exponent is not None and whole and bool((exponent >= 0).all()):
        return None, False
    base, root = node.input_value(0), exponent is not None and bool((exponent > 0).all())
    safe = _is_not_negative(base) if root else _is_positive(base)
    return (None if safe else base), root


_SHAPES: Final = (
    "Convert", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Broadcast", "Sqrt", "ReduceMean", "ReduceSum",
    "ReduceMax",
)  # fmt: skip
_NOT_NEGATIVE: Final = ("Relu", "Sqrt", "Abs", "Exp", "Sigmoid", "HSigmoid", "Softmax")


def _constant(value: Any) -> Any | None:
    node = value.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node.data if node.get_type_name() == "Constant" else None


def _is_positive(value: Any) -> bool:
    constant = _constant(value)
    if constant is not None:
        return bool((np.asarray(constant) > 0).all())
    node, kind = value.get_node(), value.get_node().get_type_name()
    if kind in _SHAPES:
        return _is_positive(node.input_value(0))
    if kind == "Clamp":
        return bool(node.get_attributes()["min"] > 0)
    if kind != "Add":
        return False
    one, other = node.input_value(0), node.input_value(1)
    return (_is_positive(one) and _is_not_negative(other)) or (_is_positive(other) and _is_not_negative(one))


def _is_not_negative(value: Any) -> bool:
    constant = _constant(value)
    if constant is not None:
        return bool((np.asarray(constant) >= 0).all())
    node, kind = value.get_node(), value.get_node().get_type_name()
    if kind in _NOT_NEGATIVE:
        return True
    check = _WHERE_INPUTS_TELL.get(kind, _no)
    return check(node)


def _no(_node: Any) -> bool:
    return False


def _both(node: Any) -> bool:
    return _is_not_negative(node.input_value(0)) and _is_not_negative(node.input_value(1))


def _product(node: Any) -> bool:
    one, other = node.input_value(0), node.input_value(1)
    return (one.get_node() == other.get_node() and one.get_index() == other.get_index()) or _both(node)


def _even_power(node: Any) -> bool:
    exponent = _constant(node.input_value(1))
    return exponent is not None and bool((np.asarray(exponent) % 2 == 0).all())


_WHERE_INPUTS_TELL: Final[dict[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(_SHAPES, lambda node: _is_not_negative(node.input_value(0))),
    "Clamp": lambda node: bool(node.get_attributes()["min"] >= 0),
    "Add": _both,
    "MatMul": _both,
    "Multiply": _product,
    "Power": _even_power,
}
