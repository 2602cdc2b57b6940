"""One pass over a bag: every frame of the image topics once, in the order of recording, through every model."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from tqdm import tqdm

from dannet_core.errors import ImageError, NotFiniteError
from dannet_core.inference.prediction import Prediction
from dannet_core.pixels import Labels
from dannet_core.terminal import give_back, hang_up_once, stop_signals
from dannet_ros.replay.bag_frame import BagFrame
from dannet_ros.replay.bag_reading import PICTURES, Bag, BagImage
from dannet_ros.replay.frame_pictures import BUDGET, FramePictures
from dannet_ros.replay.frame_scores import Flicker, ModelScore
from dannet_ros.replay.ground_truth import GroundTruth
from dannet_ros.replay.result_bag import ResultBag
from dannet_ros.replay.scanned import RawMessage


class BagEvaluation:
    """Takes in the messages of a bag.

    Attributes:
        topics: the evaluated image topics, each with its ground truth.
        models: at least one.
        frames: one record of plain values for every message of `topics`, in order; none of them depends on time.
        truth_flicker: change between successive ground truths, by topic.
        agreements: share of the pixels on which two models agree, by frame.
        truth_problems: ground truth that could not be used, one line each.
        pictures: small ones of the frames, for the report.
        quiet: without a progress bar, for one of several at a time.
    """

    def __init__(
        self,
        bag: Bag,
        topics: dict[str, GroundTruth | None],
        models: Sequence[ModelScore],
        overlay_alpha: float,
        picture_budget: int = BUDGET,
    ) -> None:
        self.topics, self.models = topics, list(models)
        self._expected = sum(bag.count(topic, PICTURES) for topic in topics)
        self.pictures = FramePictures(self._expected, picture_budget)
        self.frames: list[dict[str, Any]] = []
        self.truth_flicker = {topic: Flicker() for topic in topics}
        problems = (problem for truth in topics.values() if truth is not None for problem in truth.problems)
        self.truth_problems: list[str] = list(dict.fromkeys(problems))
        self.agreements: list[float] = []
        self.quiet = False
        self._bag, self._alpha = bag, overlay_alpha

    def run(self, sink: ResultBag | None) -> bool:
        """Go through the bag; False when Ctrl-C ended it early. What was done until then stays."""
        wanted = list(self._bag.kinds) if sink is not None and sink.copies else list(self.topics)
        total = self._expected or None
        with (
            stop_flag() as stop,
            tqdm(total=total, desc="evaluate_bag", unit="frame", leave=False, disable=self.quiet or None) as progress,
        ):
            for message in self._bag.raw(wanted):
                if sink is not None:
                    sink.copy(message)
                if message.topic in self.topics and message.kind in PICTURES:
                    self._take(message, sink)
                    progress.update()
                    progress.set_postfix_str(self._progress(), refresh=False)
                if stop.is_set():
                    return False
        self._note_unmatched()
        return True

    def _take(self, message: RawMessage, sink: ResultBag | None) -> None:
        record: dict[str, Any] = {"topic": message.topic, "recorded_ns": message.time_ns}
        self.frames.append(record)
        started = time.perf_counter()
        try:
            image = self._bag.image(message)
            decode_ms = (time.perf_counter() - started) * 1e3
            predictions = {model.name: model.segment(image.rgb) for model in self.models}
        except (ImageError, NotFiniteError) as error:
            record["refused"] = str(error)
            self._skip(message.topic)
            return
        truth = self._truth(message.topic, image)
        height, width = image.rgb.shape[:2]
        brightness = float(image.rgb.mean())
        record |= {"stamp_ns": image.stamp_ns, "height": height, "width": width, "brightness": brightness}
        record["ground_truth"] = truth is not None
        record["ground_truth_flicker"] = self._truth_flicker(message.topic, truth)
        frame = BagFrame(len(self.frames) - 1, message.topic, image.rgb, truth, decode_ms)
        record["models"] = self._score(frame, predictions)
        self.pictures.offer(frame, predictions)
        if sink is not None:
            for name, prediction in predictions.items():
                sink.add(message, image, name, prediction, self._alpha)

    def _score(self, frame: BagFrame, predictions: Mapping[str, Prediction]) -> dict[str, Any]:
        labels = [prediction.labels for prediction in predictions.values()]
        if len(labels) == 2:
            self.agreements.append(np.count_nonzero(labels[0] == labels[1]) / labels[0].size)
        return {model.name: model.add(frame, predictions) for model in self.models}

    def _truth_flicker(self, topic: str, truth: Labels | None) -> float | None:
        if truth is None:
            self.truth_flicker[topic].skip()
            return None
        return self.truth_flicker[topic].add(truth)

    def _truth(self, topic: str, image: BagImage) -> Labels | None:
        truth, (height, width) = self.topics[topic], image.rgb.shape[:2]
        if truth is None:
            return None
        try:
            return truth.find(image.stamp_ns, (height, width))
        except ImageError as error:
            self.truth_problems.append(str(error))
            return None

    def _note_unmatched(self) -> None:
        """Labels of another drive, or stamps that were changed, would otherwise look like a bag without labels."""
        for topic, truth in self.topics.items():
            stamps = [frame["stamp_ns"] for frame in self.frames if frame["topic"] == topic and "stamp_ns" in frame]
            if truth is not None and stamps and len(truth) and truth.unused == len(truth):
                self.truth_problems.append(
                    f"{truth.source}: no frame of {topic} has a label: the first frame's stamp is {stamps[0]}, "
                    f"the first label's {truth.first_stamp}"
                )

    def _skip(self, topic: str) -> None:
        self.truth_flicker[topic].skip()
        for model in self.models:
            if topic in model.topics:
                model.topics[topic].flicker.skip()

    def _progress(self) -> str:
        confusion = self.models[0].confusion
        return f"mIoU={confusion.miou_present:.1%}" if confusion.present.any() else ""


@contextmanager
def stop_flag() -> Iterator[threading.Event]:
    """Ctrl-C and the like (`stop_signals`) set the flag and let the frame in work be finished; a second one ends it."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def stop(number: int, _: Any) -> None:
        flag.set()
        signal.signal(number, before[signal.Signals(number)])
        hang_up_once(number)

    before: dict[signal.Signals, Any] = {number: signal.signal(number, stop) for number in stop_signals()}
    try:
        yield flag
    finally:
        give_back(before)
