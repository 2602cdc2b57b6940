"""The page and the picture that `bench/reproduction.py` leaves in docs/."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dannet_core import NightSegmenter
from dannet_core.atomic_files import write_whole
from dannet_core.data.registry import open_data_set
from dannet_core.evaluation.canvas import TEXT_HEIGHT, put_text, white
from dannet_core.pixels import Rgb, colorize, write_png

COLUMNS = ("night", "relit (DANNet)", "source-only", "DANNet", "ground truth")
INTRODUCTION = """\
# Reproduction at small scale

The paper's Table 4 in miniature. `python bench/reproduction.py` trains the light network on the toy city with
[config/train/toy_city.yaml](../config/train/toy_city.yaml); each seed has a city, a source-only model and crops of its
own, and its last model is evaluated on labelled night pictures of that city. Figures are the mean IoU over the classes
present, in percent.

The paper's figures are DANNet-PSPNet on Dark Zurich-val after days of GPU time, from ImageNet and Cityscapes weights;
ours come from random weights and minutes on two CPU cores. What can be compared is the order of the rows.
"""


def write_page(path: Path, results: dict[str, Any], picture: Path) -> None:
    """Write the Markdown page."""
    rows = {row["key"]: row for row in results["rows"]}
    full = rows.get("full", {}).get("miou_percent", {})
    lines = [
        INTRODUCTION,
        "| row | paper | here: mean (each seed) | minus full, here | sign as in the paper |",
        "|---|---|---|---|---|",
        *(_line(row, rows.get("full"), full) for row in results["rows"]),
        "",
        f"![Night pictures of the toy city and what the models make of them](images/{picture.name})",
        "",
        _conditions(results),
    ]
    notes = path.with_suffix(".notes.md")
    if notes.is_file():
        lines += ["", notes.read_text(encoding="utf-8").strip()]
    write_whole(path, ("\n".join(lines) + "\n").encode())


def _conditions(results: dict[str, Any]) -> str:
    seeds, machine = ", ".join(map(str, results["seeds"])), results["machine"]
    where = machine["gpu"] or f"{machine['cpus']} CPU cores"
    figures = "[bench/results/reproduction.json](../bench/results/reproduction.json)"
    return f"Seeds {seeds}; torch {machine['torch']}, {where}. Figures: {figures}."


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
        return "yes, on every seed"
    return "no" if agreeing == 0 else f"on {agreeing} of {len(here)} seeds"


def draw_examples(root: Path, models: Sequence[Path], path: Path, count: int = 3) -> None:
    """Rows of night pictures with what each model makes of them.

    Args:
        root: of the toy city's Dark Zurich.
        models: source-only and adapted.
        path: of the PNG.
        count: how many pictures.
    """
    samples = open_data_set("dark-zurich", root, "val").samples
    chosen = [samples[i * len(samples) // count] for i in range(count)]
    rows = []
    with NightSegmenter.load(models[0]) as before, NightSegmenter.load(models[1]) as after:
        for sample in chosen:
            rgb = sample.read_image()
            adapted = after.segment(rgb, with_relit=True)
            shown = [rgb, adapted.relit, before.segment(rgb).colorize(), adapted.colorize()]
            rows.append(np.hstack([*shown, colorize(sample.read_labels())]))
    sheet = np.vstack([_heading(rows[0].shape[1]), *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, _small(sheet))


def _heading(width: int) -> Rgb:
    line = white(TEXT_HEIGHT, width)
    for index, title in enumerate(COLUMNS):
        put_text(line, title, (index * width // len(COLUMNS) + 4, 0))
    return line


def _small(sheet: Rgb, width: int = 1600) -> Rgb:
    height = sheet.shape[0] * width // sheet.shape[1]
    if sheet.shape[1] <= width:
        return sheet
    return np.asarray(cv2.resize(sheet, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
