"""The report of `dannet evaluate` as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dannet_core import __version__
from dannet_core.evaluation.class_table import Scored, class_table, confusion_div
from dannet_core.evaluation.evaluate import Evaluation
from dannet_core.evaluation.scores import number, scores
from dannet_core.evaluation.std_sweep import best_std, sweep_series
from dannet_core.evaluation.worst_images import LABELS
from dannet_core.pixels import Rgb
from dannet_core.report.charts import COLORS, Line, Row, timeline, timeline_height
from dannet_core.report.page import figure_div, milliseconds, percent, render_page
from dannet_core.report.pictures import data_uri, encode

TEMPLATE: Final = "evaluation.html.j2"
_QUALITY: Final = 85


def render_one(evaluation: Evaluation, model: Mapping[str, Any]) -> str:
    """The page of one data set.

    Args:
        evaluation: what came out.
        model: see `dannet_core.evaluation.report.describe_model`.

    Raises:
        MissingPackageError: Jinja2 or Plotly is not installed.
    """
    found, classes = scores(evaluation.confusion, evaluation.classes), evaluation.classes
    return render_page(
        TEMPLATE,
        **_frame(model, f"{len(evaluation.images)} images of {evaluation.data_set} {evaluation.split}"),
        links=[],
        tiles=_tiles(evaluation, found),
        classes=class_table(classes, [Scored("IoU", found)]),
        confusion=confusion_div(found, classes.names, "Confusion matrix"),
        sweep=_sweep(evaluation),
        best_std=f"{best_std(evaluation.sweep):g}" if evaluation.sweep else "",
        images=_images(evaluation),
        worst=[
            {"caption": one.caption, "pictures": [_picture(one.name, *pair) for pair in one.pictures.items()]}
            for one in evaluation.worst
        ],
    )


def render_several(evaluations: Mapping[str, Evaluation], model: Mapping[str, Any], page: str) -> str:
    """The page that compares data sets.

    Args:
        evaluations: by name, all of one class set.
        model: see `dannet_core.evaluation.report.describe_model`.
        page: the name of each one's own page in the folder that has its name.
    """
    columns = [Scored(name, scores(one.confusion, one.classes)) for name, one in evaluations.items()]
    classes = next(iter(evaluations.values())).classes
    nothing: dict[str, Any] = dict.fromkeys(("tiles", "confusion", "sweep", "best_std", "images", "worst"))
    return render_page(
        TEMPLATE,
        **_frame(model, f"{len(evaluations)} data sets"),
        **nothing,
        links=[(name, f"{name}/{page}") for name in evaluations],
        classes=class_table(classes, columns),
    )


def _frame(model: Mapping[str, Any], what: str) -> dict[str, Any]:
    metadata, settings, name = model["metadata"], model["settings"], Path(model["file"]).name
    facts = [
        ("file", model["file"]),
        ("network", f"{metadata['arch']}, {metadata['backbone']}"),
        ("runs on", f"{model['backend']}, {model['device']}"),
        ("re-weighting", f"{settings['reweight']}, std {settings['reweight_std']:g}"),
        ("weights", metadata["source"] or "unknown"),
    ]
    untrained = ["Untrained weights: these figures mean nothing."] if not metadata["trained"] else []
    return {
        "title": f"{name}: evaluation",
        "heading": name,
        "subheading": what,
        "warnings": untrained,
        "footer": f"dannet_ros {__version__}; every figure is also in metrics.json.",
        "facts": facts,
        "color": COLORS[0],
    }


def _tiles(evaluation: Evaluation, found: Mapping[str, Any]) -> list[dict[str, str]]:
    total = sum(evaluation.median_ms.values())
    tiles = [
        (percent(found["miou_present"], 2), "", "mIoU over the classes present"),
        (percent(found["pixel_accuracy"], 2), "", "of the labelled pixels right"),
        (milliseconds(total), "ms", "an image: the stages' medians together"),
    ]
    return [{"value": value, "unit": unit, "text": text} for value, unit, text in tiles]


def _sweep(evaluation: Evaluation) -> Any:
    if not evaluation.sweep:
        return None
    series = sweep_series(evaluation.sweep)
    lines = [
        Line(title, color, list(evaluation.sweep), values)
        for (title, values), color in zip(series.items(), COLORS, strict=False)
    ]
    return figure_div(
        timeline([Row("mIoU", lines, ".1%", from_zero=False)], "std of the re-weighting"), "mIoU by std", 300
    )


def _images(evaluation: Evaluation) -> Any:
    if len(evaluation.images) < 2:
        return None
    values = [number(one.miou_present) for one in evaluation.images]
    names = [one.name for one in evaluation.images]
    line = Line("mIoU", COLORS[0], list(map(float, range(1, len(values) + 1))), values, texts=names)
    rows = [Row("mIoU over the classes present", [line], ".0%")]
    return figure_div(timeline(rows, "image"), "mIoU by image", timeline_height(rows) + 60)


def _picture(name: str, title: str, picture: Rgb) -> dict[str, Any]:
    labels = title in LABELS
    source = data_uri(encode(picture, labels=labels, quality=_QUALITY))
    return {"title": title, "alt": f"{title} of {name}", "source": source, "labels": labels, "of": None}
