"""What a model file says about itself: the same record in `.safetensors`, `.onnx` and `.engine.json`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dannet_core.class_set import CITYSCAPES, ClassSet, made_up_color
from dannet_core.classes import CITYSCAPES_CLASS_SHARES, CLASS_NAMES
from dannet_core.errors import ModelFileError, SettingsError, first_line

FORMAT_VERSION = 1
KEY_PREFIX = "dannet."
_LATER_KEYS = frozenset({"class_details", "scores"})


@dataclass(frozen=True)
class ModelMetadata:
    """Describes one model; every field survives the trip through a file's string-to-string header.

    Attributes:
        arch: a name in `dannet_core.architectures.BACKBONES`, or ``adopted``: a graph of another project.
        backbone: one of that network's; of an adopted graph, the name of its file.
        relighting_width: channels of the relighting network's first convolution; 64 in the paper, 0 = there is none,
            and no relit image.
        aspp_branches: DeepLab-v2 only: 4 as in the paper, 2 as the released weights were trained; 0 elsewhere.
        class_names: in train-id order.
        class_shares: a_k of equation 1, from which the re-weighting vector follows for any std.
        class_details: what `classes` has besides names and shares; None = as Cityscapes has it, or made up.
        input_size: (height, width) in pixels the model was trained or exported for; None = any.
        align_corners: how ``stride_logits`` are to be upsampled.
        precision: ``fp32``, ``fp16``, or ``int8`` for a quantized graph.
        output: what a graph gives: ``logits`` (stride logits and relit image) or ``labels`` (finished, re-weighted).
        scores: what the stride logits are: ``logits``, or ``one_hot``: 1 for the label and 0 elsewhere, made of a graph
            that gives labels alone, so that nobody knows how certain they are.
        trained: False for random weights, so that nobody mistakes them for a model.
        source: where the weights come from, in words.
        metrics: measured figures by name, e.g. ``{"toy_city_night_miou": 0.41}``.
    """

    arch: str
    backbone: str
    relighting_width: int = 64
    aspp_branches: int = 0
    class_names: tuple[str, ...] = CLASS_NAMES
    class_shares: tuple[float, ...] = CITYSCAPES_CLASS_SHARES
    class_details: dict[str, Any] | None = None
    input_size: tuple[int, int] | None = None
    align_corners: bool = True
    precision: str = "fp32"
    output: str = "logits"
    scores: str = "logits"
    trained: bool = False
    source: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def num_classes(self) -> int:
        """Number of classes, the channel count of the logits."""
        return len(self.class_names)

    @property
    def absent(self) -> dict[str, str]:
        """What this model cannot give besides labels, ``relit`` or ``confidence``, each with the reason."""
        reasons = {}
        if self.relighting_width == 0:
            reasons["relit"] = f"the model has no relighting network ({self.arch})"
        if self.scores == "one_hot":
            reasons["confidence"] = f"the model gives labels without scores ({self.arch})"
        return reasons

    def to_strings(self) -> dict[str, str]:
        """The record as a string-to-string mapping with prefixed keys and JSON values."""
        values = dataclasses.asdict(self)
        for field_ in dataclasses.fields(self):
            # Left out, so that versions that do not know these keys still read the files that they can run.
            if field_.name in _LATER_KEYS and values[field_.name] == field_.default:
                del values[field_.name]
        return {KEY_PREFIX + name: json.dumps(value) for name, value in values.items()}

    @classmethod
    def from_strings(cls, strings: Mapping[str, str], path: str) -> ModelMetadata:
        """Read the record back and check it.

        Args:
            strings: header or property mapping of the file; keys without the prefix are ignored.
            path: named in the error.

        Raises:
            ModelFileError: a key is missing, unknown, of the wrong type, or the file was written by a newer version.
        """
        try:
            values = {k.removeprefix(KEY_PREFIX): json.loads(v) for k, v in strings.items() if k.startswith(KEY_PREFIX)}
        except (json.JSONDecodeError, RecursionError) as error:
            raise ModelFileError(f"{path}: damaged metadata ({error}): export the model again") from error
        for required in ("arch", "backbone"):
            if required not in values:
                raise ModelFileError(
                    f"{path}: not a DANNet model: no 'dannet.{required}' in its metadata: "
                    "write it with `dannet export` or `dannet import_weights`"
                )
        version = values.get("format_version")
        if version != FORMAT_VERSION:
            raise ModelFileError(
                f"{path}: got metadata version {version!r}, expected {FORMAT_VERSION}: update dannet_ros"
            )
        names = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - names)
        if unknown:
            raise ModelFileError(f"{path}: unknown metadata key '{unknown[0]}': export the model again")
        metadata = cls(**_checked(values, path))
        try:
            _ = metadata.classes
        except (SettingsError, TypeError, ValueError, AttributeError) as error:
            raise ModelFileError(f"{path}: metadata 'class_details': {first_line(error)}") from error
        return metadata

    @cached_property
    def classes(self) -> ClassSet:
        """The class set; ids and colours that a file does not give are Cityscapes', or made up for other names."""
        if self.class_details is None and self.class_names == CLASS_NAMES:
            return CITYSCAPES
        count = len(self.class_names)
        given = self.class_details or {}
        return ClassSet(
            given.get("set", "its own"),
            self.class_names,
            _tuples(given.get("colors")) or tuple(map(made_up_color, range(count))),
            _tuples(given.get("ids")) or tuple((index,) for index in range(count)),
            tuple(given.get("static", ())),
            tuple(given.get("ignored", ())),
            self.class_shares,
        )

    def with_classes(self, classes: ClassSet, class_shares: tuple[float, ...] | None = None) -> ModelMetadata:
        """A copy for a class set; ``class_shares``: instead of the set's own."""
        details = None
        if classes.names != CLASS_NAMES or classes.colors != CITYSCAPES.colors:
            details = {
                "set": classes.name,
                "colors": [list(color) for color in classes.colors],
                "ids": [list(ids) for ids in classes.label_ids],
                "static": list(classes.static),
                "ignored": list(classes.ignored_ids),
            }
        shares = class_shares or classes.known_shares
        return self.replace(class_names=classes.names, class_shares=shares, class_details=details)

    def replace(self, **changes: Any) -> ModelMetadata:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def _tuples(values: Any) -> tuple[Any, ...]:
    return tuple(map(tuple, values or ()))


