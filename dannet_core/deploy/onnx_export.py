"""From a trained network to the deployed graph: one `.onnx` file with fixed shapes and the model's metadata."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from dannet_core.atomic_files import write_whole
from dannet_core.errors import ModelFileError, OutputError, SettingsError, require
from dannet_core.inference.postprocess import class_scaling
from dannet_core.inference.presets import PRESETS, InferenceSettings
from dannet_core.metadata import ModelMetadata
from dannet_core.networks import DANNet
from dannet_core.networks.dannet import upsample
from dannet_core.networks.folding import beyond_half, fold_batch_norms
from dannet_core.pixels import MAX_SIDE, MIN_SIDE

INPUT_NAME: Final = "image"
OUTPUTS: Final[dict[str, tuple[str, ...]]] = {"logits": ("stride_logits", "relit"), "labels": ("labels",)}
"""Names of a graph's outputs, by what it gives; without a relighting network there is no ``relit``."""
PRECISIONS: Final = ("fp32", "fp16")
DEFAULT_OPSET: Final = 18
OPSETS: Final = range(18, 24)


@dataclass(frozen=True)
class GraphOptions:
    """What the graph gives.

    Attributes:
        output: ``logits``, for a program that upsamples and re-weights them itself (as this package does), or
            ``labels``, finished, for one that only shows or sends them.
        settings: labels only: the re-weighting; the rest is left to the program that runs the graph.
        label_size: labels only: (H, W) in pixels, e.g. the camera's; None = the input size.
        opset: ONNX operator set, 18 to 23.
    """

    output: str = "logits"
    settings: InferenceSettings = PRESETS["paper"]
    label_size: tuple[int, int] | None = None
    opset: int = DEFAULT_OPSET


class DeployedGraph(nn.Module):
    """What the `.onnx` file computes: 1 x 3 x H x W float32 to float32 stride logits and, if one is made, relit image.

    Args:
        net: in the precision it is to compute in.
        with_relit: False where there is no relighting network.
    """

    def __init__(self, net: DANNet, with_relit: bool = True) -> None:
        super().__init__()
        self.net = net
        self.with_relit = with_relit

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Run in the network's precision; float32 at both ends."""
        relit, stride_logits, _ = self.net.at_stride(image.to(next(self.net.parameters()).dtype))
        if not self.with_relit:
            return (stride_logits.float(),)
        # Where nothing relights, the relit image is the input, which a graph may not return as it is.
        relit = relit.clone() if relit is image else relit
        return stride_logits.float(), relit.float()


