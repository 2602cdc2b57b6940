"""How a picture becomes labels: the inference settings and the two presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from dannet_core import pixels
from dannet_core.errors import SettingsError
from dannet_core.inference.postprocess import REWEIGHT_METHODS
from dannet_core.inference.preprocess import RESIZE_METHODS


def _expect(ok: bool, name: str, got: object, expected: str) -> None:
    if not ok:
        raise SettingsError(f"{name}: got {got!r}, expected {expected}")


@dataclass(frozen=True)
class InferenceSettings:
    """How a picture becomes labels.

    Attributes:
        reweight: what the class weights multiply: ``probabilities``, ``logits`` or ``none``.
        reweight_std: spread of the class weights (equation 2), 0 or more; the paper uses 0.16 at test time.
        min_confidence: pixels whose likelihood is below this become 255, 0..1; 0 switches it off.
        input_size: (height, width) the network runs at; None = the model's own, or the picture's.
        resize: ``area`` or ``antialiased`` (the released code's).
    """

    reweight: str = "probabilities"
    reweight_std: float = 0.16
    min_confidence: float = 0.0
    input_size: tuple[int, int] | None = None
    resize: str = "area"

    def __post_init__(self) -> None:
        _expect(self.reweight in REWEIGHT_METHODS, "reweight", self.reweight, f"one of {', '.join(REWEIGHT_METHODS)}")
        _expect(0 <= self.reweight_std <= 1, "reweight_std", self.reweight_std, "0 to 1")
        _expect(0 <= self.min_confidence <= 1, "min_confidence", self.min_confidence, "0 to 1")
        _expect(self.resize in RESIZE_METHODS, "resize", self.resize, f"one of {', '.join(RESIZE_METHODS)}")
        if self.input_size is not None:
            ok = all(pixels.MIN_SIDE <= side <= pixels.MAX_SIDE for side in self.input_size)
            _expect(ok, "input_size", self.input_size, "height and width of 64 to 16384 pixels")


PRESETS: Final = MappingProxyType(
    {
        "paper": InferenceSettings(),
        "official": InferenceSettings(reweight="logits", input_size=(540, 960), resize="antialiased"),
    }
)
"""``official`` repeats the released code: 960x540 antialiased, weights on logits, upsampled with align_corners."""


def preset(name: str, **changes: object) -> InferenceSettings:
    """A preset by name, with some settings changed.

    Raises:
        SettingsError: an unknown preset or setting, or a value out of range.
    """
    _expect(name in PRESETS, "preset", name, f"one of {', '.join(PRESETS)}")
    known = [f.name for f in dataclasses.fields(InferenceSettings)]
    for key in changes:
        _expect(key in known, "inference setting", key, f"one of {', '.join(known)}")
    return dataclasses.replace(PRESETS[name], **changes)  # type: ignore[arg-type]  # checked by __post_init__
