"""`dannet adopt`: another project's segmentation graph, `.onnx`, as a file that everything here opens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dannet_core.class_set import CITYSCAPES, read_class_set
from dannet_core.deploy.adopt import AdoptOptions, adopt
from dannet_core.deploy.adopt.picture_input import COLORS, LAYOUTS, PictureOptions
from dannet_core.pixels import read_rgb
from dannet_core.settings import option

DESCRIPTION = (
    "Puts nodes around a graph that takes one picture and gives scores or labels of the 19 Cityscapes classes, or of "
    "your own; its own "
    "nodes stay. The file stays on disk only if its labels are those of the graph itself."
)


@dataclass(frozen=True)
class Settings:
    """Options of `dannet adopt`."""

    model: Path = option(".onnx of another project", positional=True)
    out: Path = option(".onnx to write")
    input_size: tuple[int, int] | None = option("height and width in pixels; for graphs of any size", None)
    mean: tuple[float, float, float] | None = option("taken off the graph's channels; unset: recognised", None)
    std: tuple[float, float, float] | None = option("then divided by; unset: recognised", None)
    pixel_range: str | None = option(
        "largest pixel value before mean and std; unset: by them", None, choices=("1", "255")
    )
    color: str | None = option("order of the graph's channels; unset: recognised, else rgb", None, choices=COLORS)
    layout: str | None = option("of the graph's input; unset: where its 3 channels are", None, choices=tuple(LAYOUTS))
    align_corners: bool = option("how its program upsamples scores that have a stride", False)
    before_resize: bool = option("take the scores in front of the bilinear resize it ends in: faster", False)
    classes: Path | None = option("YAML of the class set that it labels; unset: the 19 of Cityscapes", None)
    class_map: list[str] = option("FROM:TO for every class of the graph; TO a train id, or 255: left out", [])
    input: str | None = option("the picture's name, where the graph has several inputs", None)
    output: str | None = option("the name of scores or labels, where it has several outputs", None)
    trained: bool = option("--no-trained: the weights are random, and everybody is told so", True)
    frames: list[Path] = option("images to compare labels on, besides seeded, black, dark and white ones", [])


def run(settings: Settings) -> int:
    """Adopt, and say what was recognised and what was taken."""
    pixel_range = None if settings.pixel_range is None else float(settings.pixel_range)
    normalization = (settings.color, settings.mean, settings.std, pixel_range)
    picture = PictureOptions(settings.input_size, settings.layout, *normalization)
    classes = CITYSCAPES if settings.classes is None else read_class_set(settings.classes)
    labels, upsampling = (classes, tuple(settings.class_map)), (settings.align_corners, settings.before_resize)
    options = AdoptOptions(picture, settings.input, settings.output, *labels, *upsampling, settings.trained)
    report = adopt(settings.model, settings.out, options, [read_rgb(path) for path in settings.frames])
    print(*report.said, f"{settings.out}: {settings.out.stat().st_size / 1e6:.1f} MB, {report}", sep="\n")
    return 0
