"""What OpenVINO's CPU loses, asked of the graph beforehand: its ReLU, clip and maximum turn NaN into a number.

A network that divides 0 by 0 before a ReLU gives ordinary logits there, and labels that look right. So the weights have
to be numbers, and of no size that overflows; and whatever is divided by, raised to, or has its root or logarithm taken,
becomes an output more: how far the frame stayed from where that gives NaN or infinity.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from dannet_core.errors import BackendError

GUARD_NAME: Final = "smallest_divisor"
"""The added output, one float32: above 0 where every division, root and power of the frame was one of numbers."""
LARGEST_WEIGHT: Final = 1e6
"""A trained network's are far below; six layers of these still give a float32."""
_LARGEST_EXPONENT: Final = np.float32(88)
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
    """Add the output `GUARD_NAME` where the graph has a division, root or power that is not safe for every picture.

    Args:
        model: an `openvino.Model`, changed in place.

    Returns:
        Whether there was any.
    """
    from openvino import opset8 as ops

    smallest = []
    for node in model.get_ordered_ops():
        argument, kind = _risky_argument(node)
        if argument is None:
            continue
        axes = np.arange(len(argument.get_partial_shape()), dtype=np.int64)
        value = _ROOM[kind](ops, ops.convert(argument, np.float32))
        smallest.append(ops.unsqueeze(ops.reduce_min(value, ops.constant(axes), keep_dims=False), np.int64(0)))
    if not smallest:
        return False
    joined = ops.reduce_min(ops.concat(smallest, 0), ops.constant(np.zeros(1, np.int64)), keep_dims=True)
    joined.output(0).set_names({GUARD_NAME})
    model.add_results([ops.result(joined)])
    model.validate_nodes_and_infer_types()
    return True


def _risky_argument(node: Any) -> tuple[Any | None, str]:
    """What gives NaN or infinity outside a range, and as what, see `_ROOM`; None where it cannot leave it."""
    kind = node.get_type_name()
    if kind == "Divide" and node.get_output_element_type(0).is_real():
        return (None if _is_positive(node.input_value(1)) else node.input_value(1)), "divisor"
    if kind in ("Sqrt", "Log"):
        safe = _is_not_negative if kind == "Sqrt" else _is_positive
        return (None if safe(node.input_value(0)) else node.input_value(0)), "root" if kind == "Sqrt" else "positive"
    if kind == "Exp":
        return node.input_value(0), "exponent"
    return _risky_power(node) if kind == "Power" else (None, "")


def _risky_power(node: Any) -> tuple[Any | None, str]:
    base, exponent = node.input_value(0), _constant(node.input_value(1))
    if exponent is None:
        return (None if _is_positive(base) else base), "positive"
    whole, falls = bool((exponent == np.round(exponent)).all()), bool((np.asarray(exponent) < 0).any())
    if whole:
        return (base if falls and not _is_positive(base) else None), "divisor"
    if falls:
        return (None if _is_positive(base) else base), "positive"
    return (None if _is_not_negative(base) else base), "root"


_ROOM: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "divisor": lambda ops, value: ops.absolute(value),
    "positive": lambda _ops, value: value,
    # A root of 0 is 0: it counts as more than nothing.
    "root": lambda ops, value: ops.add(value, ops.constant(_TINIEST)),
    "exponent": lambda ops, value: ops.subtract(ops.constant(_LARGEST_EXPONENT), value),
}
"""By kind of argument, what is above 0 where it is in its range."""
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
