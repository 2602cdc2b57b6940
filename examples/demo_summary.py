"""The demo's arithmetic: what was sent, what came back, how late, and how right; NumPy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dannet_core.classes import CLASS_NAMES, IGNORE_ID

DROPPED = ("replaced", "malformed", "failed", "stale", "late", "out_of_order", "unwatched")
"""Outcomes of the node's diagnostics that mean: received, but no label."""
STAGES = ("wait", "convert", "preprocess", "infer", "postprocess", "publish", "total")
SPREAD_KEY = "{} ms p50/p95/p99"


def percentiles(values_ms: npt.ArrayLike) -> tuple[float, float, float]:
    """50th, 95th and 99th percentile."""
    p50, p95, p99 = np.percentile(np.asarray(values_ms, dtype=np.float64), (50, 95, 99))
    return float(p50), float(p95), float(p99)


def stage_latencies(diagnostics: Mapping[str, str]) -> dict[str, tuple[float, float, float]]:
    """Percentiles by stage, as the node reports them; a bag's stamps are old, so neither ``receive`` nor ``age``."""
    found = {}
    for stage in STAGES:
        text = diagnostics.get(SPREAD_KEY.format(stage))
        if text is not None:
            p50, p95, p99 = (float(part) for part in text.split("/"))
            found[stage] = (p50, p95, p99)
    return found


@dataclass
class Agreement:
    """Confusion matrix of labels (columns) against ground truth (rows), in train ids."""

    matrix: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((len(CLASS_NAMES), len(CLASS_NAMES)), dtype=np.int64)
    )
    unlabelled: int = 0

    def add(self, labels: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> None:
        """Count one frame; pixels without ground truth are left out, unlabelled ones count as wrong."""
        classes = len(CLASS_NAMES)
        valid = truth != IGNORE_ID
        known = valid & (labels < classes)
        self.unlabelled += int((valid & ~known).sum())
        pairs = truth[known].astype(np.int64) * classes + labels[known]
        self.matrix += np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels with ground truth that got the right label, 0..1."""
        return float(np.trace(self.matrix) / max(int(self.matrix.sum()) + self.unlabelled, 1))

    @property
    def class_iou(self) -> dict[str, float]:
        """Intersection over union of the classes that the ground truth holds."""
        hits, rows, columns = np.diag(self.matrix), self.matrix.sum(axis=1), self.matrix.sum(axis=0)
        union = rows + columns - hits
        return {name: float(hits[i] / union[i]) for i, name in enumerate(CLASS_NAMES) if rows[i] > 0}

    @property
    def miou(self) -> float:
        """Mean of `class_iou`: over the classes that the ground truth holds."""
        values = list(self.class_iou.values())
        return float(np.mean(values)) if values else 0.0


def class_shares(counts: npt.NDArray[np.int64], class_names: Sequence[str] = CLASS_NAMES) -> dict[str, float]:
    """Pixel counts by label (256 bins) to shares by class name, largest first; unlabelled pixels come by that name."""
    names = {**dict(enumerate(class_names)), IGNORE_ID: "unlabelled"}
    total = max(int(counts.sum()), 1)
    order = np.argsort(-counts, kind="stable")
    return {names.get(int(i), f"label {int(i)}"): float(counts[i] / total) for i in order if counts[i] > 0}


def why_it_failed(sent: list[int], received: list[int]) -> str | None:
    """Why the labels that came back are not those of frames that were sent, in one line; None when they are."""
    if not received:
        return f"no label was received for {len(sent)} frames sent"
    strangers = set(received) - set(sent)
    if strangers:
        return f"{len(strangers)} labels carry a stamp that no frame had, e.g. {min(strangers)} ns"
    if len(set(received)) != len(received):
        return f"{len(received) - len(set(received))} frames were labelled twice"
    return None


def table(summary: Mapping[str, Any]) -> str:
    """The summary for people."""
    frames, model = summary["frames"], summary["model"]
    trained = "trained" if model["trained"] else "NOT TRAINED"
    lines = [
        "",
        f"model          {model['arch']} ({model['backbone']}), {trained}: {model['source']}",
        f"frames         {frames['sent']} sent, {frames['processed']} processed",
        f"               {frames['dropped']} dropped by the node for newer ones, {frames['lost']} lost on the way",
        "",
        "latency [ms]       p50      p95      p99",
    ]
    for stage, values in summary["latency_ms"].items():
        lines.append(f"  {stage:<12}" + "".join(f"{value:9.1f}" for value in values))
    lines += ["", "classes seen   share of pixels"]
    lines += [f"  {name:<14}{100 * share:6.1f} %" for name, share in summary["class_shares"].items()]
    truth = summary["agreement"]
    if truth is None:
        return "\n".join(lines)
    note = "" if model["trained"] else "  (random weights: chance)"
    accuracy, miou = 100 * truth["pixel_accuracy"], 100 * truth["miou"]
    lines += ["", f"against the toy city's ground truth: {accuracy:.1f} % of pixels right, mIoU {miou:.1f} %{note}"]
    return "\n".join(lines)
