"""One set of figures over all bags, of sums and never of averages; what depends on the clock is under ``timing``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from dannet_core import __version__
from dannet_core.evaluation.confusion import ConfusionMatrix
from dannet_core.evaluation.scores import scores
from dannet_ros.replay.bag_report import JSON_NAME
from dannet_ros.replay.fleet.bag_record import BagRecord
from dannet_ros.replay.fleet.bag_search import FoundBag, FoundBags
from dannet_ros.replay.frame_scores import spread
from dannet_ros.replay.one_bag import REPORT_NAME
from dannet_ros.replay.report_page import classes_of

FORMAT: Final = "dannet_ros evaluate_bag fleet 1"
BAGS_NAME: Final = "bags"
EVALUATED, FAILED, NOT_DONE = "evaluated", "failed", "not done"
Json = Mapping[str, Any]


@dataclass(frozen=True)
class FleetFrame:
    """A frame among the worst.

    Attributes:
        labelled: it has ground truth, and ``score`` is its mean IoU; otherwise its mean confidence.
        score: 0..1.
        bag: the bag's name.
        frame: its record in the bag's JSON, with ``index``.
        pictures: files by title, relative to the bag's folder.
    """

    labelled: bool
    score: float
    bag: str
    frame: Json
    pictures: dict[str, str]


@dataclass
class ModelTotal:
    """One model over all bags so far."""

    first: Json
    confusion: ConfusionMatrix
    pixels: int = 0
    label_pixels: dict[str, list[float]] = field(default_factory=dict)
    confidences: list[float] = field(default_factory=list)
    flickers: list[float] = field(default_factory=list)
    worst: list[FleetFrame] = field(default_factory=list)

    def add(self, model: Json, frames: Sequence[Json]) -> None:
        """Count one bag's."""
        if model["scores"] is not None:
            counts = np.array(model["scores"]["confusion_matrix"]["pixels"], dtype=np.int64)
            self.confusion += ConfusionMatrix(counts)
        pixels = sum(frame["height"] * frame["width"] for frame in frames)
        self.pixels += pixels
        for name, share in model["label_shares"].items():
            self.label_pixels.setdefault(name, []).append(share * pixels)
        own = [frame["models"][model["name"]] for frame in frames]
        self.confidences += [one["confidence"] for one in own if one["confidence"] is not None]
        self.flickers += [one["flicker"] for one in own if one["flicker"] is not None]

    def offer(self, bag: str, frames: Sequence[Json], record: BagRecord) -> None:
        """Take the worst frames of a bag."""
        for one in record.worst[self.first["name"]]:
            frame = {"index": one["index"], **frames[one["index"]]}
            self.worst.append(FleetFrame(frame["ground_truth"], one["score"], bag, frame, one["pictures"]))

    def worst_frames(self, count: int) -> list[FleetFrame]:
        """The lowest scores, those with ground truth alone where there are any, as within a bag."""
        labelled = any(one.labelled for one in self.worst)
        return sorted((one for one in self.worst if one.labelled == labelled), key=lambda one: one.score)[:count]

    def summary(self) -> dict[str, Any]:
        """Everything as plain values, as of one bag."""
        classes = classes_of(self.first)
        return {
            "name": self.first["name"],
            "scores": scores(self.confusion, classes) if self.confusion.present.any() else None,
            "confidence": spread(self.confidences),
            "flicker": spread(self.flickers),
            "label_shares": {name: math.fsum(parts) / max(self.pixels, 1) for name, parts in self.label_pixels.items()},
            "model": self.first["model"],
        }


