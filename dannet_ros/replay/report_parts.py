"""Tables and pictures of the report, as HTML text."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from dannet_core.class_set import ClassSet
from dannet_core.evaluation.report import means
from dannet_core.metadata import ModelMetadata
from dannet_ros.replay.bag_report import STAGES
from dannet_ros.replay.charts import matrix
from dannet_ros.replay.worst_frames import WorstFrame

COLORS: Final = ("#2563a8", "#d97b1f")
"""Of the first and the second model."""
LIVE_COLOR: Final = "#2c8a57"

Json = Mapping[str, Any]


def percent(value: float | None, digits: int = 1) -> str:
    """A share 0..1 in percent; a dash for None."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def ms(value: float | None) -> str:
    """Milliseconds with three digits or so."""
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def tile(value: str, unit: str, text: str, color: str = "") -> str:
    """One figure in a box."""
    mark = f' style="--of:{color}"' if color else ""
    small = f" <small>{escape(unit)}</small>" if unit else ""
    figure = f"<b>{escape(value)}{small}</b><span>{escape(text)}</span>"
    return f'<div class="tile{" of" if color else ""}"{mark}>{figure}</div>'


def model_tiles(model: Json, stages: Json, color: str) -> str:
    """The figures of one model that matter most."""
    found, flicker = model["scores"], model["flicker"]
    tiles = []
    if found is not None:
        tiles.append(tile(percent(found["miou_present"]), "", "mIoU over the classes present", color))
        tiles.append(tile(percent(found["pixel_accuracy"]), "", "of the labelled pixels right", color))
    if model["confidence"] is not None:
        tiles.append(tile(percent(model["confidence"]["mean"]), "", "mean confidence", color))
    if flicker is not None:
        tiles.append(tile(percent(flicker["mean"]), "", "of the labels change from frame to frame", color))
    total = stages["total"]
    tiles.append(tile(ms(total["p50"]), "ms", f"a frame (median); p99 {ms(total['p99'])} ms", color))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def legend(names: Sequence[tuple[str, str]]) -> str:
    """Names with dots of their colours."""
    dots = (f'<span><i class="dot" style="background:{color}"></i>{escape(name)}</span>' for name, color in names)
    return f'<div class="legend">{"".join(dots)}</div>'


def classes_of(model: Json) -> ClassSet:
    """The class set of one model of a report."""
    described = model["model"]["metadata"]
    names, shares = (tuple(described[key]) for key in ("class_names", "class_shares"))
    return ModelMetadata(
        "", "", class_names=names, class_shares=shares, class_details=described["class_details"]
    ).classes


def class_legend(classes: ClassSet) -> str:
    """The colours of the classes."""
    items = (f"<span>{_swatch(classes, index)}{escape(name)}</span>" for index, name in enumerate(classes.names))
    return f'<div class="legend">{"".join(items)}</div>'


def class_table(models: Sequence[Json]) -> str:
    """IoU and share of the pixels by class; without ground truth the shares alone."""
    truth = models[0]["scores"] is not None
    heads = ["class", *([f"IoU, {model['name']}" for model in models] if truth else [])]
    heads += ["share in labels"] if truth else []
    heads += [f"share, {model['name']}" for model in models]
    classes = classes_of(models[0])
    rows = [_class_row(models, classes, index) for index in range(len(classes))]
    if any(model["label_shares"]["unknown"] for model in models):
        cells = ["unknown", *([""] * (len(models) + 1) if truth else [])]
        rows.append(row([*cells, *(percent(model["label_shares"]["unknown"], 2) for model in models)]))
    if truth:
        rows += _mean_rows(models, classes)
    return table(heads, rows)


def _class_row(models: Sequence[Json], classes: ClassSet, index: int) -> str:
    first, name = models[0]["scores"], classes.names[index]
    cells, absent = [f"{_swatch(classes, index)}{escape(name)}"], False
    if first is not None:
        pixels = first["labelled_pixels"]
        absent = pixels[name] == 0
        cells += [_bar(model["scores"]["iou"][name], absent, COLORS[k]) for k, model in enumerate(models)]
        cells.append(percent(pixels[name] / max(sum(pixels.values()), 1), 2))
        cells += [percent(model["label_shares"][name], 2) for model in models]
    else:
        cells += [_bar(model["label_shares"][name], False, COLORS[k], 2) for k, model in enumerate(models)]
    return row(cells, "absent" if absent else "", raw=True)


def _mean_rows(models: Sequence[Json], classes: ClassSet) -> list[str]:
    titles = {key: title for key, (_, title) in means(classes).items()} | {"pixel_accuracy": "pixels right"}
    rest = [""] * (len(models) + 1)
    return [
        row(
            [text, *(percent(model["scores"][key], 2) for model in models), *rest], "sum" + ("" if number else " first")
        )
        for number, (key, text) in enumerate(titles.items())
    ]


def _bar(share: float | None, absent: bool, color: str, digits: int = 1) -> str:
    if absent or share is None:
        return "-"
    fill = f'<u style="width:{100 * share:.1f}%;background:{color}"></u>'
    return f'<div class="track"><i>{fill}</i><em>{100 * share:.{digits}f}</em></div>'


def _swatch(classes: ClassSet, index: int) -> str:
    return f'<i class="swatch" style="background:rgb{classes.colors[index]}"></i>'


def stage_table(stages: Json) -> str:
    """Latency percentiles by stage."""
    points = ("p50", "p95", "p99", "max", "mean")
    rows = [
        row([stage, *(ms(stages[stage][point]) for point in points)], "sum first" if stage == "total" else "")
        for stage in STAGES
    ]
    return table(["ms", *points], rows)


def confusion(model: Json) -> str:
    """The confusion matrix with rows in percent, classes that do not occur left out."""
    scores, names = model["scores"], classes_of(model).names
    counts, present = scores["confusion_matrix"]["pixels"], set(names) - set(scores["classes_absent"])
    rows = [index for index, name in enumerate(names) if name in present]
    shares = [[pixels / max(sum(counts[index]), 1) for pixels in counts[index]] for index in rows]
    return matrix(shares, [names[index] for index in rows], [*names, "unknown"])


def worst_frame(worst: WorstFrame, frame: Json, seconds: float) -> str:
    """One frame's pictures with what it is."""
    kind = "mIoU" if frame["ground_truth"] else "confidence"
    text = f"<b>frame {worst.index}</b> at {seconds:.2f} s on {escape(frame['topic'])}, stamp {frame['stamp_ns']}: "
    text += f"{kind} {percent(worst.score)}"
    pictures = "".join(_figure(title, data) for title, data in worst.pictures.items())
    return f'<div class="frame"><p>{text}</p><div class="pictures">{pictures}</div></div>'


def _figure(title: str, data: bytes) -> str:
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<figure><img alt="{title}" src="{source}"><figcaption>{title}</figcaption></figure>'


def facts(pairs: Sequence[tuple[str, object]]) -> str:
    """A list of names and values."""
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in pairs) + "</dl>"


def table(heads: Sequence[str], rows: Sequence[str]) -> str:
    """A table of ready rows."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def row(cells: Sequence[str], kind: str = "", *, raw: bool = False) -> str:
    """A table row; ``raw`` cells are HTML already."""
    texts = (cell if raw else escape(cell) for cell in cells)
    inner = "".join(f'<td class="bar">{text}</td>' if 'class="track"' in text else f"<td>{text}</td>" for text in texts)
    return f'<tr class="{kind}">{inner}</tr>' if kind else f"<tr>{inner}</tr>"
