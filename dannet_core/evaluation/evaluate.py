"""A segmenter over a labelled data set: counts, scores by picture, the worst pictures, the std sweep."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dannet_core.class_set import CITYSCAPES, ClassSet, require_same_classes
from dannet_core.data.sample import DataSet, check_labels
from dannet_core.errors import DataSetError, ImageError, NotFiniteError
from dannet_core.evaluation.confusion import ConfusionMatrix
from dannet_core.evaluation.std_sweep import StdSweep
from dannet_core.evaluation.worst_images import WorstImages
from dannet_core.inference.prediction import Prediction
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.pixels import Labels, Rgb


@dataclass(frozen=True)
class ImageScore:
    """One picture: mean IoU over the classes in its labels, share of right pixels (NaN without labelled pixels)."""

    name: str
    miou_present: float
    pixel_accuracy: float


@dataclass
class Evaluation:
    """What came out for one data set.

    Attributes:
        data_set, split, root: what was evaluated.
        confusion: pixel counts over all pictures, with the scores.
        images: scores by picture, in the order of the data set.
        worst: pictures with the lowest mean IoU, worst first.
        sweep: pixel counts by std of the re-weighting; empty unless a sweep was asked for.
        median_ms: median milliseconds a picture spent in each stage.
        classes: what is counted.
    """

    data_set: str
    split: str
    root: Path
    confusion: ConfusionMatrix = field(default_factory=ConfusionMatrix)
    images: list[ImageScore] = field(default_factory=list)
    worst: WorstImages = field(default_factory=WorstImages)
    sweep: dict[float, ConfusionMatrix] = field(default_factory=dict)
    median_ms: dict[str, float] = field(default_factory=dict)
    classes: ClassSet = CITYSCAPES


def evaluate(
    segmenter: NightSegmenter, data_set: DataSet, *, sweep: StdSweep | None = None, worst: int = 5
) -> Evaluation:
    """Label every picture of a data set and compare with its labels, behind a progress bar.

    All label files are decoded once before the first picture is labelled, so that a damaged one costs seconds.

    Args:
        segmenter: a model of the data set's classes.
        data_set: a labelled split.
        sweep: also score these stds; the segmenter must have been made from the backend it watches.
        worst: how many of the worst pictures to keep for the report.

    Raises:
        SettingsError: a model of other classes.
        DataSetError, ImageError: the split has no labels, or a file is damaged.
        NotFiniteError: the network gave NaN or infinity for a picture; it is named, and nothing is scored without it.
    """
    classes = data_set.classes
    require_same_classes(segmenter.metadata.classes, classes, str(data_set))
    check_labels(data_set)
    result = Evaluation(
        data_set.name,
        data_set.split,
        data_set.root,
        ConfusionMatrix(num_classes=len(classes)),
        worst=WorstImages(worst),
        classes=classes,
    )
    if sweep is not None:
        sweep.start(len(classes))
    times: list[dict[str, float]] = []
    with tqdm(data_set.samples, desc=f"{data_set.name} {data_set.split}", unit="image", disable=None) as progress:
        for sample in progress:
            rgb, labels = sample.read_both()
            try:
                prediction = segmenter.segment(rgb, with_relit=worst > 0)
                _count(result, sample.name, rgb, labels, prediction)
            except (ImageError, NotFiniteError) as error:
                raise type(error)(f"{sample.image_path}: {error}") from error
            if sweep is not None:
                sweep.add(segmenter, labels)
            times.append(prediction.timings_ms)
            progress.set_postfix(mIoU=f"{result.confusion.miou_present:.1%}", refresh=False)
    if not result.confusion.present.any():
        raise DataSetError(f"{data_set}: got labels without a single labelled pixel, expected some of {classes}")
    result.median_ms = {stage: float(np.median([one[stage] for one in times])) for stage in times[0]}
    if sweep is not None:
        result.sweep = sweep.confusions
    return result


def _count(result: Evaluation, name: str, rgb: Rgb, labels: Labels, prediction: Prediction) -> None:
    confusion = ConfusionMatrix(num_classes=len(result.classes))
    confusion.add(labels, prediction.labels)
    result.confusion += confusion
    result.images.append(ImageScore(name, confusion.miou_present, confusion.pixel_accuracy))
    result.worst.offer(name, confusion.miou_present, rgb, labels, prediction)
