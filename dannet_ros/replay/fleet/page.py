"""The page over all bags: which drives and which frames are worst, and where to look at each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from dannet_core.evaluation.class_table import Scored, class_table
from dannet_core.report.charts import COLORS, bars
from dannet_core.report.page import figure_div, percent, render_page
from dannet_core.report.pictures import data_uri
from dannet_ros.replay.fleet.summary import BAGS_NAME, EVALUATED, FAILED, FleetFrame, FleetSummary, worst_bags
from dannet_ros.replay.one_bag import REPORT_NAME
from dannet_ros.replay.report_page import classes_of

Json = Mapping[str, Any]
TEMPLATE: Final = "fleet.html.j2"
_BARS: Final = 80
"""Bags that the chart shows at most; the table has all."""
_BAR_HEIGHT: Final = 22


def render(content: Json, summary: FleetSummary, out: Path) -> str:
    """The page.

    Args:
        content: what `FleetSummary.content` gives, with ``timing``.
        summary: with the worst frames.
        out: folder of the results, for the frames' pictures.

    Raises:
        MissingPackageError: Jinja2 or Plotly is not installed.
        OSError: a picture cannot be read.
    """
    models, rows = content["models"], _ranked(content)
    truth = models[0]["scores"] is not None
    columns = [Scored(model["name"], model["scores"], model["label_shares"]) for model in models]
    classes = classes_of(models[0])
    colors = zip(classes.names, classes.colors, strict=True)
    return render_page(
        TEMPLATE,
        title=f"{content['bags_found']} bags: night segmentation",
        heading=f"{content['bags_evaluated']} of {content['bags_found']} bags",
        subheading=f"{content['frames_labelled']} frames, labelled by {' and '.join(one['name'] for one in models)}",
        warnings=_warnings(content),
        footer=f"{content['format']}, dannet_ros {content['version']}; every figure is also in metrics.json.",
        truth_note=_truth_note(content, truth),
        notes=content["notes"],
        models=[_model(model, number, rows, summary, out) for number, model in enumerate(models)],
        bags_note=f"Lowest {'mIoU over the classes present' if truth else 'mean confidence'} first. "
        "A bag's name leads to its own page.",
        bags_chart=_chart(content, rows, truth),
        bag_heads=_heads(models),
        bags=[_bag(row, models) for row in rows],
        classes=class_table(classes, columns),
        classes_note="Over the pixels of all bags together, in percent.",
        class_heads=["bag", *classes.names],
        class_colors=[(name, "rgb({}, {}, {})".format(*color)) for name, color in colors],
        work=_work(content),
    )


def _ranked(content: Json) -> list[Json]:
    """Failed bags, then the worst of the first model first, then those that cannot be ranked."""
    done = [row for row in content["bags"] if row["status"] == EVALUATED]
    names = worst_bags(done, content["models"][0]["name"])
    place = {name: number for number, name in enumerate(names)}
    return sorted(
        content["bags"], key=lambda row: (row["status"] != FAILED, place.get(row["name"], len(place)), row["name"])
    )


def _warnings(content: Json) -> list[str]:
    lines = ["Interrupted: the figures are those of the bags done until then."] if content["interrupted"] else []
    lines += [f"{row['name']} failed: {row['why']}" for row in content["bags"] if row["status"] == FAILED]
    lines += content["problems"]
    lines += [f"{row['name']}: {problem}" for row in content["bags"] for problem in row.get("problems", ())]
    if content["frames_refused"]:
        lines.append(f"{content['frames_refused']} frames could not be labelled: the bags' own pages say why.")
    untrained = [model["name"] for model in content["models"] if not model["model"]["metadata"]["trained"]]
    return [*lines, *(f"{name} has untrained weights: its figures mean nothing." for name in untrained)]


def _truth_note(content: Json, truth: bool) -> str:
    agreement = content.get("agreement")
    words = "Scores of the summed pixels of all bags, not means of the bags' scores." if truth else "No ground truth."
    return words + (f" The two models agree on {percent(agreement['mean'])} of the pixels." if agreement else "")


def _model(model: Json, number: int, rows: list[Json], summary: FleetSummary, out: Path) -> dict[str, Any]:
    frames, name = summary.worst_frames(model["name"]), model["name"]
    note = "Lowest mIoU of all bags first. Error: red is wrong, green is right, black has no ground truth."
    if not any(one.labelled for one in frames):
        note = "Lowest mean confidence of all bags first, as there is no ground truth."
    scored = [row for row in rows if row.get("models", {}).get(name, {}).get("scores")]
    return {
        "name": name,
        "color": COLORS[number],
        "tiles": _tiles(model),
        "by_class": [
            [row["name"], *(_of_class(row["models"][name]["scores"], one) for one in model["label_shares"]
                            if one != "unknown")]
            for row in scored
        ],
        "worst": [_frame(one, out) for one in frames],
        "worst_note": note,
        "facts": _facts(model),
    }  # fmt: skip


def _of_class(scores: Json, name: str) -> str:
    return "-" if name in scores["classes_absent"] else percent(scores["iou"][name]).removesuffix(" %")


def _tiles(model: Json) -> list[dict[str, str]]:
    found, tiles = model["scores"], []
    if found is not None:
        tiles.append((percent(found["miou_present"]), "mIoU over the classes present"))
        tiles.append((percent(found["pixel_accuracy"]), "of the labelled pixels right"))
    if model["confidence"] is not None:
        tiles.append((percent(model["confidence"]["mean"]), "mean confidence"))
    if model["flicker"] is not None:
        tiles.append((percent(model["flicker"]["mean"]), "of the labels change from frame to frame"))
    return [{"value": value, "unit": "", "text": text} for value, text in tiles]


def _chart(content: Json, rows: list[Json], truth: bool) -> Any:
    shown = [row for row in rows if row["status"] == EVALUATED][:_BARS]
    parts = {
        model["name"]: [_value(row["models"][model["name"]], truth) for row in shown] for model in content["models"]
    }
    title = f"{'mIoU' if truth else 'mean confidence'} in percent"
    if len(shown) < content["bags_evaluated"]:
        title += f"; the {len(shown)} worst bags"
    figure = bars([row["name"] for row in shown], parts, title, stacked=False)
    height = 110 + _BAR_HEIGHT * len(shown) * len(parts)
    return figure_div(figure, "Bags by their score, the worst first", height)


def _value(model: Json, truth: bool) -> float | None:
    part, key = (model["scores"], "miou_present") if truth else (model["confidence"], "mean")
    value = None if part is None else part[key]
    return None if value is None else 100 * value


def _heads(models: list[Json]) -> list[str]:
    several = len(models) > 1
    per_model = [f"{what}{', ' + model['name'] if several else ''}" for model in models
                 for what in ("mIoU", "pixels right", "confidence", "flicker")]  # fmt: skip
    return ["bag", "frames", *per_model, "state"]


def _bag(row: Json, models: list[Json]) -> dict[str, Any]:
    if row["status"] != EVALUATED:
        return {"name": row["name"], "link": "", "cells": ["-"] * (1 + 4 * len(models)) + [row["status"]]}
    cells = [f"{row['frames_labelled']} of {row['frames_read']}"]
    for model in models:
        one = row["models"][model["name"]]
        found = one["scores"] or {}
        cells += [percent(found.get("miou_present")), percent(found.get("pixel_accuracy"))]
        cells += [percent(None if part is None else part["mean"]) for part in (one["confidence"], one["flicker"])]
    return {
        "name": row["name"],
        "link": _link(row["name"]),
        "cells": [*cells, "whole" if row["complete"] else "damaged"],
    }


def _link(name: str) -> str:
    return f"{BAGS_NAME}/{quote(name)}/{REPORT_NAME}"


def _frame(one: FleetFrame, out: Path) -> dict[str, Any]:
    kind, folder = "mIoU" if one.labelled else "confidence", out / BAGS_NAME / one.bag
    return {
        "bag": one.bag,
        "index": one.frame["index"],
        "link": f"{_link(one.bag)}#frame={one.frame['index']}",
        "text": f"on {one.frame['topic']}, stamp {one.frame['stamp_ns']}: {kind} {percent(one.score)}",
        "pictures": [
            {"title": title, "alt": f"{title} of frame {one.frame['index']} of {one.bag}",
             "source": data_uri((folder / file).read_bytes()),
             "labels": title.startswith(("labels", "error", "ground truth")), "of": None}
            for title, file in one.pictures.items()
        ],
    }  # fmt: skip


def _facts(model: Json) -> list[tuple[str, object]]:
    about = model["model"]
    metadata, settings = about["metadata"], about["settings"]
    return [
        ("file", about["file"]),
        ("network", f"{metadata['arch']}, {metadata['backbone']}, {metadata['precision']}"),
        ("runs on", f"{about['backend']}, {about['device']}"),
        ("re-weighting", f"{settings['reweight']}, std {settings['reweight_std']:g}"),
        ("minimum confidence", f"{settings['min_confidence']:g}"),
        ("weights", metadata["source"] or "unknown"),
    ]


def _work(content: Json) -> list[tuple[str, object]]:
    timing = content["timing"]
    again = {name: count for name, count in timing["attempts"].items() if count > 1}
    machines = sorted({ran["machine"] for ran in timing["bags"].values()})
    return [
        ("started", f"{timing['started']}, {timing['seconds']:.1f} s"),
        ("workers", timing["workers"]),
        ("machines", ", ".join(machines)),
        ("done before", f"{len(timing['kept'])} of {content['bags_evaluated']} bags"),
        *([("attempts", ", ".join(f"{name} {count}" for name, count in again.items()))] if again else []),
    ]
