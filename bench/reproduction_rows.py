"""The rows of `bench/reproduction.py`: the paper's Table 4, and what `preset: beyond` is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

CONFIGS = Path(__file__).resolve().parent.parent / "config" / "train"
FULL: Final = "full"
SOURCE_ONLY: Final = "source_only"
BEYOND: Final = "beyond"


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        key: folder name.
        title: as the page shows it.
        paper: the paper's mIoU on Dark Zurich-val, percent (Tables 1 and 4); None where it has no such row.
        ablation: file under config/train/ablations, without suffix.
        arguments: further ones for `dannet train`.
        pretrained: starts from the source-only model.
        labelled: is given the labelled source pictures.
        evaluate: further arguments for `dannet evaluate`.
        model_of: evaluates this row's model instead of training one.
    """

    key: str
    title: str
    paper: float | None = None
    ablation: str | None = None
    arguments: tuple[str, ...] = ()
    pretrained: bool = True
    labelled: bool = True
    evaluate: tuple[str, ...] = ()
    model_of: str | None = None

    def adaptation(self) -> list[str]:
        """What this row gives `dannet train` after its configuration."""
        ablation = ["--config", str(CONFIGS / "ablations" / f"{self.ablation}.yaml")] if self.ablation else []
        return [*ablation, *self.arguments]


STAND_STILL: Final = ("--optimiser.lr", "0", "--optimiser.lr_discriminator", "0", "--optimiser.steps", "1")
TABLE_4: Final = (
    Row(SOURCE_ONLY, "source-only", 12.28, model_of=SOURCE_ONLY),
    Row(FULL, "full DANNet", 36.76),
    Row("without_static", "w/o L_static", 20.48, "without_static_loss"),
    Row(
        "night_statistics",
        "source-only, batch-norm statistics of the night",
        arguments=("--model.relighting_width", "0", *STAND_STILL),
    ),
    Row("without_day", "w/o Dark Zurich-D (adversarial to night only)", 22.78, "without_day_domain"),
    Row("without_relighting", "w/o relighting and L_light", 34.14, "without_relighting"),
    Row("without_light_loss", "w/o L_light", 35.05, "without_light_loss"),
    Row("cross_entropy", "cross-entropy in L_static", 33.61, "static_cross_entropy"),
    Row("plain_focal", "plain focal in L_static", 36.49, "static_plain_focal"),
    Row("unweighted_labels", "w/o re-weighting on pseudo labels", 32.71, "without_reweighting_pseudo_labels"),
    Row(
        "unweighted_prediction",
        "w/o re-weighting on prediction",
        32.22,
        evaluate=("--reweight_std", "0"),
        model_of=FULL,
    ),
    Row("without_pretraining", "w/o pre-trained segmentation", 30.74, pretrained=False),
)
"""On the toy city every trained row has batch-norm statistics of the night, by its configuration."""

NIGHT_STATISTICS: Final = ("--optimiser.target_statistics", "50")
PHOTOGRAPHS_TABLE_4: Final = (
    *(
        replace(row, arguments=(*row.arguments, *NIGHT_STATISTICS)) if row.key == "night_statistics" else row
        for row in TABLE_4
    ),
    Row("full_night_statistics", "full DANNet, batch-norm statistics of the night", arguments=NIGHT_STATISTICS),
)
"""On photographs one model is for night and day, with its running statistics, but for the rows that say so."""

NO_MIXING: Final = ("--beyond.mixing", "0", "--no-beyond.one_batch")
NO_TEACHER: Final = ("--beyond.teacher", "0", "--beyond.night_labels", "night", *NO_MIXING)
INGREDIENTS: Final = (
    Row(BEYOND, "`beyond`"),
    Row("without_darkening", "w/o darkened source pictures", arguments=("--beyond.darkening", "0")),
    Row("without_mixing", "w/o class mixing", arguments=NO_MIXING),
    Row("without_teacher", "w/o teacher and class mixing: darkened source alone", arguments=NO_TEACHER),
    Row(
        "source_alone",
        "w/o teacher, class mixing and darkening: the day's labels alone",
        arguments=(*NO_TEACHER, "--beyond.darkening", "0"),
    ),
    Row(
        "own_labels",
        "the night's own pseudo labels, not fused ones",
        arguments=("--beyond.night_labels", "night"),
    ),
    Row("two_batches", "source and mixed pictures in batches of their own", arguments=("--no-beyond.one_batch",)),
    Row(
        "averaged_statistics",
        "averaged instead of estimated statistics",
        arguments=("--beyond.statistics", "0", "--beyond.statistics_of", "source"),
    ),
    Row(
        "statistics_of_crops",
        "statistics of the training's crops, before the blend",
        arguments=("--beyond.statistics_of", "source"),
    ),
    Row("without_blend", "w/o blend with the start", arguments=("--beyond.blend", "0")),
    Row("with_masking", "with masked consistency", arguments=("--beyond.masking", "1")),
    Row("with_rare_classes", "with rare class sampling", arguments=("--beyond.rare_classes", "0.01")),
    Row("without_labels", "w/o a labelled picture: the start's labels of the pairs' days", labelled=False),
)