class FleetSummary:
    """Takes in the results of the bags, in order."""

    def __init__(self, worst: int) -> None:
        """Start with none; ``worst`` is how many of the worst bags and frames are listed."""
        self._count = worst
        self.rows: list[dict[str, Any]] = []
        self.models: dict[str, ModelTotal] = {}
        self._agreements: list[tuple[float, int]] = []
        self._machines: Counter[str] = Counter()

    def add(self, bag: FoundBag, content: Json, record: BagRecord) -> None:
        """Count a bag's result."""
        labelled = [frame for frame in content["frames"] if "models" in frame]
        for model in content["models"]:
            total = self.models.get(model["name"])
            if total is None:
                total = ModelTotal(model, ConfusionMatrix(num_classes=len(classes_of(model))))
                self.models[model["name"]] = total
            total.add(model, labelled)
            total.offer(bag.name, content["frames"], record)
        if content.get("agreement"):
            self._agreements.append((content["agreement"]["mean"], len(labelled)))
        self._machines["{cpu}, {cores} cores".format(**content["machine"])] += 1
        self.rows.append(_row(bag, content, record))

    def leave_out(self, bag: FoundBag, status: str, why: str) -> None:
        """List a bag without a result."""
        self.rows.append({"name": bag.name, "path": str(bag.path), "status": status, "why": why})

    def content(self, found: FoundBags, interrupted: bool) -> dict[str, Any]:
        """Everything that is the same whatever workers did it."""
        done = [row for row in self.rows if row["status"] == EVALUATED]
        counts = Counter(row["status"] for row in self.rows)
        content: dict[str, Any] = {
            "format": FORMAT,
            "version": __version__,
            "complete": len(done) == len(self.rows) and all(row["complete"] for row in done) and not found.problems,
            "interrupted": interrupted,
            "bags_found": len(self.rows),
            "bags_evaluated": len(done),
            "bags_failed": counts[FAILED],
            **{key: sum(row[key] for row in done) for key in ("frames_read", "frames_labelled", "frames_refused")},
            "problems": found.problems,
            "notes": [*found.notes, *self._notes(done)],
            "models": [self._model(total, done) for total in self.models.values()],
        }
        if self._agreements:
            frames = sum(count for _, count in self._agreements)
            content["agreement"] = {"mean": math.fsum(mean * count for mean, count in self._agreements) / frames}
        return {**content, "bags": self.rows}

    def worst_frames(self, model: str) -> list[FleetFrame]:
        """Of all bags, worst first."""
        return self.models[model].worst_frames(self._count)

    def _model(self, total: ModelTotal, done: Sequence[Json]) -> dict[str, Any]:
        summary = total.summary()
        name = summary["name"]
        return {
            **summary,
            "worst_bags": worst_bags(done, name)[: self._count],
            "worst_frames": [
                {"bag": one.bag, "score": one.score, "of": "miou_present" if one.labelled else "confidence",
                 **{key: one.frame[key] for key in ("index", "topic", "stamp_ns")}}
                for one in self.worst_frames(name)
            ],
        }  # fmt: skip

    def _notes(self, done: Sequence[Json]) -> list[str]:
        """What makes sums mean something else than they seem to."""
        by_hash: dict[str, list[str]] = {}
        for row in done:
            by_hash.setdefault(row["sha256"], []).append(row["name"])
        notes = [f"{' and '.join(names)} hold the same bytes: counted {len(names)} times" for names in by_hash.values()
                 if len(names) > 1]  # fmt: skip
        if 0 < sum(row["has_ground_truth"] for row in done) < len(done):
            without = [row["name"] for row in done if not row["has_ground_truth"]]
            notes.append(f"no ground truth in {', '.join(without)}: the scores are of the other bags")
        if len(self._machines) > 1:
            kinds = ", ".join(f"{cpu} ({bags} bags)" for cpu, bags in sorted(self._machines.items()))
            notes.append(f"evaluated on different machines, which may round differently: {kinds}")
        return notes


def worst_bags(done: Sequence[Json], model: str) -> list[str]:
    """Names of the evaluated bags, lowest mean IoU first; lowest mean confidence where none has ground truth."""
    labelled = any(row["has_ground_truth"] for row in done)
    valued = [(_value(row["models"][model], labelled), row["name"]) for row in done]
    return [name for _, name in sorted((one for one in valued if one[0] is not None), key=lambda one: one[0] or 0.0)]


def _value(model: Json, labelled: bool) -> float | None:
    part, key = (model["scores"], "miou_present") if labelled else (model["confidence"], "mean")
    return None if part is None else part[key]


def _row(bag: FoundBag, content: Json, record: BagRecord) -> dict[str, Any]:
    folder = f"{BAGS_NAME}/{bag.name}"
    frames = {key: content[key] for key in ("frames_read", "frames_labelled", "frames_refused")}
    return {
        "name": bag.name,
        "path": str(bag.path),
        "status": EVALUATED,
        "sha256": record.bag_sha256,
        "report": f"{folder}/{REPORT_NAME}",
        "metrics": f"{folder}/{JSON_NAME}",
        "complete": content["complete"],
        **frames,
        "problems": [*content["bag"]["problems"], *content["ground_truth_problems"]],
        "has_ground_truth": any(model["scores"] is not None for model in content["models"]),
        "models": {model["name"]: _model_row(model) for model in content["models"]},
    }


def _model_row(model: Json) -> dict[str, Any]:
    found = model["scores"]
    return {
        "scores": None if found is None else {key: one for key, one in found.items() if key != "confusion_matrix"},
        "confidence": model["confidence"],
        "flicker": model["flicker"],
        "label_shares": model["label_shares"],
    }


def summary_text(content: Json) -> str:
    """The results in a few lines for the terminal."""
    failed = [row for row in content["bags"] if row["status"] == FAILED]
    words = f"{content['bags_evaluated']} of {content['bags_found']} bags evaluated, {len(failed)} failed"
    words += ", interrupted" if content["interrupted"] else ""
    lines = [f"{words}; {content['frames_labelled']} of {content['frames_read']} frames labelled"]
    lines += [f"  note: {note}" for note in content["notes"]]
    lines += [f"  warning: {problem}" for problem in content["problems"]]
    lines += [f"  warning: {row['name']}: {problem}" for row in content["bags"] for problem in row.get("problems", ())]
    lines += [f"  failed: {row['name']}: {row['why']}" for row in failed]
    for model in content["models"]:
        found, worst = model["scores"], model["worst_bags"]
        quality = "no ground truth" if found is None else f"mIoU {found['miou_present']:.4f} over the classes present"
        lines.append(f"  {model['name']}: {quality}" + (f"; worst bag: {worst[0]}" if worst else ""))
        if not model["model"]["metadata"]["trained"]:
            lines.append("  untrained weights: these figures mean nothing")
    return "\n".join(lines)
