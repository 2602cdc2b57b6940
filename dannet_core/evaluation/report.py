"""A report folder: `metrics.json`, `report.html`, `report.md` and figures.

Every file appears whole or not at all, the JSON last. Without the packages of the extra ``report`` there is no page and
there are no figures of charts; everything else is written.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dannet_core.atomic_files import write_whole
from dannet_core.errors import OutputError
from dannet_core.evaluation.evaluate import Evaluation
from dannet_core.evaluation.report_page import render_one, render_several
from dannet_core.evaluation.scores import means, number, scores
from dannet_core.evaluation.std_sweep import best_std, sweep_series
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.pixels import write_png
from dannet_core.report.figures import confusion_figure, figures_missing, save_figure, sweep_figure
from dannet_core.report.page import page_missing, write_page

METRICS_NAME: Final = "metrics.json"
REPORT_NAME: Final = "report.md"
PAGE_NAME: Final = "report.html"


def prepare_folder(folder: Path) -> Path:
    """Make the report's folder and try to write to it, before the hours of work and not after.

    Raises:
        OutputError: it cannot be made or written to.
    """
    probe = folder / ".dannet_write_test"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.touch()
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write the report there: {error.strerror}") from error
    return folder


def describe_model(segmenter: NightSegmenter, path: str | Path) -> dict[str, Any]:
    """What was evaluated, as plain values: file, metadata, backend, device, inference settings."""
    return {
        "file": str(path),
        "metadata": dataclasses.asdict(segmenter.metadata),
        "backend": segmenter.backend_name,
        "device": segmenter.device,
        "settings": dataclasses.asdict(segmenter.settings),
    }


def metrics(evaluation: Evaluation, model: Mapping[str, Any]) -> dict[str, Any]:
    """One data set's scores, sweep, worst pictures, and what was evaluated, as plain values.

    Args:
        evaluation: what came out.
        model: see `describe_model`.
    """
    content: dict[str, Any] = {
        "data_set": evaluation.data_set,
        "split": evaluation.split,
        "root": str(evaluation.root),
        "images": len(evaluation.images),
        **scores(evaluation.confusion, evaluation.classes),
    }
    if evaluation.sweep:
        content["std_sweep"] = [
            {"std": std, **{key: number(getattr(one, score)) for key, (score, _) in means(evaluation.classes).items()}}
            for std, one in evaluation.sweep.items()
        ]
    content["median_ms"] = evaluation.median_ms
    content["worst_images"] = [one.name for one in evaluation.worst]
    content["per_image"] = [
        {"name": one.name, "miou_present": number(one.miou_present), "pixel_accuracy": number(one.pixel_accuracy)}
        for one in evaluation.images
    ]
    return {**content, "model": dict(model)}


def write_report(folder: str | Path, evaluations: Sequence[Evaluation], model: Mapping[str, Any]) -> Path:
    """Write the report; with several data sets each has a folder of its own and the first level compares them.

    Args:
        folder: made if it is not there.
        evaluations: at least one.
        model: see `describe_model`.

    Returns:
        the path of ``metrics.json``: with one data set its `metrics`; with several ``{"data_sets": {name: metrics}}``.

    Raises:
        OutputError, ImageError: a file cannot be written.
    """
    top = prepare_folder(Path(folder))
    if len(evaluations) == 1:
        return _write_one(top, evaluations[0], model)
    by_name = named(evaluations)
    for name, evaluation in by_name.items():
        _write_one(prepare_folder(top / name), evaluation, model)
    links = "".join(f"- [{name}]({name}/{REPORT_NAME})\n" for name in by_name)
    _write_text(top / REPORT_NAME, f"{_title(model)}\n{table(by_name)}\n{links}")
    if not page_missing():
        write_page(top / PAGE_NAME, render_several(by_name, model, PAGE_NAME))
    return _write_json(top / METRICS_NAME, {"data_sets": {name: metrics(one, model) for name, one in by_name.items()}})


def named(evaluations: Sequence[Evaluation]) -> dict[str, Evaluation]:
    """Each evaluation under a name of its own: the data set's, with its split or a number where that is not enough."""
    by_name: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        plain = evaluation.data_set
        choices = (plain, f"{plain}-{evaluation.split}", *(f"{plain}-{n}" for n in range(2, len(evaluations) + 2)))
        by_name[next(name for name in choices if name not in by_name)] = evaluation
    return by_name


