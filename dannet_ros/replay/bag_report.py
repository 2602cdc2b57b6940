"""The results of a bag as plain values for JSON: all that depends on the clock is under ``timing``."""

from __future__ import annotations

import itertools
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from dannet_core import __version__
from dannet_core.atomic_files import write_whole
from dannet_ros.replay.bag_evaluation import BagEvaluation
from dannet_ros.replay.bag_reading import Bag
from dannet_ros.replay.frame_scores import spread
from dannet_ros.replay.ground_truth import GroundTruth
from dannet_ros.replay.scanned import CDR

JSON_NAME: Final = "metrics.json"
FORMAT: Final = "dannet_ros evaluate_bag 1"
STAGES: Final = ("decode", "preprocess", "infer", "postprocess", "total")
_PACKAGES: Final = ("numpy", "opencv-python-headless", "onnxruntime", "torch", "tensorrt", "rosbags")


def results(bag: Bag, evaluation: BagEvaluation, complete: bool) -> dict[str, Any]:
    """Everything that is the same whenever the same bag is evaluated with the same models on the same machine.

    Args:
        bag: the bag, read to its end.
        evaluation: what came out.
        complete: False when Ctrl-C ended it.
    """
    refused = [frame for frame in evaluation.frames if "refused" in frame]
    notes = [*bag.notes, *_stamp_notes(evaluation)]
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": __version__,
        "bag": {"path": str(bag.path), "topics": _topics(bag), "problems": bag.problems, "notes": notes},
        "complete": complete and not bag.problems,
        "interrupted": not complete,
        "frames_read": len(evaluation.frames),
        "frames_labelled": len(evaluation.frames) - len(refused),
        "frames_refused": len(refused),
        "ground_truth": {topic: _truth(evaluation, topic, truth) for topic, truth in evaluation.topics.items()},
        "ground_truth_problems": evaluation.truth_problems,
        "models": [model.summary() for model in evaluation.models],
    }
    if len(evaluation.models) == 2:
        content["agreement"] = _agreement(evaluation)
    return {**content, "machine": machine(), "frames": evaluation.frames}


def timing(evaluation: BagEvaluation, started: str, seconds: float) -> dict[str, Any]:
    """Latencies of the replay, with the machine's load, without which they mean little.

    Args:
        evaluation: what came out.
        started: when, ISO 8601.
        seconds: how long it took, writing the bag included.
    """
    models = {}
    for model in evaluation.models:
        stages = {stage: spread([times[stage] for times in model.times_ms]) for stage in STAGES if model.times_ms}
        models[model.name] = {"stages_ms": stages, "frames_ms": [times["total"] for times in model.times_ms]}
    return {"started": started, "seconds": seconds, "load_average": round(os.getloadavg()[0], 2), "models": models}


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write plain values as JSON; the file appears whole or not at all."""
    return write_whole(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def machine() -> dict[str, Any]:
    """What it ran on."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": system,
        "python": platform.python_version(),
        "packages": packages,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())


def _topics(bag: Bag) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for topic in bag.topics:
        kind = topic.kind if topic.encoding == CDR else f"{topic.kind} as {topic.encoding}"
        known = found.get(topic.name)
        kinds, messages = (f"{known['type']}, {kind}", known["messages"]) if known else (kind, 0)
        found[topic.name] = {"type": kinds, "messages": messages + topic.total}
    return found


def _stamp_notes(evaluation: BagEvaluation) -> list[str]:
    """Cameras whose stamps do not tell their frames apart, or their order."""
    notes = []
    for topic in evaluation.topics:
        stamps = [frame["stamp_ns"] for frame in evaluation.frames if frame["topic"] == topic and "stamp_ns" in frame]
        repeated = len(stamps) - len(set(stamps))
        back = sum(later < earlier for earlier, later in itertools.pairwise(stamps))
        if repeated:
            notes.append(f"{topic}: {repeated} of {len(stamps)} frames repeat the stamp of another")
        if back:
            notes.append(f"{topic}: stamps go back {back} times")
    return notes


def _truth(evaluation: BagEvaluation, topic: str, truth: GroundTruth | None) -> dict[str, Any] | None:
    if truth is None:
        return None
    used = sum(frame.get("ground_truth", False) for frame in evaluation.frames if frame["topic"] == topic)
    return {
        "source": truth.source,
        "labels": len(truth),
        "frames_with_labels": used,
        "labels_without_a_frame": truth.unused,
        "flicker": spread(evaluation.truth_flicker[topic].shares),
    }


def _agreement(evaluation: BagEvaluation) -> dict[str, Any] | None:
    return spread(evaluation.agreements)


def summary_text(content: Mapping[str, Any]) -> str:
    """The results in a few lines for the terminal."""
    words = f"{content['frames_labelled']} of {content['frames_read']} frames labelled"
    lines = [f"{content['bag']['path']}: {words}" + (", interrupted" if content["interrupted"] else "")]
    lines += [f"  warning: {problem}" for problem in (*content["bag"]["problems"], *content["ground_truth_problems"])]
    lines += [f"  note: {note}" for note in content["bag"]["notes"]]
    for model in content["models"]:
        found, total = model["scores"], content["timing"]["models"][model["name"]]["stages_ms"]["total"]
        quality = "no ground truth" if found is None else f"mIoU {found['miou_present']:.4f} over the classes present"
        flicker = "-" if model["flicker"] is None else f"{model['flicker']['mean']:.1%}"
        confidence = "-" if model["confidence"] is None else f"{model['confidence']['mean']:.3f}"
        lines.append(
            f"  {model['name']}: {quality}, confidence {confidence}, flicker {flicker}, "
            f"{total['p50']:.1f} ms a frame (p99 {total['p99']:.1f})"
        )
        if not model["model"]["metadata"]["trained"]:
            lines.append("  untrained weights: these figures mean nothing")
    live = content["timing"].get("live")
    return "\n".join([*lines, *([f"  {live_text(live)}"] if live else [])])


def live_text(live: Mapping[str, Any]) -> str:
    """The live replay in one line."""
    latency = live["latency_ms"]
    spread_text = f"latency p50 {latency['p50']:.1f} p99 {latency['p99']:.1f} ms" if latency else "no label came"
    drops = ", ".join(f"{count} {why}" for why, count in live["dropped"].items() if count) or "none dropped"
    return f"live at {live['rate']:g}x: {live['labelled']} of {live['sent']} frames labelled, {drops}, {spread_text}"
