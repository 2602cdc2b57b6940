"""What a model makes of a bag's frames: scores against ground truth, or what can be said without it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dannet_core.class_set import ClassSet
from dannet_core.classes import IGNORE_ID
from dannet_core.errors import NotFiniteError
from dannet_core.evaluation.confusion import ConfusionMatrix
from dannet_core.evaluation.scores import scores
from dannet_core.inference.prediction import Prediction
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.pixels import Labels, Rgb
from dannet_ros.replay.bag_frame import BagFrame
from dannet_ros.replay.worst_frames import WorstFrames


class Flicker:
    """Share of the pixels whose label is not that of the frame before; motion is part of it."""

    def __init__(self) -> None:
        self._before: Labels | None = None
        self.shares: list[float] = []

    def add(self, labels: Labels) -> float | None:
        """Take in the next frame's labels; None for the first, and after a change of size."""
        before, self._before = self._before, labels
        if before is None or before.shape != labels.shape:
            return None
        share = float(np.count_nonzero(before != labels)) / labels.size
        self.shares.append(share)
        return share

    def skip(self) -> None:
        """There is a frame without labels in between."""
        self._before = None


@dataclass
class TopicScore:
    """One model on one topic.

    Attributes:
        classes: of the model.
        confusion: pixel counts against the ground truth.
        label_pixels: (256,) int64 pixels by label.
        confidences: mean likelihood of each frame's labels, 0..1; none of a model that gives labels without scores.
        flicker: change between frames.
        frames: how many.
    """

    classes: ClassSet
    confusion: ConfusionMatrix = field(init=False)
    label_pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    confidences: list[float] = field(default_factory=list)
    flicker: Flicker = field(default_factory=Flicker)
    frames: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def __post_init__(self) -> None:
        self.confusion = ConfusionMatrix(num_classes=len(self.classes))

    def add(self, prediction: Prediction, truth: Labels | None) -> dict[str, Any]:
        """Count one frame; returns its own figures as plain values."""
        labels = np.ascontiguousarray(prediction.labels)
        self.frames += 1
        pixels = np.bincount(labels.ravel(), minlength=256)
        self.label_pixels += pixels
        confidence = float(prediction.confidence.mean(dtype=np.float64)) if prediction.has("confidence") else None
        self.confidences += [] if confidence is None else [confidence]
        self._digest.update(labels)
        record: dict[str, Any] = {
            "labels": digest(labels),
            "confidence": confidence,
            "flicker": self.flicker.add(labels),
            "unknown": float(pixels[IGNORE_ID]) / labels.size,
        }
        if truth is not None:
            confusion = ConfusionMatrix(num_classes=len(self.classes))
            confusion.add(truth, labels)
            self.confusion += confusion
            record["miou_present"] = _number(confusion.miou_present)
            record["pixel_accuracy"] = _number(confusion.pixel_accuracy)
        return record

    def summary(self) -> dict[str, Any]:
        """Everything as plain values; see `label_shares` and `dannet_core.evaluation.scores.scores`."""
        return {
            "frames": self.frames,
            "scores": scores(self.confusion, self.classes) if self.confusion.present.any() else None,
            "confidence": spread(self.confidences),
            "flicker": spread(self.flicker.shares),
            "label_shares": label_shares(self.label_pixels, self.classes),
            "labels_sha256": self._digest.hexdigest(),
        }


class ModelScore:
    """One model on all topics.

    Attributes:
        name: short, unique among the models compared.
        classes: its classes.
        topics: its scores by topic.
        times_ms: milliseconds by stage, one entry a frame.
        worst: its worst frames.
    """

    def __init__(self, name: str, segmenter: NightSegmenter, description: Mapping[str, Any], worst: int) -> None:
        self.name, self.description = name, dict(description)
        self._segmenter = segmenter
        self.classes = segmenter.metadata.classes
        self.topics: dict[str, TopicScore] = {}
        self.times_ms: list[dict[str, float]] = []
        self.worst = WorstFrames(worst)

    @property
    def outputs_by(self) -> str:
        """What makes labels of the network's logits; see `NightSegmenter.outputs_by`."""
        return self._segmenter.outputs_by

    def segment(self, rgb: Rgb) -> Prediction:
        """Label a picture.

        Raises:
            NotFiniteError: this model gives NaN or infinity for it.
        """
        try:
            return self._segmenter.segment(rgb, with_relit=False)
        except NotFiniteError as error:
            raise NotFiniteError(f"{self.name}: {error}") from error

    def add(self, frame: BagFrame, predictions: Mapping[str, Prediction]) -> dict[str, Any]:
        """Count one frame; returns its figures.

        Args:
            frame: the frame.
            predictions: of all models by name, this one's among them.
        """
        prediction = predictions[self.name]
        record = self.topics.setdefault(frame.topic, TopicScore(self.classes)).add(prediction, frame.truth)
        timings = prediction.timings_ms
        self.times_ms.append({"decode": frame.decode_ms, **timings, "total": frame.decode_ms + sum(timings.values())})
        score = record.get("miou_present")
        score = record["confidence"] if score is None else score
        if score is not None:
            self.worst.offer(score, frame, {self.name: prediction, **predictions})
        return record

    @property
    def confusion(self) -> ConfusionMatrix:
        """Pixel counts over all topics."""
        total = ConfusionMatrix(num_classes=len(self.classes))
        for topic in self.topics.values():
            total += topic.confusion
        return total

    def summary(self) -> dict[str, Any]:
        """Everything but times as plain values."""
        confusion, topics = self.confusion, self.topics.values()
        pixels = sum((topic.label_pixels for topic in topics), start=np.zeros(256, dtype=np.int64))
        return {
            "name": self.name,
            "scores": scores(confusion, self.classes) if confusion.present.any() else None,
            "confidence": spread([value for topic in topics for value in topic.confidences]),
            "flicker": spread([value for topic in topics for value in topic.flicker.shares]),
            "label_shares": label_shares(pixels, self.classes),
            "topics": {name: topic.summary() for name, topic in self.topics.items()},
            "worst_frames": [one.index for one in self.worst],
            "model": self.description,
        }


def digest(labels: Labels) -> str:
    """16 hexadecimal digits that two label images share only when they are equal."""
    return hashlib.sha256(np.ascontiguousarray(labels).data).hexdigest()[:16]


def label_shares(pixels: npt.NDArray[np.int64], classes: ClassSet) -> dict[str, float]:
    """Share of all pixels by class name, and of "unknown"."""
    total = max(int(pixels.sum()), 1)
    shares = {name: int(pixels[index]) / total for index, name in enumerate(classes.names)}
    return {**shares, "unknown": int(pixels[IGNORE_ID]) / total}


def spread(values: list[float]) -> dict[str, float] | None:
    """Mean, percentiles and extremes; None without values."""
    if not values:
        return None
    p50, p95, p99 = (float(value) for value in np.percentile(values, (50, 95, 99)))
    return {
        "mean": math.fsum(values) / len(values),
        "min": min(values),
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "max": max(values),
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
