"""INT8 by calibration on frames: Q/DQ around the convolutions, and those that cost labels left in half or float."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from dannet_core.atomic_files import write_whole
from dannet_core.deploy.finite_graph import drop_unused, require_finite_graph
from dannet_core.deploy.half_graph import HALF_SCALES_OPSET, to_half
from dannet_core.deploy.label_cost import LabelJudge, costliest_first, fewest
from dannet_core.deploy.plain_constants import cast_to_half, constants_to_weights
from dannet_core.errors import ModelFileError, OutputError, SettingsError, first_line, require
from dannet_core.inference.backends.onnxruntime import INPUT_NAME
from dannet_core.metadata import ModelMetadata

METHODS: Final = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
"""How ranges follow from what the frames gave; the value is ONNX Runtime's name for it."""
REST: Final = ("fp16", "fp32")
HELD_OUT_EVERY: Final = 4
"""Every fourth frame sets no range and only measures."""
MIN_FRAMES: Final = 2
TENSORRT_OPTIONS: Final = {
    # TensorRT has no zero points, wants biases in float, and quantizes what goes into a layer, not what comes out.
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "QDQKeepRemovableActivations": True,
    "OpTypesToExcludeOutputQuantization": ["Conv"],
}
_LAYER: Final = "Conv"

Frame = npt.NDArray[np.float32]


@dataclass(frozen=True)
class QuantizeSettings:
    """How to quantize.

    Attributes:
        method: how ranges follow from the frames: ``minmax``, ``entropy`` or ``percentile``.
        percentile: for ``percentile``: share in percent of the values that lie inside the range.
        min_agreement: share of pixels whose labels must stay the float graph's; layers are left out of quantization,
            the costliest first, until it is reached.
        measured_frames: how many held-out frames each layer's cost is measured on.
        groups: layers are measured in this many groups of neighbours.
        rest: precision of what is not quantized: ``fp16`` or ``fp32``.
    """

    method: str = "minmax"
    percentile: float = 99.99
    min_agreement: float = 0.98
    measured_frames: int = 4
    groups: int = 40
    rest: str = "fp16"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SettingsError(f"method: got {self.method!r}, expected one of {', '.join(METHODS)}")
        if self.rest not in REST:
            raise SettingsError(f"rest: got {self.rest!r}, expected one of {', '.join(REST)}")
        if not 0 <= self.min_agreement <= 1:
            raise SettingsError(f"min_agreement: got {self.min_agreement}, expected 0 to 1")
        if self.groups < 1 or self.measured_frames < 1:
            raise SettingsError("groups, measured_frames: expected at least 1")


class QuantizeReport(NamedTuple):
    """What came out.

    Attributes:
        layers: convolutions in the graph.
        kept: names of those left in higher precision, costliest first.
        agreement: share of all held-out frames' pixels that keep the float graph's labels.
        agreement_all: the same with every convolution quantized, on the frames that chose.
        frames: how many set the ranges, and how many measured.
    """

    layers: int
    kept: tuple[str, ...]
    agreement: float
    agreement_all: float
    frames: tuple[int, int]

    def __str__(self) -> str:
        """One line."""
        ranging, measuring = self.frames
        kept = f"; left out: {', '.join(self.kept)}" if self.kept else ""
        return (
            f"{self.layers - len(self.kept)} of {self.layers} convolutions in int8, {self.agreement:.2%} of the labels "
            f"stay on {measuring} held-out frames ({self.agreement_all:.2%} with all in int8; ranges from {ranging} "
            f"frames){kept}"
        )


