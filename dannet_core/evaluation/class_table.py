"""Scores and shares by class, as the reports show them: a table, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dannet_core.class_set import UNKNOWN, ClassSet
from dannet_core.evaluation.scores import means
from dannet_core.report.charts import COLORS, matrix, matrix_height
from dannet_core.report.page import figure_div, percent

if TYPE_CHECKING:
    from markupsafe import Markup


class Scored(NamedTuple):
    """A model, or a data set, of the table.

    Attributes:
        name: what heads its columns.
        scores: see `dannet_core.evaluation.scores.scores`; None without ground truth.
        shares: of the pixels that got each label, by class name and "unknown"; None leaves them out.
    """

    name: str
    scores: Mapping[str, Any] | None
    shares: Mapping[str, float] | None = None


def class_table(classes: ClassSet, columns: Sequence[Scored]) -> dict[str, Any]:
    """What the macro ``class_table`` of the report's templates draws.

    Args:
        classes: of all columns.
        columns: at least one; all with ground truth, or none.
    """
    truth, shared = columns[0].scores is not None, [one for one in columns if one.shares is not None]
    title = "IoU" if truth else "share"
    named = [f"{title}, {one.name}" if len(columns) > 1 else title for one in columns]
    heads = (["share in labels", *(f"share, {one.name}" for one in shared)] if shared else []) if truth else []
    rows = [_row(classes, index, columns, truth) for index in range(len(classes))]
    if any((one.shares or {}).get(UNKNOWN) for one in columns):
        rows.append(_unknown(columns, shared, truth))
    return {
        "bars": [{"title": text, "color": COLORS[number % len(COLORS)]} for number, text in enumerate(named)],
        "heads": heads,
        "digits": 1 if truth else 2,
        "rows": rows,
        "means": _means(classes, columns) if truth else [],
    }


def confusion_div(scores: Mapping[str, Any], names: Sequence[str], about: str) -> Markup:
    """The confusion matrix as a chart, rows in percent; classes that do not occur in the labels have no row.

    Args:
        scores: see `dannet_core.evaluation.scores.scores`.
        names: of the classes.
        about: what it shows, for who cannot see it.
    """
    counts, absent = scores["confusion_matrix"]["pixels"], set(scores["classes_absent"])
    rows = [index for index, name in enumerate(names) if name not in absent]
    shares = [[pixels / sum(counts[index]) for pixels in counts[index]] for index in rows]
    shown = [names[index] for index in rows]
    return figure_div(matrix(shares, shown, [*names, UNKNOWN]), about, matrix_height(shown))


def _row(classes: ClassSet, index: int, columns: Sequence[Scored], truth: bool) -> dict[str, Any]:
    name = classes.names[index]
    row = {"name": name, "color": "rgb({}, {}, {})".format(*classes.colors[index]), "absent": False, "cells": []}
    if not truth:
        return {**row, "bars": [(one.shares or {})[name] for one in columns]}
    scores = [one.scores or {} for one in columns]
    there = [one["labelled_pixels"][name] > 0 for one in scores]
    row["bars"] = [one["iou"][name] if present else None for one, present in zip(scores, there, strict=True)]
    shares = [one.shares for one in columns if one.shares is not None]
    if shares:
        pixels = scores[0]["labelled_pixels"]
        cells = [pixels[name] / max(sum(pixels.values()), 1), *(one[name] for one in shares)]
        row["cells"] = [percent(cell, 2) for cell in cells]
    return {**row, "absent": not any(there)}


def _unknown(columns: Sequence[Scored], shared: Sequence[Scored], truth: bool) -> dict[str, Any]:
    shares = [(one.shares or {})[UNKNOWN] for one in shared]
    row = {"name": UNKNOWN, "color": "", "absent": False}
    if not truth:
        return {**row, "bars": shares, "cells": []}
    return {**row, "bars": [None] * len(columns), "cells": ["", *(percent(share, 2) for share in shares)]}


def _means(classes: ClassSet, columns: Sequence[Scored]) -> list[tuple[str, list[str]]]:
    titles = {key: title for key, (_, title) in means(classes).items()} | {"pixel_accuracy": "pixels right"}
    return [(title, [percent((one.scores or {})[key], 2) for one in columns]) for key, title in titles.items()]