def table(evaluations: Mapping[str, Evaluation]) -> str:
    """Markdown: IoU in percent by class and the means, one column a data set; a dash where a class is absent.

    All evaluations are of one class set.
    """
    classes = next(iter(evaluations.values())).classes
    confusions = {name: evaluation.confusion for name, evaluation in evaluations.items()}
    lines = [f"| | {' | '.join(confusions)} |", "|---|" + "---:|" * len(confusions)]
    ious = [(one.iou, one.present) for one in confusions.values()]
    for index, name in enumerate(classes.names):
        cells = (_percent(iou[index]) if present[index] else "-" for iou, present in ious)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for score, text in (*means(classes).values(), ("pixel_accuracy", "pixels right")):
        cells = (f"**{_percent(getattr(one, score))}**" for one in confusions.values())
        lines.append(f"| **{text}** | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _write_one(folder: Path, evaluation: Evaluation, model: Mapping[str, Any]) -> Path:
    _remove_report(folder)
    name = f"{evaluation.data_set} {evaluation.split}"
    names = evaluation.classes.names
    absent = [name for name, there in zip(names, evaluation.confusion.present, strict=True) if not there]
    parts = [_title(model), f"{len(evaluation.images)} images of {name}.", "", table({name: evaluation})]
    if absent:
        parts.append(f"IoU in percent. Not in these labels: {', '.join(absent)}.\n")
    parts += _draw(folder, evaluation)
    if evaluation.sweep:
        parts.append(f"Best std of the re-weighting here: {best_std(evaluation.sweep):g}.\n")
    for rank, worst in enumerate(evaluation.worst, 1):
        write_png(folder / f"worst_{rank}.png", worst.panel)
        parts.append(f"![{worst.name}](worst_{rank}.png)\n")
    _write_text(folder / REPORT_NAME, "\n".join(parts))
    if not page_missing():
        write_page(folder / PAGE_NAME, render_one(evaluation, model))
    return _write_json(folder / METRICS_NAME, metrics(evaluation, model))


def left_out() -> list[str]:
    """What `write_report` cannot write on this machine, with the reason, one line each."""
    reasons = {PAGE_NAME: page_missing(), "figures of charts": figures_missing()}
    return [f"no {what} will be written: {reason}" for what, reason in reasons.items() if reason]


def _draw(folder: Path, evaluation: Evaluation) -> list[str]:
    """Draw the figures of charts; returns their lines of Markdown."""
    if figures_missing():
        return []
    confusion = confusion_figure(evaluation.confusion.counts, evaluation.classes.names)
    save_figure(folder / "confusion_matrix.png", confusion)
    lines = ["![confusion matrix](confusion_matrix.png)\n"]
    if evaluation.sweep:
        sweep = sweep_figure(list(evaluation.sweep), sweep_series(evaluation.sweep), best_std(evaluation.sweep))
        save_figure(folder / "std_sweep.png", sweep)
        lines.append("![mIoU by std](std_sweep.png)\n")
    return lines


def _remove_report(folder: Path) -> None:
    """Remove an earlier report, which may have had more figures."""
    for pattern in (METRICS_NAME, REPORT_NAME, PAGE_NAME, "confusion_matrix.png", "std_sweep.png", "worst_[0-9]*.png"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _title(model: Mapping[str, Any]) -> str:
    metadata, settings = model["metadata"], model["settings"]
    network = f"{metadata['arch']} with {metadata['backbone']}, {model['backend']} on {model['device']}"
    weights = f"re-weighting of {settings['reweight']}, std {settings['reweight_std']:g}"
    lines = [f"# {Path(model['file']).name}", "", f"{network}; {weights}."]
    if not metadata["trained"]:
        lines.append("**Untrained weights: these figures mean nothing.**")
    return "\n".join([*lines, ""])


def _write_text(path: Path, text: str) -> Path:
    return write_whole(path, text.encode())


def _write_json(path: Path, content: Mapping[str, Any]) -> Path:
    return _write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"
