"""One bag through one model or two: what `evaluate_bag` does with each bag it is given."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from dannet_core.class_set import ClassSet, read_class_set, require_same_classes
from dannet_core.errors import SettingsError
from dannet_core.evaluation.report import describe_model, prepare_folder
from dannet_core.formats.label_png import LabelCode
from dannet_core.inference.presets import preset
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.report.page import page_missing, write_page
from dannet_core.tone import ToneSettings
from dannet_ros.replay.bag_evaluation import BagEvaluation
from dannet_ros.replay.bag_options import Settings
from dannet_ros.replay.bag_reading import Bag, BagError, open_bag, refuse_ros1
from dannet_ros.replay.bag_report import JSON_NAME, results, timing, write_json
from dannet_ros.replay.bag_writing import new_bag_file
from dannet_ros.replay.cameras import camera_topics
from dannet_ros.replay.frame_pictures import BUDGET
from dannet_ros.replay.frame_scores import ModelScore
from dannet_ros.replay.ground_truth import open_truth
from dannet_ros.replay.live import check_ros
from dannet_ros.replay.report_page import render
from dannet_ros.replay.result_bag import ResultBag
from dannet_ros.replay.transports import ZSTD

BAG_NAME: Final = "bag"
REPORT_NAME: Final = "report.html"


@dataclass(frozen=True)
class Evaluated:
    """What came of a bag.

    Attributes:
        content: see `dannet_ros.replay.bag_report.results`, with its ``timing``.
        evaluation: with the models' worst frames, and pictures.
        live: topic to replay to the node; empty without ``--live``.
    """

    content: dict[str, Any]
    evaluation: BagEvaluation
    live: str

    def write(self, out: Path) -> None:
        """The page, where one can be made, and the JSON."""
        if page_missing() is None:
            worst = {model.name: list(model.worst) for model in self.evaluation.models}
            write_page(out / REPORT_NAME, render(self.content, worst, self.evaluation.pictures))
        else:
            # One of an earlier run would not be of these figures.
            (out / REPORT_NAME).unlink(missing_ok=True)
        write_json(out / JSON_NAME, self.content)


def evaluate(
    path: Path, settings: Settings, out: Path, *, on_models: Callable[[Sequence[ModelScore]], None] | None = None,
    quiet: bool = False,
) -> Evaluated:  # fmt: skip
    """Label every frame of a bag, and write the new bag; see `Evaluated.write` for the rest.

    Args:
        path: the bag.
        settings: how; its ``bag`` and ``out`` are not read.
        out: folder for the results.
        on_models: is told the opened models before the work begins.
        quiet: without a progress bar.

    Raises:
        DannetError: the bag, a model, or a setting is wrong.
    """
    refuse_ros1(path)
    tone = ToneSettings(settings.tone, settings.bit_depth)
    with open_bag(path, lenient=True, tone=tone) as bag, ExitStack() as stack:
        topics = camera_topics(bag, settings.topics, settings.labels)
        live = _live_topic(settings, topics)
        models = stack.enter_context(opened_models(settings))
        if on_models is not None:
            on_models(models)
        prepare_folder(out)
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix=".labels_", dir=out)))
        code = LabelCode(settings.label_encoding, common_classes(settings, models))
        truths = open_truth(bag, settings.labels, topics, code, scratch)
        by_topic, budget = dict(zip(topics, truths, strict=True)), 0 if page_missing() else BUDGET
        evaluation = BagEvaluation(bag, by_topic, models, settings.overlay_alpha, budget)
        evaluation.quiet = quiet
        started, begin = datetime.now(timezone.utc).isoformat(timespec="seconds"), time.perf_counter()
        complete = _go_through(bag, evaluation, settings, out)
        bag.notes += bag.tones()
        content = results(bag, evaluation, complete)
        content["timing"] = timing(evaluation, started, time.perf_counter() - begin)
    return Evaluated(content, evaluation, live)


def warn_without_page() -> bool:
    """Say now, and not after the hours of work, that there will be no page; whether there will be one."""
    why = page_missing()
    if why:
        print(f"evaluate_bag: no {REPORT_NAME} will be written: {why}", file=sys.stderr)
    return not why


@contextmanager
def opened_models(settings: Settings) -> Iterator[list[ModelScore]]:
    """The models, open inside the block.

    Raises:
        DannetError: a model cannot be opened here.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(_opened(name, path, settings)) for name, path in named_models(settings)]


def named_models(settings: Settings) -> list[tuple[str, Path]]:
    """The models' files by names that are short and differ.

    Raises:
        SettingsError: one model twice.
    """
    paths = [settings.model, *([settings.compare] if settings.compare else [])]
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name or number}_{path.stem}" for number, path in enumerate(paths, 1)]
    if len(set(names)) < len(names):
        raise SettingsError(f"compare: got {settings.compare}, expected another model than --model")
    return list(zip(names, paths, strict=True))


def common_classes(settings: Settings, models: Sequence[ModelScore]) -> ClassSet:
    """The classes of all models and of the ground truth.

    Raises:
        SettingsError: they are not the same.
    """
    first = models[0].classes
    for other in models[1:]:
        require_same_classes(first, other.classes, other.name)
    if settings.classes is None:
        return first
    classes = read_class_set(settings.classes)
    require_same_classes(first, classes, str(settings.classes))
    return classes


@contextmanager
def _opened(name: str, path: Path, settings: Settings) -> Iterator[ModelScore]:
    changes = {"reweight_std": settings.reweight_std, "input_size": settings.input_size}
    wanted = {key: value for key, value in changes.items() if value is not None}
    inference = preset(settings.preset, min_confidence=settings.min_confidence, **wanted)
    with NightSegmenter.load(path, inference, device=settings.device, threads=settings.threads) as segmenter:
        yield ModelScore(name, segmenter, describe_model(segmenter, path), settings.worst)


def _go_through(bag: Bag, evaluation: BagEvaluation, settings: Settings, out: Path) -> bool:
    if settings.write_bag == "none":
        complete = evaluation.run(None)
    else:
        target = out / BAG_NAME
        with new_bag_file(target, settings.storage, overwrite=settings.overwrite, packed=True) as writer:
            names = [model.name for model in evaluation.models]
            sink = ResultBag(writer, bag, list(evaluation.topics), names, copies=settings.write_bag == "full")
            bag.notes += sink.notes
            complete = evaluation.run(sink)
            _refuse_nothing(bag, evaluation)
    _refuse_nothing(bag, evaluation)
    return complete


def _refuse_nothing(bag: Bag, evaluation: BagEvaluation) -> None:
    if any("refused" not in frame for frame in evaluation.frames):
        return
    why = evaluation.frames[0]["refused"] if evaluation.frames else "; ".join(bag.problems) or "no messages"
    raise BagError(f"{bag.path}: no frame of {', '.join(evaluation.topics)} could be labelled: {why}")


def _live_topic(settings: Settings, topics: Sequence[str]) -> str:
    """The topic to replay; empty without --live."""
    if not settings.live:
        return ""
    if settings.live_topic not in (None, *topics):
        raise SettingsError(f"live_topic: got {settings.live_topic}, expected one of {', '.join(topics)}")
    topic = settings.live_topic or topics[0]
    if topic.endswith(f"/{ZSTD}"):
        raise SettingsError(f"live: {topic} is of the zstd transport, which the node does not take: leave out --live")
    check_ros()
    return topic
