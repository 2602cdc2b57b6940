"""What the report needs to explore a bag's frames: their figures as columns, and lines over the drive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dannet_core.report.charts import COLORS, GREYS, Line, Row
from dannet_core.report.page import short
from dannet_core.report.pictures import data_uri
from dannet_ros.replay.frame_pictures import FramePictures, Title

Json = Mapping[str, Any]
MAX_FRAMES: Final = 4000
"""Frames on a page; of longer bags those that hold the extremes of every line stay."""
_FIGURES: Final = {
    "miou": "miou_present",
    "accuracy": "pixel_accuracy",
    "confidence": "confidence",
    "flicker": "flicker",
}


class Drive:
    """The frames of a bag that are on the page.

    Attributes:
        numbers: of the frames, in order.
    """

    def __init__(
        self, content: Json, pictures: FramePictures, always: Iterable[int] = (), limit: int = MAX_FRAMES
    ) -> None:
        """Choose the frames.

        Args:
            content: what `bag_report.results` gives, with ``timing``.
            pictures: frames that have some are always there.
            always: further frames that are.
            limit: about how many frames there may be besides.
        """
        self._content, self._pictures = content, pictures
        frames: Sequence[Json] = content["frames"]
        first = min((frame["recorded_ns"] for frame in frames), default=0)
        self.seconds = [(frame["recorded_ns"] - first) / 1e9 for frame in frames]
        self._columns = {model["name"]: _columns(content, model["name"]) for model in content["models"]}
        columns = [column for model in self._columns.values() for column in model.values()]
        columns.append([frame.get("brightness") for frame in frames])
        self.numbers = extremes(columns, limit, (*pictures.kept, *always))

    def data(self) -> dict[str, Any]:
        """What ``explore.js`` reads."""
        frames, topics = self._content["frames"], list(self._content["ground_truth"])
        chosen = [frames[number] for number in self.numbers]
        titles = list(dict.fromkeys(title for one in self._pictures.kept.values() for title in one))
        return {
            "models": list(self._columns),
            "topics": topics,
            "frames": {
                "number": self.numbers,
                "seconds": [round(self.seconds[number], 3) for number in self.numbers],
                # As text: nanoseconds are more than a JavaScript number holds.
                "stamp": [str(frame.get("stamp_ns", "unknown")) for frame in chosen],
                "topic": [topics.index(frame["topic"]) for frame in chosen],
                "refused": {n: frames[n]["refused"] for n in self.numbers if "refused" in frames[n]},
                "models": [
                    {key: [short(column[number], 4) for number in self.numbers] for key, column in columns.items()}
                    for columns in self._columns.values()
                ],
            },
            "pictures": {"titles": [self._title(title) for title in titles], "frames": self._uris(titles)},
        }

    def rows(self) -> list[Row]:
        """Lines over the drive, those that have a value: mIoU, confidence, flicker, compute time, brightness."""
        truth = self._truth_flicker()
        changed = "Labels that change from the frame before; motion is part of it"
        changed += " (grey: ground truth)" if truth else ""
        rows = [
            Row("mIoU over the classes present", self._lines("miou"), ".0%"),
            Row("Mean confidence", self._lines("confidence"), ".0%"),
            Row(changed, [*self._lines("flicker"), *truth], ".0%"),
            Row("Compute time, ms a frame", self._lines("ms")),
            Row("Brightness of the camera image, 0 to 255", self._brightness()),
        ]
        return [row for row in rows if any(y is not None for line in row.lines for y in line.y)]

    def _lines(self, key: str) -> list[Line]:
        """One line a model and topic; a frame without the figure is a gap."""
        shades, lines = cycle(COLORS), []
        for number, (name, columns) in enumerate(self._columns.items()):
            for topic, indices in self._by_topic().items():
                about = f"{name}, {topic}" if len(self._by_topic()) > 1 else name
                lines.append(self._line(about, next(shades), indices, columns[key], number))
        return lines

    def _brightness(self) -> list[Line]:
        values = [frame.get("brightness") for frame in self._content["frames"]]
        shades = cycle(GREYS)
        several = len(self._by_topic()) > 1
        return [
            self._line(topic if several else "camera", next(shades), indices, values, None)
            for topic, indices in self._by_topic().items()
        ]

    def _truth_flicker(self) -> list[Line]:
        """How much of the ground truth changes: what is left of a model's flicker without it is the model's own."""
        values = [frame.get("ground_truth_flicker") for frame in self._content["frames"]]
        if len(self._by_topic()) > 1 or all(value is None for value in values):
            return []
        return [self._line("ground truth", "#8d98a4", self.numbers, values, None)]

    def _by_topic(self) -> dict[str, list[int]]:
        frames = self._content["frames"]
        return {
            topic: [n for n in self.numbers if frames[n]["topic"] == topic] for topic in self._content["ground_truth"]
        }

    def _line(
        self, name: str, color: str, indices: Sequence[int], values: Sequence[float | None], model: int | None
    ) -> Line:
        return Line(name, color, [self.seconds[i] for i in indices], [values[i] for i in indices], indices, model)

    def _title(self, title: Title) -> dict[str, Any]:
        names = list(self._columns)
        return {"title": title.text, "of": None if title.model is None else names.index(title.model)}

    def _uris(self, titles: Sequence[Title]) -> dict[int, list[tuple[int, str]]]:
        return {
            number: [(titles.index(title), data_uri(data)) for title, data in pictures.items()]
            for number, pictures in self._pictures.kept.items()
        }


def extremes(columns: Sequence[Sequence[float | None]], limit: int, always: Iterable[int] = ()) -> list[int]:
    """About ``limit`` of a bag's frames: all, or the lowest and highest of every column in many short stretches.

    Args:
        columns: one value a frame; None is a gap, and the first gap of a stretch stays too.
        limit: at least as many frames are all kept.
        always: frames that stay whatever their values.
    """
    count = len(columns[0])
    if count <= limit:
        return list(range(count))
    values: npt.NDArray[np.float64] = np.array(columns, dtype=np.float64)
    kept = set(always)
    for stretch in np.array_split(np.arange(count), max(1, limit // (2 * len(columns) + 1))):
        for column in values[:, stretch]:
            known = np.flatnonzero(~np.isnan(column))
            if known.size:
                kept |= {int(stretch[known[column[known].argmin()]]), int(stretch[known[column[known].argmax()]])}
        gaps = np.flatnonzero(np.isnan(values[:, stretch]).all(axis=0))
        kept |= {int(stretch[gap]) for gap in gaps[:1]}
    return sorted(kept)


def _columns(content: Json, name: str) -> dict[str, list[float | None]]:
    frames: Sequence[Json] = content["frames"]
    records = [frame.get("models", {}).get(name, {}) for frame in frames]
    columns: dict[str, list[float | None]] = {key: [one.get(of) for one in records] for key, of in _FIGURES.items()}
    times = iter(content["timing"]["models"][name]["frames_ms"])
    columns["ms"] = [next(times) if "models" in frame else None for frame in frames]
    return columns
