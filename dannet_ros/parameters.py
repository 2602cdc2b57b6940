"""The node's parameters: one table with types, ranges and descriptions, and what is wrong with wrong ones."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from dannet_core import InferenceSettings, preset
from dannet_core.inference.backends import INTEL_DEVICE, SUFFIX_OF_BACKEND
from dannet_core.tone import DEFAULT_TONE, MAX_DEPTH, TONES, ToneSettings, depth_problem
from dannet_ros.realtime import MAX_PRIORITY

OUTPUT_NAMES: Final = ("label", "color", "overlay", "relit", "confidence")
"""The image outputs, in order of publishing: the label image is what a planner waits for."""
CLASS_NAMES_PARAMETER: Final = "class_names"
"""Read-only, set in configure: it says what the model knows rather than what the user wants."""

_Value = TypeVar("_Value", str, bool, int, float, tuple[str, ...])
_TYPE_NAMES: Final = {str: "a string", bool: "true or false", int: "an integer", float: "a number with a decimal point"}


class ParameterSpec(NamedTuple):
    """One row of the table.

    Attributes:
        name: as in `ros2 param`.
        default: also fixes the type.
        description: for `ros2 param describe` and `--help`; units included.
        low: smallest value, for numbers.
        high: largest value, for numbers.
        choices: the allowed strings, or members of a list; empty = any.
        live: may be changed while the node is configured.
    """

    name: str
    default: str | bool | int | float | tuple[str, ...]
    description: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    live: bool

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""
        if isinstance(self.default, tuple):
            return f"a list of one or more of {', '.join(self.choices)}, each at most once"
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        kind = _TYPE_NAMES[type(self.default)]
        return kind if self.low is None else f"{kind}, {self.low:g} to {self.high:g}"

    def problem(self, value: object) -> str | None:
        """Why ``value`` is refused; None when it is not."""
        instead = _instead(value, self.default)
        refusal = f"parameter {self.name}: got {value!r}, expected {self.expected}"
        refusal += f": write {instead}" if instead else ""
        if isinstance(self.default, tuple):
            return None if self._is_list_of_choices(value) else refusal
        if type(value) is not type(self.default) or (self.choices and value not in self.choices):
            return refusal
        if self.low is None or self.high is None or not isinstance(value, int | float):
            return None
        return None if math.isfinite(value) and self.low <= value <= self.high else refusal

    def _is_list_of_choices(self, value: object) -> bool:
        if not isinstance(value, list | tuple) or not value:
            return False
        return all(member in self.choices for member in value) and len(set(value)) == len(value)


def _instead(value: object, default: object) -> str:
    """How to write ``value`` so that ROS gives it the type of ``default``; empty where that is not plain."""
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return f"{value.strip().lower()} without quotes" if isinstance(default, bool) else ""
    if isinstance(default, tuple) and isinstance(value, str) and value:
        return f"[{', '.join(re.findall(r'[a-z_]+', value))}]"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    if isinstance(default, str):
        return f"\"'{value}'\" with both kinds of quotes, which make it a string"
    if isinstance(default, float) and isinstance(value, int):
        return f"{float(value)}"
    is_whole = type(default) is int and isinstance(value, float) and value.is_integer()
    return f"{int(value)}" if is_whole else ""


def _parameter(
    default: _Value,
    description: str,
    within: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> _Value:
    low, high = within or (None, None)
    details = {"description": description, "low": low, "high": high, "choices": choices, "live": live}
    made: _Value = field(default=default, metadata=MappingProxyType(details))
    return made


@dataclass(frozen=True)
class NodeParameters:
    """Parameters of `night_seg`; the field metadata is the table that `SPECS` lists."""

    model: str = _parameter("", "Model file: .onnx, .safetensors or .engine. Required.")
    preset: str = _parameter(
        "paper", "Inference preset: paper, or official (960x540, weights on logits).", choices=("paper", "official")
    )
    image_transport: str = _parameter(
        "raw", "raw subscribes to image, compressed to image/compressed (JPEG, PNG).", choices=("raw", "compressed")
    )
    backend: str = _parameter(
        "auto",
        "Inference backend; auto goes by the model's suffix, and takes OpenVINO on a CPU where it is installed.",
        choices=("auto", *sorted(SUFFIX_OF_BACKEND)),
    )
    engine_cache: str = _parameter(
        "",
        "Folder that keeps TensorRT engines: the .onnx model is run as one, built there in configure if it is not yet. "
        "With backend auto, as it is where TensorRT does not run. Empty = off.",
    )
    device: str = _parameter(
        "auto", "Where the model runs: auto, cpu, cuda, cuda:N; with OpenVINO also an Intel gpu, gpu.N or npu."
    )
    threads: int = _parameter(0, "CPU threads inside one operator; 0 = the runtime's choice.", (0, 256))
    realtime_priority: int = _parameter(
        0,
        "Real-time priority (round robin) of all threads of the process while configured, which needs the right to it; "
        "0 = as the process was started.",
        (0, MAX_PRIORITY),
    )
    reweight: str = _parameter(
        "preset",
        "What the class weights multiply; preset = as the preset says.",
        choices=("preset", "probabilities", "logits", "none"),
    )
    reweight_std: float = _parameter(0.16, "Spread of the class weights; 0 switches them off.", (0, 1), live=True)
    min_confidence: float = _parameter(
        0.0, "Pixels less likely than this become 255 (unlabelled); 0 switches it off.", (0, 1), live=True
    )
    input_height: int = _parameter(0, "Network input height in pixels; 0 = the model's or preset's own.", (0, 16384))
    input_width: int = _parameter(0, "Network input width in pixels; 0 = the model's or preset's own.", (0, 16384))
    outputs: tuple[str, ...] = _parameter(
        OUTPUT_NAMES,
        "Image outputs that may be made; each still costs nothing while nobody subscribes it.",
        choices=OUTPUT_NAMES,
        live=True,
    )
    overlay_alpha: float = _parameter(
        0.5, "Opacity of the label colours in the overlay: 0 picture only, 1 colours only.", (0, 1), live=True
    )
    warm_up_height: int = _parameter(
        1080, "Camera height in pixels for the warm-up in configure; 0 = none.", (0, 16384)
    )
    warm_up_width: int = _parameter(1920, "Camera width in pixels for the warm-up in configure; 0 = none.", (0, 16384))
    input_reliability: str = _parameter(
        "auto",
        "QoS reliability of the image subscription; auto: reliable where every publisher is, else best_effort, which "
        "receives from every publisher.",
        choices=("auto", "best_effort", "reliable"),
    )
    input_depth: int = _parameter(
        2, "QoS history depth of the image subscription, messages; the newest wins whatever it is.", (1, 100)
    )
    bit_depth: int = _parameter(
        0,
        "Significant bits of a sample in encodings of 16 bits, 9 to 16, at its lower end; 0 = found from the largest "
        "sample of the first frames, and announced.",
        (0, MAX_DEPTH),
    )
    tone: str = _parameter(
        DEFAULT_TONE,
        "How samples of 16 bits become 8: gamma (sRGB, for samples in proportion to light), linear (the upper 8 of the "
        "bits), log (stronger in the dark), percentile (gamma between black and white points that follow the picture).",
        choices=TONES,
        live=True,
    )
    max_age_ms: float = _parameter(
        0.0,
        "Frames older than this on arrival, when their turn comes or once they are labelled are dropped and counted, "
        "ms from stamp by the node's clock; 0 = off.",
        (0, 3.6e6),
        live=True,
    )
    slow_frame_ms: float = _parameter(
        0.0,
        "Diagnostics warn when the 95th percentile of receive-to-publish exceeds this, ms; 0 = off.",
        (0, 3.6e6),
        live=True,
    )
    hang_ms: float = _parameter(
        2000.0, "A frame in work for longer than this is reported at once as an error, ms.", (10, 3.6e6), live=True
    )
    max_hang_s: float = _parameter(
        0.0,
        "A frame in work for longer than this ends the process with 2, for respawn to start it anew, s; 0 = never.",
        (0, 3600),
        live=True,
    )
    max_failures: int = _parameter(
        10,
        "Frames that fail in a row before the model is closed and, with autostart, opened again; 0 = go on for ever.",
        (0, 1_000_000),
        live=True,
    )
    bright_above: float = _parameter(
        0.0,
        "Diagnostics warn when the picture's mean is above this, 0..255: the model is for night; 0 = off.",
        (0, 255),
        live=True,
    )
    stability: bool = _parameter(
        False, "Report the share of pixels whose label changed since the frame before, in diagnostics.", live=True
    )
    diagnostics_period_s: float = _parameter(1.0, "Period of /diagnostics, seconds.", (0.1, 60))
    autostart: bool = _parameter(
        True,
        "Configure and activate at start; if that fails, then or when opening again, the process exits with 2.",
    )

    def problem(self) -> str | None:
        """Why these values do not go together; None when they do."""
        if not self.model:
            return "parameter model: not set, expected a model file: pass -p model:=/path/to/model.onnx"
        if "://" in self.model:
            path = self.model.partition("://")[2]
            return f"parameter model: got {self.model!r}, expected a path, not a URL: write {path}"
        if not re.fullmatch(rf"auto|cpu|cuda(:\d+)?|{INTEL_DEVICE.pattern}", self.device):
            return f"parameter device: got {self.device!r}, expected auto, cpu, cuda, cuda:N, gpu, gpu.N or npu"
        if problem := self._engine_problem():
            return problem
        if problem := depth_problem(self.bit_depth):
            return f"parameter bit_depth: {problem}"
        for one, other in (("input_height", "input_width"), ("warm_up_height", "warm_up_width")):
            sides = getattr(self, one), getattr(self, other)
            if any(sides) and min(sides) < 64:
                return f"parameters {one}, {other}: got {sides[0]} and {sides[1]}, expected both 0 or both 64 and more"
        return None

    def _engine_problem(self) -> str | None:
        is_graph = self.model.endswith(".onnx")
        if not self.engine_cache:
            if is_graph and self.backend == "tensorrt":
                return "parameter engine_cache: not set, expected a folder where backend tensorrt runs an .onnx model"
            return None
        if not is_graph:
            return f"parameter engine_cache: set, expected an .onnx model to build from, got {self.model}: unset it"
        if self.backend not in ("auto", "tensorrt") or not re.match("auto|cuda", self.device):
            what = f"backend {self.backend}, device {self.device}"
            return f"parameter engine_cache: set, expected backend auto or tensorrt on a GPU, got {what}: unset it"
        return None

    def tone_settings(self) -> ToneSettings:
        """What becomes of samples of 16 bits; the values are checked already."""
        return ToneSettings(self.tone, self.bit_depth)

    def inference_settings(self) -> InferenceSettings:
        """The preset with this node's changes.

        Raises:
            SettingsError: a value is out of range.
        """
        changes: dict[str, object] = {"reweight_std": self.reweight_std, "min_confidence": self.min_confidence}
        if self.reweight != "preset":
            changes["reweight"] = self.reweight
        if self.input_height:
            changes["input_size"] = (self.input_height, self.input_width)
        return preset(self.preset, **changes)


@cache
def specs() -> dict[str, ParameterSpec]:
    """The table by parameter name, in order."""
    defaults = dataclasses.asdict(NodeParameters())
    return {f.name: ParameterSpec(f.name, defaults[f.name], **f.metadata) for f in dataclasses.fields(NodeParameters)}


def descriptor(spec: ParameterSpec) -> Any:
    """The row as rcl_interfaces/ParameterDescriptor."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    message = ParameterDescriptor(description=spec.description, read_only=spec.name == "autostart")
    is_plain = spec.live or message.read_only
    message.additional_constraints = spec.expected if is_plain else f"{spec.expected}; only while unconfigured"
    if spec.low is None or spec.high is None:
        return message
    if isinstance(spec.default, float):
        # No step: rclpy would refuse whatever lies between two of them.
        message.floating_point_range = [FloatingPointRange(from_value=float(spec.low), to_value=float(spec.high))]
    else:
        message.integer_range = [IntegerRange(from_value=int(spec.low), to_value=int(spec.high), step=1)]
    return message


def unknown_parameter(names: Iterable[str], declared: Iterable[str]) -> str | None:
    """One line about the first of ``names`` that is not declared, with the likeliest meant one; None when all are.

    rclpy drops undeclared overrides without a word, so that a typing error would run with the default.
    """
    known = [*specs(), CLASS_NAMES_PARAMETER, *(name for name in declared if name not in specs())]
    for name in sorted(names):
        if name in known or name.startswith("qos_overrides."):
            continue
        close = difflib.get_close_matches(name, known, n=1)
        elsewhere = "another node's belongs under that node's name in a parameters file, not under /**"
        hint = f"did you mean {close[0]}?" if close else f"{elsewhere}; known are {', '.join(specs())}"
        return f"parameter {name}: unknown: {hint}"
    return None


def describe_all() -> str:
    """The table as text for `--help`."""
    rows = (f"  {s.name} ({s.default!r}): {s.description} [{s.expected}]" for s in specs().values())
    return "\n".join(rows)


def refused_live(spec: ParameterSpec) -> str:
    """The reason given when a parameter is set that has to wait for the next configure."""
    return f"parameter {spec.name}: only read in configure: deactivate and clean up first"
