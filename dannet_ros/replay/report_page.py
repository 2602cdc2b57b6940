"""The report: one HTML page with everything inside, for whoever was not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from dannet_ros.replay import report_parts as parts
from dannet_ros.replay.bag_report import live_text
from dannet_ros.replay.charts import Series, histogram, line_chart
from dannet_ros.replay.report_parts import COLORS, LIVE_COLOR, Json, ms, percent, tile
from dannet_ros.replay.report_style import STYLE
from dannet_ros.replay.worst_frames import WorstFrame

_PROBLEMS_SHOWN: Final = 10
_SHADES: Final = (*COLORS, "#7a4fa3", "#2c8a57", "#b03a48", "#4c8fa8")
_GREYS: Final = ("#68727d", "#a08a3c", "#5d8a8a")


def render(content: Json, worst: Mapping[str, Sequence[WorstFrame]]) -> str:
    """The page.

    Args:
        content: what `bag_report.results` gives, with ``timing``.
        worst: worst frames by model.
    """
    sections = [_summary(content), _classes(content), _over_time(content), _latency(content), _live(content)]
    sections += [_worst(content, model, worst.get(model["name"], ())) for model in content["models"]]
    sections.append(_facts(content))
    title = f"{Path(content['bag']['path']).name}: night segmentation"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escape(title)}</title><style>{STYLE}</style>"
    body = f"<main>{_header(content)}{_warnings(content)}{''.join(sections)}{_footer(content)}</main>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _header(content: Json) -> str:
    names = " and ".join(model["name"] for model in content["models"])
    seconds = _seconds(content)
    words = f"{content['frames_labelled']} frames over {max(seconds.values(), default=0.0):.1f} s, labelled by {names}"
    path = Path(content["bag"]["path"])
    return f"<header><h1>{escape(path.name)}</h1><p>{escape(words)}; {escape(str(path))}</p></header>"


def _warnings(content: Json) -> str:
    lines = list(content["bag"]["problems"])
    if content["interrupted"]:
        lines.append("Interrupted: the figures are those of the frames up to then.")
    if content["frames_refused"]:
        first = next(frame["refused"] for frame in content["frames"] if "refused" in frame)
        lines.append(f"{content['frames_refused']} frames could not be labelled, the first because: {first}")
    lines += content["ground_truth_problems"][:_PROBLEMS_SHOWN]
    for model in content["models"]:
        if not model["model"]["metadata"]["trained"]:
            lines.append(f"{model['name']} has untrained weights: its figures mean nothing.")
    return f'<div class="warning">{"".join(f"<p>{escape(line)}</p>" for line in lines)}</div>' if lines else ""


def _section(title: str, note: str, *content: str) -> str:
    about = f'<p class="note">{note}</p>' if note else ""
    return f"<section><h2>{title}</h2>{about}{''.join(content)}</section>"


def _summary(content: Json) -> str:
    blocks = []
    for model, color in zip(content["models"], COLORS, strict=False):
        stages = content["timing"]["models"][model["name"]]["stages_ms"]
        title = f"<h3>{escape(model['name'])}</h3>" if len(content["models"]) > 1 else ""
        blocks.append(title + parts.model_tiles(model, stages, color))
    if content.get("agreement"):
        text = f"The two models agree on {percent(content['agreement']['mean'])} of the pixels."
        blocks.append(f'<p class="note" style="margin-top:12px">{text}</p>')
    live = content["timing"].get("live")
    if live is not None:
        blocks.append(f'<p class="note" style="margin-top:12px">{escape(_sentence(live_text(live)))}</p>')
    truths = [f"{topic}: {one['source']}" for topic, one in content["ground_truth"].items() if one]
    note = f"Ground truth of {escape('; '.join(truths))}." if truths else "No ground truth."
    return _section("Summary", note, *blocks)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _classes(content: Json) -> str:
    models = content["models"]
    if models[0]["scores"] is None:
        note = "Share of all pixels in percent that got each label: what the model sees, not whether it is right."
        return _section("Classes", note, parts.class_table(models))
    note = "IoU in percent; grey classes do not occur in the ground truth. Shares are of labelled and of all pixels."
    matrices = []
    for model in models:
        title = f"Confusion of {escape(model['name'])}: % of each class's pixels (rows) by what they were taken for"
        matrices.append(f"<h3>{title}</h3>{parts.confusion(model)}")
    return _section("Classes", note, parts.class_table(models), *matrices)


def _over_time(content: Json) -> str:
    charts = []
    figures = [("miou_present", "mIoU over the classes present"), ("confidence", "Mean confidence")]
    grey = " (grey: ground truth)" if _truth_flicker(content) else ""
    figures.append(("flicker", f"Labels that change from the frame before; motion is part of it{grey}"))
    for key, title in figures:
        series = _frame_series(content, key)
        if key == "flicker":
            series += _truth_flicker(content)
        if any(y is not None for one in series for _, y in one.points):
            chart = line_chart(series, "seconds of the drive", title, lambda value: f"{100 * value:g} %")
            charts.append(f"<h3>{title}</h3>{chart}")
    bright = _brightness(content)
    charts.append(f"<h3>Brightness of the camera image, 0 to 255</h3>{bright}")
    names = [(one.name, one.color) for one in _frame_series(content, "confidence")]
    return _section("Over time", "", parts.legend(names) if len(names) > 1 else "", *charts)


def _frame_series(content: Json, key: str) -> list[Series]:
    """One line a model and topic; a frame without the figure is a gap."""
    seconds, several = _seconds(content), len(content["ground_truth"]) > 1
    shades, series = cycle(_SHADES), []
    for model in content["models"]:
        for topic in content["ground_truth"]:
            frames = [(i, f) for i, f in enumerate(content["frames"]) if f["topic"] == topic]
            points = [(seconds[i], f.get("models", {}).get(model["name"], {}).get(key)) for i, f in frames]
            name = f"{model['name']}, {topic}" if several else model["name"]
            series.append(Series(name, next(shades), points))
    return series


def _truth_flicker(content: Json) -> list[Series]:
    """How much of the ground truth changes: what is left of a model's flicker without it is the model's own."""
    seconds = _seconds(content)
    points = [(seconds[i], f.get("ground_truth_flicker")) for i, f in enumerate(content["frames"])]
    known = any(value is not None for _, value in points)
    return [Series("ground truth", "#8d98a4", points)] if known and len(content["ground_truth"]) == 1 else []


def _brightness(content: Json) -> str:
    seconds = _seconds(content)
    series = [
        Series(
            topic,
            color,
            [(seconds[i], f.get("brightness")) for i, f in enumerate(content["frames"]) if f["topic"] == topic],
        )
        for topic, color in zip(content["ground_truth"], cycle(("#68727d", "#a08a3c", "#5d8a8a")), strict=False)
    ]
    return line_chart(series, "seconds of the drive", "brightness", lambda value: f"{value:g}")


def _latency(content: Json) -> str:
    times = content["timing"]["models"]
    seconds = _seconds(content)
    labelled = [i for i, frame in enumerate(content["frames"]) if "models" in frame]
    values = [(name, color, one["frames_ms"]) for (name, one), color in zip(times.items(), COLORS, strict=False)]
    lines = [Series(n, c, [(seconds[i], t) for i, t in zip(labelled, all_, strict=True)]) for n, c, all_ in values]
    tables = "".join(
        f"<div>{f'<h3>{escape(name)}</h3>' if len(times) > 1 else ''}{parts.stage_table(one['stages_ms'])}</div>"
        for name, one in times.items()
    )
    note = "Milliseconds from message to labels, one frame after the other, without DDS: decoding, network, labels. "
    note += "What a vehicle sees is more: that is what --live measures."
    return _section(
        "Compute time",
        note,
        parts.legend([(name, color) for name, color, _ in values]) if len(values) > 1 else "",
        "<h3>How often, in ms a frame</h3>",
        histogram(values, "ms a frame"),
        "<h3>Over time, ms</h3>",
        line_chart(lines, "seconds of the drive", "ms a frame", lambda value: f"{value:g}"),
        f'<div class="two">{tables}</div>',
    )


def _live(content: Json) -> str:
    live = content["timing"].get("live")
    if live is None:
        return ""
    topic, node = escape(live["topic"]), escape(live["node"])
    note = (
        f"{topic} replayed at {live['rate']:g}x through DDS to {node}, stamped anew. Latency: from sending a frame to "
    )
    note += "the arrival of its label here. Age: from the frame's stamp, the camera's own delay in the bag included."
    tiles = [tile(f"{live['labelled']} / {live['sent']}", "", "frames came back labelled", LIVE_COLOR)]
    latency, age = live["latency_ms"], live["age_ms"]
    if latency:
        tiles.append(tile(ms(latency["p50"]), "ms", f"latency (median); p99 {ms(latency['p99'])} ms", LIVE_COLOR))
        tiles.append(tile(ms(age["p99"]), "ms", f"age of a label (p99); worst {ms(age['max'])} ms", LIVE_COLOR))
        same = f"{live['identical_to_replay']} / {live['labelled']}"
        tiles.append(tile(same, "", "labels equal the replay's, bit for bit", LIVE_COLOR))
    drops = [parts.row([why, str(count)]) for why, count in live["dropped"].items()]
    drops.append(parts.row(["all frames without a label", str(live["sent"] - live["labelled"])], "sum first"))
    charts = []
    if latency:
        came = [f["latency_ms"] for f in live["frames"] if f["latency_ms"] is not None]
        points = [(f["sent_s"], f["latency_ms"]) for f in live["frames"]]
        bars = histogram([("live", LIVE_COLOR, came)], "ms from sent to labelled")
        dots = [Series("live", LIVE_COLOR, points, joined=False)]
        chart = line_chart(dots, "seconds of the replay", "ms", lambda value: f"{value:g}")
        charts += ["<h3>Latency: how often, in ms</h3>", bars]
        charts += ["<h3>Latency over time, ms; red: frames without a label</h3>", chart]
    table = parts.table(["why a frame got no label", "frames"], drops)
    drops_html = f'<div class="narrow"><h3>Drops</h3>{table}</div>'
    if live["dropped"]["lost before the node"] and not live["fastdds_profile"]:
        hint = "This replay ran without the Fast DDS profile for large images (FASTDDS_DEFAULT_PROFILES_FILE)."
        drops_html += f'<p class="note">{hint}</p>'
    return _section("Live replay", note, f'<div class="tiles">{"".join(tiles)}</div>', *charts, drops_html)


def _worst(content: Json, model: Json, worst: Sequence[WorstFrame]) -> str:
    if not worst:
        return ""
    seconds, frames = _seconds(content), content["frames"]
    blocks = [parts.worst_frame(one, frames[one.index], seconds[one.index]) for one in worst]
    if frames[worst[0].index]["ground_truth"]:
        note = "Lowest mIoU first. Error: red is wrong, green is right, black has no ground truth."
    else:
        note = "Lowest mean confidence first, as there is no ground truth. Confidence: blue is unsure, yellow is sure."
    return _section(
        f"Worst frames of {escape(model['name'])}", note, parts.class_legend(parts.classes_of(model)), *blocks
    )


def _facts(content: Json) -> str:
    blocks = [f"<div><h3>Model {escape(model['name'])}</h3>{_model_facts(model)}</div>" for model in content["models"]]
    machine, timing = content["machine"], content["timing"]
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    pairs = [(key, machine[key]) for key in ("cpu", "cores", "system", "python")]
    pairs += [("packages", packages), ("evaluated", f"{timing['started']}, {timing['seconds']:.1f} s")]
    pairs.append(("load average", f"{timing['load_average']:g} at the end of it"))
    blocks.append(f"<div><h3>Machine</h3>{parts.facts(pairs)}</div>")
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in content["bag"]["notes"])
    rows = [parts.row([name, one["type"], str(one["messages"])]) for name, one in content["bag"]["topics"].items()]
    bag = f"<h3>Topics of the bag</h3>{notes}{parts.table(['topic', 'type', 'messages'], rows)}"
    return _section("Model, machine, bag", "", f'<div class="two">{"".join(blocks)}</div>', bag)


def _model_facts(model: Json) -> str:
    about = model["model"]
    metadata, settings = about["metadata"], about["settings"]
    size = settings["input_size"] or metadata["input_size"]
    weights = f"{settings['reweight']}, std {settings['reweight_std']:g}"
    metrics = ", ".join(f"{name} {value:g}" for name, value in metadata["metrics"].items())
    return parts.facts(
        [
            ("file", about["file"]),
            ("network", f"{metadata['arch']}, {metadata['backbone']}, {metadata['precision']}"),
            ("input", "the camera's size" if size is None else f"{size[1]} x {size[0]}"),
            ("runs on", f"{about['backend']}, {about['device']}"),
            ("re-weighting", weights),
            ("minimum confidence", f"{settings['min_confidence']:g}"),
            ("weights", metadata["source"] or "unknown"),
            *([("its own figures", metrics)] if metrics else []),
            *(
                (f"labels of {topic}", f"SHA-256 {one['labels_sha256'][:32]}...")
                for topic, one in model["topics"].items()
            ),
        ]
    )


def _footer(content: Json) -> str:
    about = f"{content['format']}, dannet_ros {content['version']}; every figure is also in metrics.json."
    return f"<footer>{escape(about)}</footer>"


def _seconds(content: Json) -> dict[int, float]:
    """Time of recording of each frame, from the first one's."""
    frames: Sequence[Any] = content["frames"]
    first = min((frame["recorded_ns"] for frame in frames), default=0)
    return {index: (frame["recorded_ns"] - first) / 1e9 for index, frame in enumerate(frames)}
