"""The report: one HTML page with everything inside, for whoever was not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dannet_core.class_set import ClassSet
from dannet_core.evaluation.class_table import Scored, class_table, confusion_div
from dannet_core.metadata import ModelMetadata
from dannet_core.report.charts import COLORS, histogram, timeline, timeline_height
from dannet_core.report.page import data_island, figure_div, milliseconds, percent, render_page
from dannet_core.report.pictures import data_uri
from dannet_ros.replay.bag_report import STAGES, live_text
from dannet_ros.replay.explorer import Drive, Json
from dannet_ros.replay.frame_pictures import FramePictures
from dannet_ros.replay.live_section import live_section
from dannet_ros.replay.worst_frames import WorstFrame

TEMPLATE: Final = "bag.html.j2"
_PROBLEMS_SHOWN: Final = 10
_POINTS: Final = ("p50", "p95", "p99", "max", "mean")


def render(content: Json, worst: Mapping[str, Sequence[WorstFrame]], pictures: FramePictures) -> str:
    """The page.

    Args:
        content: what `bag_report.results` gives, with ``timing``.
        worst: worst frames by model.
        pictures: of the frames that can be looked at.

    Raises:
        MissingPackageError: Jinja2 or Plotly is not installed.
    """
    path = Path(content["bag"]["path"])
    drive = Drive(content, pictures, [one.index for some in worst.values() for one in some])
    rows = drive.rows()
    return render_page(
        TEMPLATE,
        title=f"{path.name}: night segmentation",
        heading=path.name,
        subheading=_subheading(content, drive),
        warnings=_warnings(content),
        footer=f"{content['format']}, dannet_ros {content['version']}; every figure is also in metrics.json.",
        models=[_model(content, number, worst, drive) for number in range(len(content["models"]))],
        timeline=figure_div(timeline(rows, "seconds of the drive"), "Figures over the drive", timeline_height(rows)),
        explorer_data=data_island("explorer-data", drive.data()),
        explorer_notes=_explorer_notes(content, drive, pictures),
        histogram=_histogram(content),
        stage_heads=["ms", *_POINTS],
        live=live_section(content["timing"].get("live")),
        machine=_machine(content),
        bag_notes=content["bag"]["notes"],
        topics=[[name, one["type"], one["messages"]] for name, one in content["bag"]["topics"].items()],
        class_colors=_class_colors(content),
        **_classes(content),
        **_summary(content),
    )


def _subheading(content: Json, drive: Drive) -> str:
    names = " and ".join(model["name"] for model in content["models"])
    words = f"{content['frames_labelled']} frames over {max(drive.seconds, default=0.0):.1f} s, labelled by {names}"
    return f"{words}; {content['bag']['path']}"


def _warnings(content: Json) -> list[str]:
    lines = list(content["bag"]["problems"])
    if content["interrupted"]:
        lines.append("Interrupted: the figures are those of the frames up to then.")
    if content["frames_refused"]:
        first = next(frame["refused"] for frame in content["frames"] if "refused" in frame)
        lines.append(f"{content['frames_refused']} frames could not be labelled, the first because: {first}")
    lines += content["ground_truth_problems"][:_PROBLEMS_SHOWN]
    untrained = [model["name"] for model in content["models"] if not model["model"]["metadata"]["trained"]]
    return [*lines, *(f"{name} has untrained weights: its figures mean nothing." for name in untrained)]


def _summary(content: Json) -> dict[str, Any]:
    notes = []
    if content.get("agreement"):
        notes.append(f"The two models agree on {percent(content['agreement']['mean'])} of the pixels.")
    live = content["timing"].get("live")
    if live is not None:
        text = live_text(live)
        notes.append(f"{text[0].upper()}{text[1:]}.")
    truths = [f"{topic}: {one['source']}" for topic, one in content["ground_truth"].items() if one]
    truth_note = f"Ground truth of {'; '.join(truths)}." if truths else "No ground truth."
    return {"truth_note": truth_note, "summary_notes": notes}


def _explorer_notes(content: Json, drive: Drive, pictures: FramePictures) -> list[str]:
    """What is not on the page."""
    notes, count = [], len(content["frames"])
    if len(drive.numbers) < count:
        notes.append(
            f"{len(drive.numbers)} of {count} frames are drawn, the extremes of every line among them; "
            "metrics.json has all."
        )
    if pictures.stride > 1:
        notes.append(
            f"To keep the page small it has pictures of {len(pictures.kept)} of {count} frames: "
            f"one in {pictures.stride} of each camera."
        )
    return notes


def _model(content: Json, number: int, worst: Mapping[str, Sequence[WorstFrame]], drive: Drive) -> dict[str, Any]:
    model = content["models"][number]
    name, stages = model["name"], content["timing"]["models"][model["name"]]["stages_ms"]
    frames = worst.get(name, ())
    truth = bool(frames) and content["frames"][frames[0].index]["ground_truth"]
    note = "Lowest mIoU first. Error: red is wrong, green is right, black has no ground truth."
    if not truth:
        note = "Lowest mean confidence first, as there is no ground truth. Confidence: blue is unsure, yellow is sure."
    return {
        "name": name,
        "color": COLORS[number],
        "tiles": _tiles(model, stages),
        "confusion": _confusion(model),
        "stages": [[stage, *(milliseconds(stages[stage][point]) for point in _POINTS)] for stage in STAGES],
        "worst": [_worst(one, content["frames"][one.index], drive.seconds[one.index]) for one in frames],
        "worst_note": note,
        "facts": _facts(model),
    }


def _tiles(model: Json, stages: Json) -> list[dict[str, str]]:
    """The figures of one model that matter most."""
    found, flicker, tiles = model["scores"], model["flicker"], []
    if found is not None:
        tiles.append((percent(found["miou_present"]), "", "mIoU over the classes present"))
        tiles.append((percent(found["pixel_accuracy"]), "", "of the labelled pixels right"))
    if model["confidence"] is not None:
        tiles.append((percent(model["confidence"]["mean"]), "", "mean confidence"))
    if flicker is not None:
        tiles.append((percent(flicker["mean"]), "", "of the labels change from frame to frame"))
    total = stages["total"]
    tiles.append((milliseconds(total["p50"]), "ms", f"a frame (median); p99 {milliseconds(total['p99'])} ms"))
    return [{"value": value, "unit": unit, "text": text} for value, unit, text in tiles]


def classes_of(model: Json) -> ClassSet:
    """The class set of one model of a report."""
    described = model["model"]["metadata"]
    names, shares = (tuple(described[key]) for key in ("class_names", "class_shares"))
    return ModelMetadata(
        "", "", class_names=names, class_shares=shares, class_details=described["class_details"]
    ).classes


def _class_colors(content: Json) -> list[tuple[str, str]]:
    classes = classes_of(content["models"][0])
    return [(name, "rgb({}, {}, {})".format(*color)) for name, color in zip(classes.names, classes.colors, strict=True)]


def _classes(content: Json) -> dict[str, Any]:
    models = content["models"]
    note = "IoU in percent; grey classes do not occur in the ground truth. Shares are of labelled and of all pixels."
    if models[0]["scores"] is None:
        note = "Share of all pixels in percent that got each label: what the model sees, not whether it is right."
    columns = [Scored(model["name"], model["scores"], model["label_shares"]) for model in models]
    return {"classes": class_table(classes_of(models[0]), columns), "classes_note": note}


def _confusion(model: Json) -> Any:
    """The confusion matrix; None without ground truth."""
    if model["scores"] is None:
        return None
    return confusion_div(model["scores"], classes_of(model).names, f"Confusion matrix of {model['name']}")


def _histogram(content: Json) -> Any:
    times = content["timing"]["models"]
    values = [(name, color, one["frames_ms"]) for (name, one), color in zip(times.items(), COLORS, strict=False)]
    return figure_div(histogram(values, "ms a frame"), "Frames by compute time", 260)


def _worst(worst: WorstFrame, frame: Json, seconds: float) -> dict[str, Any]:
    kind = "mIoU" if frame["ground_truth"] else "confidence"
    text = f"at {seconds:.2f} s on {frame['topic']}, stamp {frame['stamp_ns']}: {kind} {percent(worst.score)}"
    pictures = [
        {
            "title": title.text,
            "alt": f"{title.text} of frame {worst.index}",
            "source": data_uri(data),
            "labels": title.text.startswith(("labels", "error", "ground truth")),
            "of": None,
        }
        for title, data in worst.pictures.items()
    ]
    return {"index": worst.index, "text": text, "pictures": pictures}


def _facts(model: Json) -> list[tuple[str, str]]:
    about = model["model"]
    metadata, settings = about["metadata"], about["settings"]
    size = settings["input_size"] or metadata["input_size"]
    weights = f"{settings['reweight']}, std {settings['reweight_std']:g}"
    metrics = ", ".join(f"{name} {value:g}" for name, value in metadata["metrics"].items())
    return [
        ("file", about["file"]),
        ("network", f"{metadata['arch']}, {metadata['backbone']}, {metadata['precision']}"),
        ("input", "the camera's size" if size is None else f"{size[1]} x {size[0]}"),
        ("runs on", f"{about['backend']}, {about['device']}"),
        ("re-weighting", weights),
        ("minimum confidence", f"{settings['min_confidence']:g}"),
        ("weights", metadata["source"] or "unknown"),
        *([("its own figures", metrics)] if metrics else []),
        *((f"labels of {topic}", f"SHA-256 {one['labels_sha256'][:32]}...") for topic, one in model["topics"].items()),
    ]


def _machine(content: Json) -> list[tuple[str, object]]:
    machine, timing = content["machine"], content["timing"]
    return [
        *((key, machine[key]) for key in ("cpu", "cores", "system", "python")),
        ("packages", ", ".join(f"{name} {number}" for name, number in machine["packages"].items())),
        ("evaluated", f"{timing['started']}, {timing['seconds']:.1f} s"),
        ("load average", f"{timing['load_average']:g} at the end of it"),
    ]
