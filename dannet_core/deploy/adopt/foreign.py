"""Reads a graph of another project: weights that lie beside it included, one input, one output, refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dannet_core.deploy.finite_graph import drop_unused, read_by
from dannet_core.errors import ModelFileError, SettingsError, first_line, require
from dannet_core.inference.backends.onnxruntime import DISABLED_OPTIMIZERS
from dannet_core.metadata import KEY_PREFIX

MAX_BYTES: Final = (1 << 31) - 1
"""A file of one piece cannot be larger."""
OLDEST_OPSET: Final = 7
"""ONNX Runtime runs nothing older."""
OLDEST_IR: Final = 4
"""From here on a weight need not be an input as well."""
PICTURE_KINDS: Final = ("float32", "float16", "float64", "uint8")
_RANDOM: Final = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)

Shape = tuple[int | None, ...]


class ForeignGraph(NamedTuple):
    """A graph of one input and one output.

    Attributes:
        path: of its file.
        model: its `ModelProto`, nothing in it changed but what does not lead to the output.
        input: name of the input.
        shape: of the input; None for a dimension without a number.
        kind: NumPy's name of the input's type.
        output: name of the output.
        opset: of ONNX's own operators.
    """

    path: Path
    model: Any
    input: str
    shape: Shape
    kind: str
    output: str
    opset: int


def read_foreign(path: Path, input_name: str | None, output_name: str | None) -> ForeignGraph:
    """Read a graph.

    Args:
        path: the `.onnx` file.
        input_name: the picture's name, for a graph of several inputs; None = there is one.
        output_name: the name of scores or labels, for a graph of several outputs; None = there is one.

    Raises:
        ModelFileError: not an ONNX file, one of this package, too large, too old, weights beside it are missing, no
            picture goes in.
        SettingsError: a name is missing or wrong.
        MissingPackageError: onnx is not installed.
    """
    onnx = require("onnx", "adopt models", "pip install onnx")
    model = _load(onnx, path)
    if any(entry.key == KEY_PREFIX + "arch" for entry in model.metadata_props):
        raise ModelFileError(f"{path}: is a file of this package already: use it as it is")
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    if opset < OLDEST_OPSET:
        raise ModelFileError(f"{path}: got operator set {opset}, expected {OLDEST_OPSET} or later: export it again")
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    model.ir_version = max(model.ir_version, OLDEST_IR)
    _keep(graph.input, [tensor for tensor in graph.input if tensor.name not in weights])
    output = _one_of(path, "output", {tensor.name: tensor for tensor in graph.output}, output_name)
    _keep(graph.output, [output])
    drop_unused(graph)
    _require_no_chance(path, graph)
    taken = set().union(*map(read_by, graph.node))
    needed = {tensor.name: tensor for tensor in graph.input if tensor.name in taken}
    picture = _one_of(path, "input", needed, input_name)
    if len(needed) > 1:
        raise ModelFileError(
            f"{path}: needs the inputs {', '.join(needed)}, expected a picture alone: export it with the others as "
            "constants"
        )
    _keep(graph.input, [picture])
    shape, kind = _described(onnx, path, picture)
    return ForeignGraph(path, model, picture.name, shape, kind, output.name, opset)


def open_session(model: bytes, path: Path) -> Any:
    """An ONNX Runtime session on the CPU.

    Raises:
        ModelFileError: ONNX Runtime cannot run the graph; the operator is in its message.
        MissingPackageError: onnxruntime is not installed.
    """
    runtime = require("onnxruntime", "adopt models", "pip install onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    try:
        return runtime.InferenceSession(
            model, options, providers=providers, disabled_optimizers=list(DISABLED_OPTIMIZERS)
        )
    except Exception as error:
        raise ModelFileError(
            f"{path}: ONNX Runtime cannot run it: {first_line(error)}: export it for ONNX Runtime {runtime.__version__}"
        ) from error


def run(session: Any, picture: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """The output for one picture as the graph takes it.

    Raises:
        ModelFileError: it does not run at this size.
    """
    try:
        (output,) = session.run(None, {session.get_inputs()[0].name: picture})
    except Exception as error:
        raise ModelFileError(
            f"{path}: does not run on a picture of {list(picture.shape)}: {first_line(error)}: try another --input-size"
        ) from error
    return np.asarray(output)


def _load(onnx: Any, path: Path) -> Any:
    _require_room(path, path, ())
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise ModelFileError(f"{path}: not an ONNX file: {first_line(error)}: export the model to .onnx") from error
    if not model.graph.node:
        raise ModelFileError(f"{path}: not an ONNX file, or one without a single node: export the model to .onnx")
    beside = _weights_beside(onnx, model)
    if beside:
        _require_room(path, path.parent, beside)
        try:
            onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
        except Exception as error:
            raise ModelFileError(
                f"{path}: its weights in {', '.join(beside)} cannot be taken: {first_line(error)}: copy all files again"
            ) from error
    return model


def _weights_beside(onnx: Any, model: Any) -> list[str]:
    """Names of the files beside it that hold weights."""
    tensors = onnx.external_data_helper._get_all_tensors(model)  # noqa: SLF001  initializers and constants alike
    outside = (tensor for tensor in tensors if tensor.data_location == onnx.TensorProto.EXTERNAL)
    return sorted({entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"})


def _require_room(path: Path, where: Path, beside: Sequence[str]) -> None:
    """Raise ModelFileError unless all files are there and fit into one."""
    try:
        total = path.stat().st_size + sum((where / name).stat().st_size for name in beside)
    except OSError as error:
        raise ModelFileError(
            f"{error.filename}: cannot read: {error.strerror}: "
            + ("put that file, with the weights, beside the model" if beside else "check the path")
        ) from error
    if total > MAX_BYTES:
        raise ModelFileError(
            f"{path}: has {total / 1e9:.1f} GB, weights included, expected at most {MAX_BYTES / 1e9:.1f} in one file: "
            "export it in half precision"
        )


def _require_no_chance(path: Path, graph: Any) -> None:
    for node in graph.node:
        if node.op_type in _RANDOM:
            raise ModelFileError(
                f"{path}: draws random numbers in node '{node.name or node.output[0]}' ({node.op_type}): "
                "export it in eval mode"
            )


def _one_of(path: Path, what: str, found: dict[str, Any], wanted: str | None) -> Any:
    if wanted is not None:
        if wanted not in found:
            raise SettingsError(f"{what}: got '{wanted}', expected one of {_listed(found)} of {path}")
        return found[wanted]
    if len(found) != 1:
        raise SettingsError(f"{what}: {path} has {_listed(found) or 'none'}, expected one: name it with --{what}")
    return next(iter(found.values()))


def _listed(found: dict[str, Any]) -> str:
    return ", ".join(f"'{name}' {shown(_shape(tensor))}" for name, tensor in found.items())


def shown(shape: Sequence[int | None]) -> str:
    """A shape in words: ``1 x 3 x ? x ?``."""
    return " x ".join("?" if side is None else str(side) for side in shape) or "of unknown rank"


def _shape(tensor: Any) -> Shape:
    dimensions = tensor.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dimensions)


def _described(onnx: Any, path: Path, tensor: Any) -> tuple[Shape, str]:
    """Shape and type of the picture."""
    typed = tensor.type.tensor_type
    try:
        kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(typed.elem_type)).name
    except (KeyError, TypeError):
        kind = "unknown"
    shape = _shape(tensor) if typed.HasField("shape") else ()
    if len(shape) not in (3, 4) or kind not in PICTURE_KINDS:
        raise ModelFileError(
            f"{path}: input '{tensor.name}' is {shown(shape)} {kind}, expected a picture: 1 x 3 x H x W or "
            f"1 x H x W x 3 of {', '.join(PICTURE_KINDS)}"
        )
    return shape, kind


def _keep(field: Any, tensors: list[Any]) -> None:
    copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in tensors]
    del field[:]
    field.extend(copies)