def quantize(
    onnx_path: str | Path, out: str | Path, frames: Sequence[Frame], settings: QuantizeSettings = QuantizeSettings()
) -> QuantizeReport:
    """Write a graph whose convolutions take int8, per-channel weights and symmetric activations, as TensorRT fuses it.

    Args:
        onnx_path: a float32 graph with stride logits, from `dannet export`.
        out: ends in ``.onnx``; its metadata says precision ``int8``.
        frames: 1 x 3 x H x W float32 ImageNet-normalised RGB of the graph's input size; at least two.
        settings: how.

    Raises:
        SettingsError: a setting is out of its range, too few frames, or frames of another size.
        ModelFileError: the graph is not a float32 one with logits.
        OutputError: the file cannot be written.
        NotFiniteError: the graph, or what it became, gives NaN or infinity on a frame; see `require_finite_graph`.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    target = Path(out)
    _check(target, frames)
    quantizer = _Quantizer(Path(onnx_path), settings)
    _check_sizes(frames, quantizer.metadata)
    chosen = _held_out(len(frames))
    held_out = [frames[index] for index in chosen]
    ranging = [frame for index, frame in enumerate(frames) if index not in chosen]
    require_finite_graph(quantizer.model.SerializeToString(), str(onnx_path), frames)
    quantizer.calibrate(ranging)
    judge = LabelJudge(quantizer.metadata, quantizer.model, held_out[: settings.measured_frames])

    def agreement(names: Sequence[str]) -> float:
        return judge.agreement(quantizer.build(names))

    agreement_all = agreement(())
    enough = agreement_all >= settings.min_agreement
    costly = () if enough else costliest_first(quantizer.layers, agreement, settings.groups)
    kept = fewest(costly, agreement, settings.min_agreement)
    model = quantizer.finish(kept)
    content = model.SerializeToString()
    require_finite_graph(content, str(target), frames)
    final = LabelJudge(quantizer.metadata, quantizer.model, held_out).agreement(model)
    write_whole(target, content)
    return QuantizeReport(len(quantizer.layers), kept, final, agreement_all, (len(ranging), len(held_out)))


class _Quantizer:
    """Makes quantized graphs of one float graph, each with other layers left out."""

    def __init__(self, path: Path, settings: QuantizeSettings) -> None:
        self._onnx: Any = require("onnx", "quantize models", "pip install onnx")
        require("onnxruntime", "quantize models", "pip install onnxruntime")
        self._settings = settings
        self._ranges: Any = None
        self._quantized: Any = None
        try:
            self.model: Any = self._onnx.load(str(path))
        except Exception as error:
            raise ModelFileError(f"{path}: not a usable ONNX file: {error}: export it again") from error
        properties = {entry.key: entry.value for entry in self.model.metadata_props}
        self.metadata = ModelMetadata.from_strings(properties, str(path))
        if (self.metadata.precision, self.metadata.output) != ("fp32", "logits"):
            raise ModelFileError(
                f"{path}: got {self.metadata.precision} {self.metadata.output}, expected fp32 logits: "
                "export with --precision fp32 --output logits"
            )
        if self.metadata.scores != "logits":
            raise ModelFileError(f"{path}: nothing to measure: {self.metadata.absent['confidence']}")
        constants_to_weights(self.model.graph)
        if self._settings.rest == "fp16":
            self._raise_operator_set(path)
        seen: set[str] = set()
        for i, node in enumerate(self.model.graph.node):
            # Named after its weight, a layer that is left out says where in the network it is.
            name = node.input[1].removeprefix("net.").removesuffix(".weight") if node.op_type == _LAYER else node.name
            node.name = f"{node.op_type}_{i}" if name in seen or not name else name
            seen.add(node.name)
        convolutions = {node.name: node.input[1] for node in self.model.graph.node if node.op_type == _LAYER}
        constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._weights = {name: constants[weight] for name, weight in convolutions.items() if weight in constants}
        self.layers = list(self._weights)
        self._left_out = [name for name in convolutions if name not in self._weights]
        if not self.layers:
            raise ModelFileError(f"{path}: got no convolution with constant weights, expected some to quantize")

    def calibrate(self, frames: Sequence[Frame]) -> None:
        """Take the ranges of all convolutions' inputs."""
        from onnxruntime.quantization import calibrate

        method = calibrate.CalibrationMethod[METHODS[self._settings.method]]
        options = {"symmetric": True, "percentile": self._settings.percentile}
        with tempfile.TemporaryDirectory(prefix="dannet_quantize_") as folder:
            source = Path(folder) / "float.onnx"
            self._onnx.save(self.model, str(source))
            calibrator = calibrate.create_calibrator(
                str(source), [_LAYER], str(Path(folder) / "watched.onnx"), method, extra_options=options
            )
            # ONNX Runtime prints a line a frame.
            with contextlib.redirect_stdout(io.StringIO()):
                for frame in tqdm(frames, desc="ranges", unit="frame", disable=None):
                    # One at a time: the histogram methods keep all activations of what they are given at once.
                    calibrator.collect_data(_OneFrame(frame))
                self._ranges = calibrator.compute_data()

    def build(self, kept: Sequence[str]) -> Any:
        """The quantized `ModelProto` without the layers in ``kept``, the rest in the precision asked for."""
        model = self._onnx.ModelProto()
        model.CopyFrom(self._all_layers())
        graph, left_out = model.graph, set(kept)
        made_by = {name: node for node in graph.node for name in node.output}
        for node in graph.node:
            if node.name in left_out:
                weight = self._weights[node.name]
                node.input[0] = made_by[made_by[node.input[0]].input[0]].input[0]
                node.input[1] = weight.name
                graph.initializer.append(weight)
        drop_unused(graph)
        return to_half(cast_to_half(self._onnx, model)) if self._settings.rest == "fp16" else model

    def finish(self, kept: Sequence[str]) -> Any:
        """Like `build`, described and checked."""
        model = self.build(kept)
        del model.metadata_props[:]
        self._onnx.helper.set_model_props(model, self.metadata.replace(precision="int8").to_strings())
        self._onnx.checker.check_model(model, full_check=True)
        return model

    def _raise_operator_set(self, path: Path) -> None:
        """To one with half scales; before the ranges are taken, so that names stay what they are."""
        now = max(o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx"))
        if now >= HALF_SCALES_OPSET:
            return
        try:
            self.model = self._onnx.version_converter.convert_version(self.model, HALF_SCALES_OPSET)
        except Exception as error:
            raise ModelFileError(
                f"{path}: cannot be brought to operator set {HALF_SCALES_OPSET}: {first_line(error)}: use --rest fp32"
            ) from error

    def _all_layers(self) -> Any:
        """Every layer quantized; made once."""
        if self._quantized is None:
            from onnxruntime.quantization import QuantType
            from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

            model = self._onnx.ModelProto()
            model.CopyFrom(self.model)
            quantizer = QDQQuantizer(
                model,
                per_channel=True,
                reduce_range=False,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QInt8,
                tensors_range=self._ranges,
                nodes_to_quantize=[],
                nodes_to_exclude=self._left_out,
                op_types_to_quantize=[_LAYER],
                extra_options=TENSORRT_OPTIONS,
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
            self._quantized = quantizer.model.model
        return self._quantized


class _OneFrame:
    """A calibration data reader of one frame."""

    def __init__(self, frame: Frame) -> None:
        self._left: list[dict[str, Frame]] = [{INPUT_NAME: frame}]

    def get_next(self) -> dict[str, Frame] | None:
        """The frame, then None."""
        return self._left.pop() if self._left else None


def _held_out(count: int) -> list[int]:
    """Which frames measure, one in `HELD_OUT_EVERY`, in the order in which they do.

    Drawn, the same every time: at a fixed step only the nights would measure where day and night take turns, and only
    the days would choose where they come first.
    """
    return [int(index) for index in np.random.default_rng(0).permutation(count)[: max(1, count // HELD_OUT_EVERY)]]


def _check(target: Path, frames: Sequence[Frame]) -> None:
    if target.suffix != ".onnx":
        raise ModelFileError(f"{target}: got suffix '{target.suffix}', expected '.onnx'")
    if not target.parent.is_dir():
        raise OutputError(f"{target}: no such folder: make it first")
    if len(frames) < MIN_FRAMES:
        raise SettingsError(f"frames: got {len(frames)}, expected at least {MIN_FRAMES}: one sets ranges, one measures")


def _check_sizes(frames: Sequence[Frame], metadata: ModelMetadata) -> None:
    for frame in frames:
        if frame.shape[:2] != (1, 3) or frame.shape[2:] != metadata.input_size:
            raise SettingsError(f"frames: got shape {frame.shape}, expected 1 x 3 x {metadata.input_size}")
