"""What happens to a picture's bytes before a foreign graph, and the files of other projects that say so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from dannet_core.errors import ModelFileError, first_line
from dannet_core.pixels import IMAGENET_MEAN, IMAGENET_STD

Triple = tuple[float, float, float]


def triple(values: Sequence[float]) -> Triple:
    """Three numbers, or ValueError."""
    first, second, third = (float(value) for value in values)
    return first, second, third


AS_THEY_ARE: Final[tuple[float, Triple, Triple]] = (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Divisor, mean and std that leave bytes as they are."""
IMAGENET: Final[tuple[Triple, Triple]] = (triple(IMAGENET_MEAN.tolist()), triple(IMAGENET_STD.tolist()))
"""Mean and std, RGB, of pixels 0..1."""


class Normalization(NamedTuple):
    """What happens to bytes 0..255 before the graph: divided, then mean and std by the graph's channels.

    Attributes:
        divisor: 255 makes them 0..1, 1 leaves them.
        mean: taken off.
        std: divided by.
        color: ``rgb`` or ``bgr``, or None where the source does not say.
        where: this is known from, in words.
    """

    divisor: float
    mean: Triple
    std: Triple
    color: str | None
    where: str

    @property
    def changes_nothing(self) -> bool:
        """Whether pixels 0..255 stay as they are."""
        return (self.divisor, self.mean, self.std) == AS_THEY_ARE

    def __str__(self) -> str:
        """In words."""
        if self.changes_nothing:
            return "pixels 0..255 as they are"
        mean, std = ("/".join(f"{value:.6g}" for value in values) for values in (self.mean, self.std))
        return f"{mean}, {std}, pixels 0..{255 / self.divisor:.6g}"


def normalization_beside(path: Path) -> Normalization | None:
    """What `preprocessor_config.json` (transformers) or `pipeline.json` (mmdeploy) beside it says; None without one.

    Raises:
        ModelFileError: such a file cannot be understood.
    """
    for name, read in (("preprocessor_config.json", _transformers), ("pipeline.json", _mmdeploy)):
        file = path.with_name(name)
        if not file.is_file():
            continue
        try:
            found = read(json.loads(file.read_text(encoding="utf-8")), f"recognised by {name} beside it")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelFileError(
                f"{file}: lies beside the model and cannot be understood ({first_line(error)}): give --mean, --std and "
                "--pixel-range, or move it away"
            ) from error
        if found is not None:
            return found
    return None


def _transformers(config: dict[str, Any], where: str) -> Normalization:
    divisor = 1 / float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
    divisor = round(divisor) if abs(divisor - round(divisor)) < 1e-6 * divisor else divisor
    normalizes = config.get("do_normalize", True)
    mean = triple(config["image_mean"]) if normalizes else (0.0, 0.0, 0.0)
    std = triple(config["image_std"]) if normalizes else (1.0, 1.0, 1.0)
    return Normalization(float(divisor), mean, std, "bgr" if config.get("do_flip_channel_order") else "rgb", where)


def _mmdeploy(config: dict[str, Any], where: str) -> Normalization | None:
    for task in config["pipeline"]["tasks"]:
        for transform in task.get("transforms", []):
            if transform.get("type") == "Normalize":
                color = "rgb" if transform.get("to_rgb", True) else "bgr"
                return Normalization(1.0, triple(transform["mean"]), triple(transform["std"]), color, where)
    return None
