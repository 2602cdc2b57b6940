"""The page and the picture that `bench/reproduction.py` leaves in docs/."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from reproduction_photographs import GROUPS
from reproduction_rows import BEYOND, FULL, SOURCE_ONLY, Row

from dannet_core import NightSegmenter
from dannet_core.atomic_files import write_whole
from dannet_core.data.registry import open_data_set
from dannet_core.evaluation.canvas import TEXT_HEIGHT, put_text, white
from dannet_core.inference.presets import PRESETS
from dannet_core.pixels import Rgb, colorize, write_png

INTRODUCTION = """\
# Reproduction at small scale

The paper's Table 4 in miniature. `python bench/reproduction.py` trains the light network on the toy city with
[config/train/toy_city.yaml](../config/train/toy_city.yaml); each seed has a city, a source-only model and crops of its
own, and its last model is evaluated on labelled night pictures of that city. Figures are the mean IoU over the classes
present, in percent.

The paper's figures are DANNet-PSPNet on Dark Zurich-val after days of GPU time, from ImageNet and Cityscapes weights;
ours come from random weights and minutes on two CPU cores. What can be compared is the order of the rows.
"""
PHOTOGRAPHS = """\
## On photographs, and beyond the paper

The same rows, and the ingredients of [`preset: beyond`](train_your_night.md#5-beyond-the-paper) taken out or added one
at a time, from the public weights of EfficientViT-B0 on `camvid_night`: 204 labelled day photographs of CamVid, 101
day-night pairs whose night is rendered from the day, 34 night and 33 day pictures of other streets to measure on. Table
4's rows are trained with [config/train/efficientvit_small_set.yaml](../config/train/efficientvit_small_set.yaml) and
keep the running batch-norm statistics, so that one model is for night and day; the others with
[config/train/beyond.yaml](../config/train/beyond.yaml). Every model is the last one, at 768x576.

    python bench/reproduction.py --start efficientvit --weights b0.safetensors --data PHOTOGRAPHS

runs what is missing, `--budget-min 60` for an hour of it; about twenty hours of one CPU core for all seeds, a night of
two.
"""
PICTURE = "reproduction_photographs.png"
SHOWN = """\
What the first seed's models make of the same night photographs: the start, full DANNet, `beyond`. The photographs
themselves and their labels may not be copied here; the program puts them beside these in its folder's `examples.png`.
"""
TITLES = {"table_4": "Table 4", "beyond": "The ingredients of `beyond`"}
REFERENCES = {"table_4": FULL, "beyond": BEYOND}


def write_page(path: Path, miniature: Path, photographs: Path) -> None:
    """Write the Markdown page.

    Args:
        path: of the page; `X.notes.md` beside `X.md` is what people make of the toy city's figures.
        miniature: JSON of the toy city; may be missing.
        photographs: JSON of the photographs; may be missing.
    """
    lines = [INTRODUCTION]
    if miniature.is_file():
        lines += _miniature(json.loads(miniature.read_text(encoding="utf-8")))
    notes = path.with_suffix(".notes.md")
    if notes.is_file():
        lines += ["", notes.read_text(encoding="utf-8").strip()]
    record = json.loads(photographs.read_text(encoding="utf-8")) if photographs.is_file() else {}
    shown = (path.parent / "images" / PICTURE).is_file()
    write_whole(path, ("\n".join([*lines, "", *photographs_section(record, shown)]) + "\n").encode())


def _miniature(results: dict[str, Any]) -> list[str]:
    rows = {row["key"]: row for row in results["rows"]}
    full = rows.get(FULL, {}).get("miou_percent", {})
    return [
        "| row | paper | here: mean (each seed) | minus full, here | sign as in the paper |",
        "|---|---|---|---|---|",
        *(_line(row, rows.get(FULL), full) for row in results["rows"]),
        "",
        "![Night pictures of the toy city and what the models make of them](images/reproduction.png)",
        "",
        _conditions(results),
    ]


def _conditions(results: dict[str, Any]) -> str:
    seeds, machine = ", ".join(map(str, results["seeds"])), results["machine"]
    figures = "[bench/results/reproduction.json](../bench/results/reproduction.json)"
    return f"Seeds {seeds}; torch {machine['torch']}, {_where(machine)}. Figures: {figures}."


def _where(machine: dict[str, Any]) -> str:
    return str(machine["gpu"] or f"{machine['cpus']} CPU cores")


def photographs_section(record: dict[str, Any], with_picture: bool = False) -> list[str]:
    """Both tables of the photographs; a row without a score is named as not run.

    Args:
        record: of `reproduction_photographs.Record`; empty = nothing was run.
        with_picture: the picture of examples is there.
    """
    scores: dict[str, Any] = record.get("scores", {})
    lines = [PHOTOGRAPHS]
    for group, (_, rows) in GROUPS.items():
        # The start is a row of Table 4's, and what both tables begin with.
        all_rows = rows if rows[0].key == SOURCE_ONLY else (Row(SOURCE_ONLY, "start"), *rows)
        lines += [f"### {TITLES[group]}", "", *_table(all_rows, scores, REFERENCES[group]), ""]
    if not scores:
        return [*lines, "None of these rows has been run yet."]
    machines = "; ".join(sorted({f"torch {one['torch']}, {_where(one)}" for one in record["machines"]}))
    arguments = record["setting"]["train_arguments"]
    picture = f"![What three models make of the same night photographs](images/{PICTURE})\n\n{SHOWN}"
    told = f", every training with `{' '.join(arguments)}`" if arguments else ""
    return [
        *lines,
        *([picture] if with_picture else []),
        f"Measured with {machines}{told}; each seed in brackets, in order.",
    ]


def _table(rows: Sequence[Row], scores: dict[str, Any], reference: str) -> list[str]:
    lines = [
        f"| row | paper | night mIoU | minus {reference} | sign as in paper | night pixels | day mIoU | day pixels |",
        "|---|---|---|---|---|---|---|---|",
    ]
    base = _of(scores.get(reference, {}), "night", "miou_percent")
    paper_base = next((row.paper for row in rows if row.key == reference), None)
    for row in rows:
        held = scores.get(row.key, {})
        paper = _percent(row.paper)
        if not held:
            lines.append(f"| {row.title} | {paper} | not run | | | | | |")
            continue
        night = _of(held, "night", "miou_percent")
        difference, verdict = _compared(night, base if row.key != reference else {}, row.paper, paper_base)
        others = (("night", "pixel_accuracy_percent"), ("day", "miou_percent"), ("day", "pixel_accuracy_percent"))
        cells = [_mean(night), difference, verdict, *(_mean(_of(held, *which)) for which in others)]
        lines.append(f"| {row.title} | {paper} | {' | '.join(cells)} |")
    return lines


def _of(held: Mapping[str, Any], when: str, what: str) -> dict[str, float]:
    return {seed: held[seed][when][what] for seed in sorted(held, key=int)}


def _mean(scores: Mapping[str, float]) -> str:
    mean = f"{statistics.mean(scores.values()):.1f}"
    return mean if len(scores) == 1 else f"{mean} ({', '.join(f'{score:.1f}' for score in scores.values())})"


def _compared(
    night: Mapping[str, float], base: Mapping[str, float], paper: float | None, paper_base: float | None
) -> tuple[str, str]:
    """Mean difference to the reference on the seeds that both have, and whether its sign is the paper's."""
    differences = [score - base[seed] for seed, score in night.items() if seed in base]
    if not differences:
        return "", ""
    comparable = paper is not None and paper_base is not None
    verdict = _verdict(paper - paper_base, differences) if comparable else ""
    return f"{statistics.mean(differences):+.1f}", verdict


def _line(row: dict[str, Any], full_row: dict[str, Any] | None, full: dict[int, float]) -> str:
    scores = row["miou_percent"]
    paper = row["paper_miou_percent"]
    if not scores:
        return f"| {row['title']} | {_percent(paper)} | not run | | |"
    each = ", ".join(f"{score:.1f}" for score in scores.values())
    differences = [score - full[seed] for seed, score in scores.items() if seed in full]
    difference, verdict = "", ""
    if differences and row["key"] != "full":
        mean = statistics.mean(differences)
        difference = f"{mean:+.1f}"
        if paper is not None and full_row is not None:
            verdict = _verdict(paper - full_row["paper_miou_percent"], differences)
    here = f"{statistics.mean(scores.values()):.1f} ({each})"
    return f"| {row['title']} | {_percent(paper)} | {here} | {difference} | {verdict} |"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _verdict(paper: float, here: Sequence[float]) -> str:
    """Whether every seed, most or none moves the way the paper's figure does."""
    agreeing = sum((difference < 0) == (paper < 0) for difference in here)
    if agreeing == len(here):
        return "yes, on every seed" if len(here) > 1 else "yes, on one seed"
    return "no" if agreeing == 0 else f"on {agreeing} of {len(here)} seeds"


@dataclasses.dataclass(frozen=True)
class Example:
    """What a picture of examples shows.

    Attributes:
        root: of the night pictures, laid out as Dark Zurich.
        models: by the title of their column.
        relit_by: the model whose relit picture is shown beside the night; None = none.
        input_size: (height, width) that the models run at; None = their own.
        count: how many pictures.
        predictions_alone: without the night and its ground truth, whose owners may not want them to be shown.
    """

    root: Path
    models: Mapping[str, Path]
    relit_by: str | None = None
    input_size: tuple[int, int] | None = None
    count: int = 3
    predictions_alone: bool = False


def draw_examples(example: Example, path: Path) -> None:
    """Rows of night pictures with what each model makes of them, and the ground truth, as a PNG."""
    samples = open_data_set("dark-zurich", example.root, "val").samples
    chosen = [samples[i * len(samples) // example.count] for i in range(example.count)]
    pictures = [sample.read_image() for sample in chosen]
    columns = {} if example.predictions_alone else {"night": pictures}
    for title, model in example.models.items():
        settings = dataclasses.replace(PRESETS["paper"], input_size=example.input_size)
        with NightSegmenter.load(model, settings) as segmenter:
            predictions = [segmenter.segment(rgb, with_relit=title == example.relit_by) for rgb in pictures]
        if title == example.relit_by:
            columns[f"relit ({title})"] = [prediction.relit for prediction in predictions]
        columns[title] = [prediction.colorize() for prediction in predictions]
    if not example.predictions_alone:
        columns["ground truth"] = [colorize(sample.read_labels()) for sample in chosen]
    rows = [np.hstack(row) for row in zip(*columns.values(), strict=True)]
    sheet = np.vstack([_heading(list(columns), rows[0].shape[1]), *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, _small(sheet))


def _heading(titles: Sequence[str], width: int) -> Rgb:
    line = white(TEXT_HEIGHT, width)
    for index, title in enumerate(titles):
        put_text(line, title, (index * width // len(titles) + 4, 0))
    return line


def _small(sheet: Rgb, width: int = 1600) -> Rgb:
    height = sheet.shape[0] * width // sheet.shape[1]
    if sheet.shape[1] <= width:
        return sheet
    return np.asarray(cv2.resize(sheet, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
