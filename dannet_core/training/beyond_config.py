"""The settings of what goes beyond the paper; every default leaves the paper alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dannet_core.settings import option

NIGHT_LABELS: Final = ("night", "fused", "fused_guide")
STATISTICS_OF: Final = ("source", "pairs", "whole")
LIGHTS: Final = ("random", "placed")
START_VIEWS: Final = ("one", "several")
FEATURE_CLASSES: Final = ("all", "moving")


@dataclass(frozen=True)
class BeyondConfig:
    """What the paper does not have; every default leaves it out."""

    teacher: float = option(
        "largest share that the averaged teacher keeps of itself in a step, e.g. 0.99; it is what is validated and "
        "saved; 0 = no teacher",
        0.0,
        limits=(0, 0.99999),
    )
    certain: float = option(
        "likelihood above which the teacher is certain of a pixel; a picture's pseudo labels weigh the share of "
        "its certain pixels",
        0.968,
        limits=(0, 1),
    )
    night_labels: str = option(
        "the teacher's pseudo labels: of the night picture alone; or fused: static classes from the pair's day "
        "picture, the others from the night; or fused_guide: as fused, but init or larger_teacher labels the day",
        "night",
        choices=NIGHT_LABELS,
    )
    rare_classes: float = option(
        "temperature of rare class sampling, e.g. 0.01: source pictures are drawn by how rare their classes are, the "
        "rarer the smaller it is; 0 = every picture alike",
        0.0,
        limits=(0, 100),
    )
    masking: float = option(
        "weight of the losses on night and source pictures of which squares are covered, with the labels of the whole",
        0.0,
    )
    covered: float = option("share of the squares that masking covers", 0.5, limits=(0, 1))
    blend: int = option(
        "batches on which is chosen how much of the adapted weights goes into the models that are validated and saved; "
        "the rest is init's; 0 = all",
        0,
        limits=(0, 10_000),
    )
    blend_least: float = option(
        "smallest share of the adapted weights that a blend may have: 0.4, 0.55, 0.7, 0.85 and 1 are tried from it on",
        0.4,
        limits=(0, 1),
    )
    blend_most: float = option(
        "largest share of the adapted weights that a blend may have; blend_least itself: that one", 1.0, limits=(0, 1)
    )
    patience: int = option(
        "end the run after so many evaluations whose blend scored below the best, which is best.safetensors; 0 = never",
        0,
        limits=(0, 10_000),
    )
    certain_start: float = option(
        "likelihood above which a day pixel's label by init counts: without data.source, for missing_classes and for "
        "the blend",
        0.9,
        limits=(0, 1),
    )
    missing_classes: bool = option(
        "classes that data.source has nowhere are labelled in its unlabelled pixels, as init or larger_teacher is "
        "certain of them (certain_start), lest they be forgotten",
        False,
    )
    start_views: str = option(
        "how init looks at a day picture that it labels: once (one), or at three scales and mirrored (several)",
        "one",
        choices=START_VIEWS,
    )
    mixing: float = option(
        "weight of the loss on night pictures with half of the classes of a darkened source picture pasted onto them",
        0.0,
    )
    one_batch: bool = option(
        "source and mixed pictures go through the network as one batch: its batch-norm statistics are then of day and "
        "night together, as the running ones are",
        False,
    )
    statistics: int = option(
        "models that are validated and saved get batch-norm statistics estimated on so many batches, of source "
        "pictures as the source pass sees them and night pictures together; 0 = the running ones",
        0,
        limits=(0, 100_000),
    )
    statistics_of: str = option(
        "what the statistics are estimated of: the trained network on those pictures (source), or the finished blend "
        "on crops of the pairs' day and night pictures (pairs), or on whole pictures as the model will see them, two "
        "by night for each of the source's (whole)",
        "source",
        choices=STATISTICS_OF,
    )
    darkening: float = option(
        "share of the source pictures that the source pass sees darkened, with lamps and noise, as a night camera "
        "would, with their labels",
        0.0,
        limits=(0, 1),
    )
    lights: str = option(
        "of darkened and mixed source pictures: anywhere (random), or where the labels say that lamps and lit windows "
        "are, with what they light (placed)",
        "random",
        choices=LIGHTS,
    )
    distillation: float = option(
        "weight of the divergence of the source pass from the soft labels that init, or larger_teacher, gives the same "
        "pictures by day, where no label says otherwise",
        0.0,
    )
    larger_teacher: Path | None = option(
        "model file of the same classes that knows the day better than init and takes its place in distillation, "
        "missing_classes and night_labels fused_guide; unset: init",
        None,
    )
    feature_distance: float = option(
        "weight of the distance of the backbone's features in the source pass to those of init on the same pictures "
        "by day",
        0.0,
    )
    feature_classes: str = option(
        "features that the distance is taken of: all, or those where a label names a class that moves",
        "all",
        choices=FEATURE_CLASSES,
    )