def _checked(values: dict[str, Any], path: str) -> dict[str, Any]:
    def expect(ok: bool, key: str, expected: str) -> None:
        if not ok:
            raise ModelFileError(f"{path}: metadata '{key}': got {values.get(key)!r}, expected {expected}")

    for key in ("arch", "backbone", "source", "precision"):
        expect(isinstance(values.get(key, ""), str), key, "a string")
    expect(values.get("output", "logits") in ("logits", "labels"), "output", "logits or labels")
    expect(values.get("scores", "logits") in ("logits", "one_hot"), "scores", "logits or one_hot")
    for key in ("relighting_width", "aspp_branches"):
        expect(type(values.get(key, 0)) is int and values.get(key, 0) >= 0, key, "an integer of at least 0")
    for key in ("trained", "align_corners"):
        expect(isinstance(values.get(key, False), bool), key, "true or false")
    names = values.get("class_names", list(CLASS_NAMES))
    expect(isinstance(names, list) and 2 <= len(names) <= 255, "class_names", "2 to 255 names")
    expect(all(isinstance(name, str) for name in names), "class_names", "strings")
    shares = values.get("class_shares", list(CITYSCAPES_CLASS_SHARES))
    expect(isinstance(shares, list) and len(shares) == len(names), "class_shares", "one number a class")
    expect(all(isinstance(s, float) and 0 < s <= 1 for s in shares), "class_shares", "numbers above 0 and up to 1")
    details = values.get("class_details")
    expect(details is None or isinstance(details, dict), "class_details", "null or an object")
    size = values.get("input_size")
    expect(size is None or (isinstance(size, list) and len(size) == 2), "input_size", "null or [height, width]")
    expect(size is None or all(type(s) is int and 64 <= s <= 16384 for s in size), "input_size", "64 to 16384 pixels")
    metrics = values.get("metrics", {})
    expect(isinstance(metrics, dict), "metrics", "an object of numbers")
    expect(all(isinstance(m, int | float) for m in metrics.values()), "metrics", "numbers")
    return values | {
        "class_names": tuple(names),
        "class_shares": tuple(shares),
        "input_size": None if size is None else (size[0], size[1]),
        "metrics": {name: float(value) for name, value in metrics.items()},
    }
