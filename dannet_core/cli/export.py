"""`dannet export`: `.safetensors` to one-file `.onnx`, checked against PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dannet_core.errors import SettingsError, require
from dannet_core.inference.preprocess import preprocess
from dannet_core.inference.presets import PRESETS
from dannet_core.pixels import read_rgb
from dannet_core.settings import option

DESCRIPTION = "Writes the deployed graph for one input size; it stays on disk only if its labels agree with PyTorch's."


@dataclass(frozen=True)
class Settings:
    """Options of `dannet export`."""

    model: Path = option(".safetensors to export")
    out: Path = option(".onnx to write")
    input_size: tuple[int, int] = option("height and width in pixels, 64 to 16384", (540, 960))
    precision: str = option(
        "of weights and computation; inputs and outputs stay float32", "fp32", choices=("fp32", "fp16")
    )
    output: str = option(
        "logits for dannet and the node; labels: finished train ids", "logits", choices=("logits", "labels")
    )
    label_size: tuple[int, int] | None = option("labels: height and width in pixels; unset: the input size", None)
    preset: str = option("labels: the preset whose re-weighting is built in", "paper", choices=tuple(PRESETS))
    frames: list[Path] = option("images for the parity check; without one, a seeded picture", [])


def run(settings: Settings) -> int:
    """Export, compare, and put the file in its place."""
    require("torch", "export models", "pip install 'dannet_ros[train]'")
    if settings.out.suffix != ".onnx":
        raise SettingsError(f"out: got {settings.out}, expected a name that ends in .onnx")
    from dannet_core.deploy.checked_export import export_checked
    from dannet_core.deploy.onnx_export import GraphOptions, check_arguments
    from dannet_core.deploy.parity import seeded_frame
    from dannet_core.networks.weights import load_metadata, load_weights

    options = GraphOptions(settings.output, PRESETS[settings.preset], settings.label_size)
    check_arguments(settings.input_size, settings.out, settings.precision, options)
    pictures = [preprocess(read_rgb(path), settings.input_size) for path in settings.frames]
    net, metadata = load_weights(settings.model).eval(), load_metadata(settings.model)
    frames = pictures or [seeded_frame(settings.input_size)]
    report = export_checked(net, metadata, frames, settings.out, settings.precision, options)
    print(
        f"{settings.out}: {settings.out.stat().st_size / 1e6:.1f} MB, {settings.precision} {settings.output}, labels "
        f"agree on {report.label_agreement:.4%} of pixels"
        + (
            ""
            if options.output == "labels"
            else f", largest logit difference {report.max_rel_of_range:.1e} of the range"
        )
    )
    return 0
