"""`dannet evaluate`: a model against labelled data sets; JSON, Markdown and figures."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from dannet_core.class_set import read_class_set
from dannet_core.data.registry import DATA_SETS, open_data_sets
from dannet_core.data.sample import ENCODINGS
from dannet_core.evaluation.evaluate import evaluate
from dannet_core.evaluation.report import describe_model, left_out, named, prepare_folder, table, write_report
from dannet_core.evaluation.std_sweep import StdSweep
from dannet_core.inference.backends import open_backend
from dannet_core.inference.presets import PRESETS, preset
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.settings import option

DESCRIPTION = (
    "Writes OUT/metrics.json (miou_present, miou_19, iou by class name), OUT/report.html, OUT/report.md and figures."
)


@dataclass(frozen=True)
class Settings:
    """Options of `dannet evaluate`."""

    model: Path = option(".safetensors, .onnx or .engine")
    dataset: list[str] = option("one or several data sets", choices=tuple(DATA_SETS))
    root: list[Path] = option("the folder of each data set")
    out: Path = option("folder for the report")
    split: list[str] | None = option("one for all or one each; unset: val, or test for nighttime-driving", None)
    classes: Path | None = option("YAML of the labels' class set; unset: the model's own", None)
    labels: str | None = option("label files to use where a set has both kinds", None, choices=ENCODINGS)
    preset: str = option("inference preset", "paper", choices=tuple(PRESETS))
    reweight_std: float | None = option("spread of the class weights; unset: the preset's", None, limits=(0, 1))
    min_confidence: float = option("pixels below this likelihood count as missed", 0.0, limits=(0, 1))
    input_size: tuple[int, int] | None = option("height and width in pixels the network runs at", None)
    std_sweep: bool = option("also score a range of re-weighting stds (Figure 7 of the paper)", False)
    worst: int = option("how many of the worst images to show", 5, limits=(0, 100))
    device: str = option("auto, cpu, cuda or cuda:N", "auto")
    threads: int = option("CPU threads; 0 = one per core", 0, limits=(0, 1024))


def run(settings: Settings) -> int:
    """Check all files, evaluate, write the report, print the table."""
    changes = {"reweight_std": settings.reweight_std, "input_size": settings.input_size}
    wanted = {key: value for key, value in changes.items() if value is not None}
    inference = preset(settings.preset, min_confidence=settings.min_confidence, **wanted)
    sweep = StdSweep() if settings.std_sweep else None
    backend = open_backend(settings.model, device=settings.device, threads=settings.threads)
    with NightSegmenter(sweep.watch(backend) if sweep else backend, inference) as segmenter:
        classes = segmenter.metadata.classes if settings.classes is None else read_class_set(settings.classes)
        data_sets = open_data_sets(settings.dataset, settings.root, settings.split or (), settings.labels, classes)
        prepare_folder(settings.out)
        for line in left_out():
            print(f"dannet evaluate: {line}", file=sys.stderr)
        results = [evaluate(segmenter, one, sweep=sweep, worst=settings.worst) for one in data_sets]
        model = describe_model(segmenter, settings.model)
    written = write_report(settings.out, results, model)
    untrained = "" if model["metadata"]["trained"] else "\nuntrained weights: these figures mean nothing"
    print(f"{table(named(results))}\nwrote {written}{untrained}")
    return 0
