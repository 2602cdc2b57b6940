"""`dannet benchmark`: latency, throughput, stages and memory of models and backends, side by side."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dannet_core.deploy.benchmark import BenchmarkOptions, Measurement, measure, with_rates
from dannet_core.deploy.benchmark_report import table, write_report
from dannet_core.errors import DannetError, SettingsError
from dannet_core.inference.backends.selection import backends_here
from dannet_core.inference.frame import EXTRA_OUTPUTS
from dannet_core.inference.presets import PRESETS, preset
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.metadata import ModelMetadata
from dannet_core.report.page import page_missing
from dannet_core.settings import option

DESCRIPTION = (
    "Measures each model in turn; writes OUT (JSON) and beside it the table (.md) and a page (.html); prints the table."
)


@dataclass(frozen=True)
class Settings:
    """Options of `dannet benchmark`."""

    model: list[Path] = option(".safetensors, .onnx or .engine, one or several")
    out: Path = option("JSON file to write", Path("benchmark.json"))
    camera_size: tuple[int, int] = option("height and width of the pictures in pixels", (1080, 1920))
    input_size: tuple[int, int] | None = option("height and width the network runs at; unset: the model's", None)
    frames: int = option("timed frames of each model", 100, limits=(1, 1_000_000))
    warm_up: int = option("frames before them", 10, limits=(1, 100_000))
    outputs: list[str] = option("to be made beside the labels", [], choices=EXTRA_OUTPUTS)
    preset: str = option("inference preset", "paper", choices=tuple(PRESETS))
    backend: list[str] = option("one or several; unset: all that read the file and are installed", [])
    device: str = option("auto, cpu, cuda, cuda:N, gpu, gpu.N or npu", "auto")
    threads: int = option("CPU threads; 0 = one per core", 0, limits=(0, 1024))


def run(settings: Settings) -> int:
    """Measure, write, print; a model that does not run is named in the table and does not stop the others."""
    if settings.out.suffix != ".json":
        raise SettingsError(f"out: got {settings.out}, expected a name that ends in .json")
    options = BenchmarkOptions(settings.camera_size, settings.frames, settings.warm_up, tuple(settings.outputs))
    inference = preset(settings.preset, **({"input_size": settings.input_size} if settings.input_size else {}))
    measured, failures = list[tuple[Measurement, ModelMetadata]](), dict[str, str]()
    runs = [(model, backend) for model in settings.model for backend in _backends(model, settings)]
    for model, backend in runs:
        name = model.name if backend == "auto" else f"{model.name} ({backend})"
        how: dict[str, Any] = {"backend": backend, "device": settings.device, "threads": settings.threads}
        try:
            with (
                NightSegmenter.load(model, inference, **how) as segmenter,
                tqdm(desc=name, unit="frame", disable=None) as progress,
            ):
                measured.append((measure(segmenter, model, options, progress.update), segmenter.metadata))
        except DannetError as error:
            failures[name] = str(error)
    measurements = [with_rates(*one) for one in measured]
    written = write_report(settings.out, measurements, failures)
    missing = page_missing()
    if missing:
        print(f"dannet benchmark: no page was written: {missing}", file=sys.stderr)
    names = [str(written), *(written.with_suffix(end).name for end in ([".md"] if missing else [".md", ".html"]))]
    print(f"{table(measurements, failures)}\n\nwrote {', '.join(names)}")
    return 0 if measurements else 2


def _backends(model: Path, settings: Settings) -> list[str]:
    """``auto`` where there is nothing to compare."""
    if settings.backend:
        return settings.backend
    names = backends_here(model.suffix, settings.device)
    return names if len(names) > 1 else ["auto"]
