"""`ros2 run dannet_ros evaluate_bag BAG --model M --out DIR`: a model's quality on a recorded drive."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from dannet_core.class_set import ClassSet, read_class_set, require_same_classes
from dannet_core.errors import OutputError, SettingsError
from dannet_core.evaluation.report import describe_model, prepare_folder
from dannet_core.formats.label_png import LabelCode
from dannet_core.inference.presets import PRESETS, preset
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.program import EXIT_INTERRUPTED
from dannet_core.report.page import page_missing, write_page
from dannet_core.settings import option
from dannet_core.tone import DEFAULT_TONE, MAX_DEPTH, TONES, ToneSettings
from dannet_ros.replay.bag_evaluation import BagEvaluation
from dannet_ros.replay.bag_reading import Bag, BagError, open_bag, refuse_ros1
from dannet_ros.replay.bag_report import JSON_NAME, results, summary_text, timing, write_json
from dannet_ros.replay.bag_writing import check_free, new_bag_file
from dannet_ros.replay.cameras import NODE, camera_topics
from dannet_ros.replay.frame_pictures import BUDGET
from dannet_ros.replay.frame_scores import ModelScore
from dannet_ros.replay.ground_truth import ENCODINGS, open_truth
from dannet_ros.replay.live import LivePlan, check_ros, replay_live
from dannet_ros.replay.report_page import render
from dannet_ros.replay.result_bag import ResultBag
from dannet_ros.replay.transports import ZSTD

DESCRIPTION = (
    "Labels every frame of a bag once, in order; writes OUT/metrics.json, OUT/report.html and OUT/bag with label, "
    "color and overlay topics beside the originals. Needs no ROS installation, except for --live."
)
BAG_NAME: Final = "bag"
REPORT_NAME: Final = "report.html"


@dataclass(frozen=True)
class Settings:
    """Options of `evaluate_bag`."""

    bag: Path = option("a bag's folder, or one .mcap or .db3 file", positional=True)
    model: Path = option(".safetensors, .onnx or .engine")
    out: Path = option("folder for the results")
    compare: Path | None = option("a second model, set beside the first", None)
    topics: list[str] = option("image topics to label; none: every camera once, without depth, labels and overlays", [])
    labels: list[str] = option(
        "ground truth: a topic of the bag, a folder of PNG files named by stamp, or none; one for all image topics or "
        "one each; unset: /ground_truth/label where the bag has it",
        [],
    )
    label_encoding: str = option("ids of the ground truth", "train_ids", choices=ENCODINGS)
    classes: Path | None = option("YAML of the ground truth's class set; unset: the model's own", None)
    preset: str = option("inference preset", "paper", choices=tuple(PRESETS))
    reweight_std: float | None = option("spread of the class weights; unset: the preset's", None, limits=(0, 1))
    min_confidence: float = option("pixels below this likelihood become unknown", 0.0, limits=(0, 1))
    input_size: tuple[int, int] | None = option("height and width in pixels the network runs at", None)
    device: str = option("auto, cpu, cuda or cuda:N", "auto")
    threads: int = option("CPU threads; 0 = one per core", 0, limits=(0, 1024))
    tone: str = option("samples of 16 bits to 8, as the node's", DEFAULT_TONE, choices=TONES)
    bit_depth: int = option("of their bits, how many count, 9 to 16; 0 = found as they come", 0, limits=(0, MAX_DEPTH))
    worst: int = option("how many of the worst frames to show", 6, limits=(0, 100))
    write_bag: str = option("the new bag: the originals and the outputs, the outputs, or none", "full",
                            choices=("full", "outputs", "none"))  # fmt: skip
    storage: str = option("file format of the new bag", "mcap", choices=("mcap", "sqlite3"))
    overlay_alpha: float = option("opacity of the overlay: 0 picture only, 1 colours only", 0.5, limits=(0, 1))
    overwrite: bool = option("replace earlier results in OUT", False)
    live: bool = option("replay it again through DDS to the running node and report what a vehicle would see", False)
    live_rate: float = option("1 = as recorded, 2 = twice as fast", 1.0, limits=(0.01, 100))
    live_node: str = option("the running node's name", f"/{NODE}")
    live_topic: str | None = option("image topic to replay; unset: the first evaluated one", None)
    live_wait: float = option("seconds to wait for the node to subscribe", 10.0, limits=(0, 3600))


def run(settings: Settings) -> int:
    """Check everything, go through the bag, write the results, print where they are."""
    _check_out(settings)
    refuse_ros1(settings.bag)
    tone = ToneSettings(settings.tone, settings.bit_depth)
    without_page = page_missing()
    if without_page:
        # Now and not after the hours of work.
        print(f"evaluate_bag: no {REPORT_NAME} will be written: {without_page}", file=sys.stderr)
    with open_bag(settings.bag, lenient=True, tone=tone) as bag, ExitStack() as stack:
        topics = camera_topics(bag, settings.topics, settings.labels)
        live = _live_topic(settings, topics)
        models = [stack.enter_context(_opened(name, path, settings)) for name, path in _named(settings)]
        prepare_folder(settings.out)
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix=".labels_", dir=settings.out)))
        code = LabelCode(settings.label_encoding, _classes(settings, models))
        truths = open_truth(bag, settings.labels, topics, code, scratch)
        by_topic, budget = dict(zip(topics, truths, strict=True)), 0 if without_page else BUDGET
        evaluation = BagEvaluation(bag, by_topic, models, settings.overlay_alpha, budget)
        started, begin = datetime.now(timezone.utc).isoformat(timespec="seconds"), time.perf_counter()
        complete = _go_through(bag, evaluation, settings)
        bag.notes += bag.tones()
        content = results(bag, evaluation, complete)
        content["timing"] = timing(evaluation, started, time.perf_counter() - begin)
    _write(settings, content, evaluation, without_page is None)
    if live and complete:
        # After the results are safe: the node may turn out not to be there.
        content["timing"]["live"] = _replay_live(settings, live, content)
        _write(settings, content, evaluation, without_page is None)
    print(summary_text(content))
    names = [
        *([] if without_page else [REPORT_NAME]),
        JSON_NAME,
        *([] if settings.write_bag == "none" else [f"{BAG_NAME}/"]),
    ]
    print(f"wrote {', '.join(str(settings.out / name) for name in names)}")
    return 0 if complete else EXIT_INTERRUPTED


def _write(settings: Settings, content: Mapping[str, Any], evaluation: BagEvaluation, with_page: bool) -> None:
    if with_page:
        worst = {model.name: list(model.worst) for model in evaluation.models}
        write_page(settings.out / REPORT_NAME, render(content, worst, evaluation.pictures))
    else:
        # One of an earlier run would not be of these figures.
        (settings.out / REPORT_NAME).unlink(missing_ok=True)
    write_json(settings.out / JSON_NAME, content)


def _check_out(settings: Settings) -> None:
    if settings.out.exists() and not settings.out.is_dir():
        raise OutputError(f"{settings.out}: is a file, expected a folder")
    if not settings.overwrite and any((settings.out / name).exists() for name in (JSON_NAME, REPORT_NAME)):
        raise OutputError(f"{settings.out}: holds results already: choose another folder or add --overwrite")
    if settings.write_bag != "none":
        check_free(settings.out / BAG_NAME, settings.overwrite)


def _named(settings: Settings) -> list[tuple[str, Path]]:
    paths = [settings.model, *([settings.compare] if settings.compare else [])]
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name or number}_{path.stem}" for number, path in enumerate(paths, 1)]
    if len(set(names)) < len(names):
        raise SettingsError(f"compare: got {settings.compare}, expected another model than --model")
    return list(zip(names, paths, strict=True))


def _classes(settings: Settings, models: Sequence[ModelScore]) -> ClassSet:
    """What all models and the ground truth have in common."""
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


def _go_through(bag: Bag, evaluation: BagEvaluation, settings: Settings) -> bool:
    if settings.write_bag == "none":
        complete = evaluation.run(None)
    else:
        target = settings.out / BAG_NAME
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


def _replay_live(settings: Settings, topic: str, content: Mapping[str, Any]) -> dict[str, Any]:
    plan = LivePlan(settings.bag, topic, settings.live_rate, settings.live_node, settings.live_wait)
    name = content["models"][0]["name"]
    frames = [frame for frame in content["frames"] if frame["topic"] == topic]
    expected = [frame["models"][name]["labels"] if "models" in frame else "" for frame in frames]
    return replay_live(plan, expected)