class LabelGraph(nn.Module):
    """What an `.onnx` file with finished labels computes: 1 x 3 x H x W float32 to 1 x h x w uint8 train ids.

    Args:
        net: in the precision it is to compute in; re-weighting, upsampling and argmax are in float32 always.
        metadata: for the class shares.
        settings: how the classes are re-weighted.
        size: (h, w) of the labels.
    """

    factor: Tensor
    offset: Tensor

    def __init__(
        self, net: DANNet, metadata: ModelMetadata, settings: InferenceSettings, size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.net = net
        scaling = class_scaling(settings.reweight, metadata.class_shares, settings.reweight_std)
        self.register_buffer("factor", torch.from_numpy(scaling.factor)[:, None, None])
        self.register_buffer("offset", torch.from_numpy(scaling.offset)[:, None, None])
        self.size = size

    def forward(self, image: Tensor) -> Tensor:
        """The best class of the re-weighted, bilinearly upsampled logits."""
        _, stride_logits, _ = self.net.at_stride(image.to(next(self.net.parameters()).dtype))
        scores = stride_logits.float() * self.factor + self.offset
        return upsample(scores, self.size, self.net.align_corners).argmax(dim=1).to(torch.uint8)


class MatrixPool(nn.Module):
    """Adaptive average pooling as two products with constant matrices, for graphs of one fixed size.

    Exporters unroll adaptive pooling into hundreds of gathers where the size is no multiple of the output's; an average
    over rows, then over columns is the same linear map.

    Args:
        size: rows and columns of the output.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """N x C x h x w to N x C x size x size."""
        rows, columns = (averaging_matrix(side, self.size).to(x) for side in x.shape[-2:])
        return rows @ x @ columns.T


def averaging_matrix(side: int, size: int) -> Tensor:
    """Matrix of size x side float32: row i averages the pixels that adaptive average pooling gives to output i."""
    matrix = torch.zeros(size, side)
    for i in range(size):
        first, end = i * side // size, -(-(i + 1) * side // size)
        matrix[i, first:end] = 1.0 / (end - first)
    return matrix


def export_onnx(
    net: DANNet,
    metadata: ModelMetadata,
    input_size: tuple[int, int],
    path: str | Path,
    precision: str = "fp32",
    options: GraphOptions = GraphOptions(),
) -> Path:
    """Write the deployed graph; the file appears whole or not at all, and ``net`` is left as it is.

    The graph has the input ``image`` (1 x 3 x H x W float32, ImageNet-normalised RGB) and the outputs ``stride_logits``
    (1 x K x h x w float32, see `DannetOutput`) and, where there is a relighting network, ``relit`` (1 x 3 x H x W
    float32), in both precisions; or the one output ``labels`` (1 x h x w uint8 train ids). Batch norms are folded into
    the convolutions, shapes are constants, and the metadata is in the model's properties.

    Args:
        net: on any device, in any mode.
        metadata: describes ``net``; ``input_size``, ``precision`` and ``output`` are filled in here.
        input_size: (H, W) in pixels, 64 to 16384.
        path: ends in ``.onnx``.
        precision: ``fp32``, or ``fp16`` for half weights and computation.
        options: what the graph gives.

    Returns:
        The path written.

    Raises:
        SettingsError: an argument is out of its range, or a weight is too large for fp16.
        ModelFileError: ``path`` has another suffix.
        OutputError: the folder is missing or cannot be written to.
        MissingPackageError: onnx or onnxscript is not installed.
    """
    target = Path(path)
    check_arguments(input_size, target, precision, options)
    onnx = require("onnx", "export .onnx models", "pip install onnx onnxscript")
    require("onnxscript", "export .onnx models", "pip install onnx onnxscript")
    size = (int(input_size[0]), int(input_size[1]))
    prepared = prepare(net, precision)
    graph = (
        DeployedGraph(prepared, with_relit="relit" not in metadata.absent)
        if options.output == "logits"
        else LabelGraph(prepared, metadata, options.settings, options.label_size or size)
    )
    names = [name for name in OUTPUTS[options.output] if name not in metadata.absent]
    model = _trace(graph.eval(), size, names, options.opset)
    strip_traces(model)
    described = metadata.replace(input_size=size, precision=precision, output=options.output)
    onnx.helper.set_model_props(model, described.to_strings())
    onnx.checker.check_model(model, full_check=True)
    return write_whole(target, model.SerializeToString())


def prepare(net: DANNet, precision: str) -> DANNet:
    """A copy for inference: on the CPU, batch norms folded, pooling as matrices, in the precision asked for.

    Raises:
        SettingsError: a folded weight is too large for fp16.
    """
    prepared = copy.deepcopy(net).cpu().float().eval()
    fold_batch_norms(prepared)
    for parent in list(prepared.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.AdaptiveAvgPool2d) and isinstance(child.output_size, int) and child.output_size > 1:
                setattr(parent, name, MatrixPool(child.output_size))
    if precision == "fp32":
        return prepared
    if (weight := beyond_half(prepared)) is not None:
        raise SettingsError(f"precision: got 'fp16', but weight '{weight}' exceeds its largest number 65504: use fp32")
    return prepared.half()


def strip_traces(model: Any) -> None:
    """Remove what the exporter notes beside the graph: Python stack traces with the paths of this machine."""
    model.doc_string = ""
    graph = model.graph
    for entry in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        entry.doc_string = ""
        del entry.metadata_props[:]


def _trace(graph: nn.Module, input_size: tuple[int, int], names: list[str], opset: int) -> Any:
    with warnings.catch_warnings(), torch.no_grad():
        # Deprecations inside torch's exporter, nothing a caller could act on.
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            graph,
            (torch.zeros(1, 3, *input_size),),
            dynamo=True,
            optimize=True,
            opset_version=opset,
            input_names=[INPUT_NAME],
            output_names=names,
            verbose=False,
        )
    return program.model_proto


def check_arguments(input_size: tuple[int, int], path: Path, precision: str, options: GraphOptions) -> None:
    """Raise what `export_onnx` would, before a network is loaded."""
    _check_size("input_size", input_size)
    if precision not in PRECISIONS:
        raise SettingsError(f"precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if path.suffix != ".onnx":
        raise ModelFileError(f"{path}: got suffix '{path.suffix}', expected '.onnx'")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: no such folder: make it first")
    _check_options(options)


def _check_options(options: GraphOptions) -> None:
    if options.output not in OUTPUTS:
        raise SettingsError(f"output: got {options.output!r}, expected one of {', '.join(OUTPUTS)}")
    if options.label_size is not None:
        if options.output != "labels":
            raise SettingsError(f"label_size: got {options.label_size} with output '{options.output}', expected none")
        _check_size("label_size", options.label_size)
    if options.opset not in OPSETS:
        raise SettingsError(f"opset: got {options.opset}, expected {OPSETS.start} to {OPSETS.stop - 1}")


def _check_size(name: str, size: tuple[int, int]) -> None:
    if len(size) != 2 or not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise SettingsError(f"{name}: got {size}, expected height and width of {MIN_SIDE} to {MAX_SIDE} pixels")
