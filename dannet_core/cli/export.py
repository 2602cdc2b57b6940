"""`dannet export`: `.safetensors` to one-file `.onnx`, checked against PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dannet_core.atomic_files import whole_file
from dannet_core.errors import SettingsError, require
from dannet_core.inference.preprocess import preprocess
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
    frames: list[Path] = option("images for the parity check; without one, a seeded picture", [])


def run(settings: Settings) -> int:
    """Export, compare, and put the file in its place."""
    require("torch", "export models", "pip install 'dannet_ros[train]'")
    if settings.out.suffix != ".onnx":
        raise SettingsError(f"out: got {settings.out}, expected a name that ends in .onnx")
    from dannet_core.deploy.onnx_export import export_onnx
    from dannet_core.deploy.parity import check_parity, require_parity, seeded_frame
    from dannet_core.networks.weights import load_metadata, load_weights

    frames = [preprocess(read_rgb(path), settings.input_size) for path in settings.frames]
    net, metadata = load_weights(settings.model).eval(), load_metadata(settings.model)
    with whole_file(settings.out) as partial:
        export_onnx(net, metadata, settings.input_size, partial, settings.precision)
        report = check_parity(net, partial, frames or [seeded_frame(settings.input_size)])
        require_parity(report)
    print(
        f"{settings.out}: {settings.out.stat().st_size / 1e6:.1f} MB, {settings.precision}, labels agree on "
        f"{report.label_agreement:.4%} of pixels, largest logit difference {report.max_rel_of_range:.1e} of the range"
    )
    return 0
