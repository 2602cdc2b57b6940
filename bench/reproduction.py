"""The paper's Table 4 in miniature, and on photographs with what goes beyond the paper; several seeds each.

    python bench/reproduction.py               # toy city; two CPU cores: an hour or two; goes on where it stopped
    python bench/reproduction.py --jobs 1 --train-arg=--device=cuda --train-arg=--optimiser.steps=4000
    python bench/reproduction.py --start efficientvit --weights b0.safetensors --data PHOTOGRAPHS --budget-min 480

On the toy city every seed gets a city of its own, a source-only model, and one adaptation a row with
`config/train/toy_city.yaml` and the row's file under `config/train/ablations/`; the last model (not the best on the
validation pictures) is evaluated on labelled night pictures of that city. Writes `bench/results/reproduction.json`.

With `--start efficientvit` every row starts from EfficientViT-B0's public weights, on photographs laid out as a
miniature Cityscapes and Dark Zurich: Table 4 with `config/train/efficientvit_small_set.yaml`, the ingredients of
`preset: beyond` with `config/train/beyond.yaml`; each model is evaluated by night and by day. About 70 runs
of ten to twenty minutes on one core: a night of two. Writes `bench/results/reproduction_efficientvit.json` after every
row, and goes on from it.

Both write `docs/reproduction.md`, which names the rows that were not run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import reproduction_photographs as photographs  # noqa: E402 - after the path
from reproduction_report import PICTURE, Example, draw_examples, write_page  # noqa: E402 - after the path
from reproduction_rows import BEYOND, CONFIGS, FULL, SOURCE_ONLY, TABLE_4, Row  # noqa: E402 - after the path
from reproduction_runs import OutOfTimeError, Runs, machine  # noqa: E402 - after the path

RESULTS = ROOT / "bench" / "results"
TOY, EFFICIENTVIT = "toy_city", "efficientvit"
RECORDS = {TOY: RESULTS / "reproduction.json", EFFICIENTVIT: RESULTS / "reproduction_efficientvit.json"}


class Miniature:
    """All runs below one folder; what is there already is not run again.

    Args:
        folder: of the runs.
        train_arguments: for every training, after those of the row.
        runs: starts the verbs.
    """

    def __init__(self, folder: Path, train_arguments: Sequence[str], runs: Runs) -> None:
        self._folder = folder
        self._train_arguments = list(train_arguments)
        self._runs = runs

    def city(self, seed: int) -> Path:
        """The seed's data set; a training on one city says nothing about another."""
        return self._folder / f"seed_{seed}" / "toy_city"

    def run_folder(self, seed: int, key: str) -> Path:
        """Where a row's run lies."""
        return self._folder / f"seed_{seed}" / key

    def model(self, seed: int, key: str) -> Path:
        """A row's model after its last step."""
        return self.run_folder(seed, key) / "last.safetensors"

    def prepare(self, seed: int) -> None:
        """Draw the city and train the source-only model."""
        city = self.city(seed)
        if not (city / "dark_zurich" / "gt").is_dir():
            size = ("--size", "180", "320", "--source", "400", "--pairs", "200", "--validation", "40")
            self._runs.dannet("toy_city", "--out", city, "--seed", seed, *size)
        self._train("pretrain", seed, SOURCE_ONLY, "pretrain_toy_city.yaml", ())

    def measure(self, seed: int, row: Row) -> dict[str, Any]:
        """Train the row's model unless it is there, evaluate it on the night, return its metrics."""
        if row.model_of is None:
            arguments = row.adaptation()
            if row.pretrained:
                arguments += ["--init", str(self.model(seed, SOURCE_ONLY))]
            else:
                from_nothing = self._folder / "from_nothing.yaml"
                from_nothing.write_text(
                    "init: null  # instead of the model that toy_city.yaml names\n", encoding="utf-8"
                )
                arguments += ["--config", str(from_nothing)]
            self._train("train", seed, row.key, "toy_city.yaml", arguments)
        report = self.run_folder(seed, row.key) / "night"
        model = self.model(seed, row.model_of or row.key)
        return self._runs.evaluate(model, "dark-zurich", self.city(seed) / "dark_zurich", report, *row.evaluate)

    def _train(self, verb: str, seed: int, key: str, config: str, arguments: Sequence[str]) -> None:
        city = self.city(seed)
        roots = ("--data.source", city / "cityscapes", "--data.target", city / "dark_zurich")
        quiet = ("--watch.evaluate_every", 0, "--no-watch.tensorboard", "--seed", seed)
        everything = ("--config", CONFIGS / config, *arguments, *self._train_arguments, *roots, *quiet)
        self._runs.train(verb, self.run_folder(seed, key), *everything)


def miou(metrics: dict[str, Any]) -> float:
    return float(metrics["miou_present"])


def results_of(rows: Sequence[Row], metrics: dict[tuple[str, int], dict[str, Any]], seeds: Sequence[int]) -> list[Any]:
    """One entry a row, with the night's mean IoU of every seed that was run."""
    results = []
    for row in rows:
        scores = {seed: metrics[row.key, seed] for seed in seeds if (row.key, seed) in metrics}
        results.append(
            {
                "key": row.key,
                "title": row.title,
                "paper_miou_percent": row.paper,
                "miou_percent": {seed: round(100 * miou(one), 2) for seed, one in scores.items()},
                "pixel_accuracy_percent": {s: round(100 * one["pixel_accuracy"], 2) for s, one in scores.items()},
            }
        )
    return results


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", choices=(TOY, EFFICIENTVIT), default=TOY, help="what every row starts from")
    parser.add_argument(
        "--weights", type=Path, help="EfficientViT-B0 that knows the day: .safetensors, or as published"
    )
    parser.add_argument("--data", type=Path, help="photographs: folder with cityscapes/ and dark_zurich/")
    parser.add_argument("--input-size", type=int, nargs=2, default=[576, 768], help="that photographs are run at")
    parser.add_argument("--budget-min", type=float, help="minutes after which what runs is stopped, to be continued")
    parser.add_argument("--folder", type=Path, help="of all runs; unset: below runs/")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="unset: all; a wrong one lists them")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--train-arg", action="append", default=[], help="passed on to every `dannet train`")
    parser.add_argument("--json", type=Path, help="unset: below bench/results")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "reproduction.md")
    options = parser.parse_args(arguments)
    known = [row.key for row in (TABLE_4 if options.start == TOY else photographs.ROWS)]
    wrong = [key for key in options.rows or () if key not in known]
    if wrong:
        parser.error(f"--rows: got {wrong[0]}, expected some of {' '.join(known)}")
    if options.start == EFFICIENTVIT:
        for name in ("weights", "data"):
            path = getattr(options, name)
            if path is None or not path.exists():
                parser.error(
                    f"--{name}: got {path}, expected a {'file' if name == 'weights' else 'folder'} that exists"
                )
    folders = {TOY: "reproduction", EFFICIENTVIT: "reproduction_efficientvit"}
    options.folder = options.folder or ROOT / "runs" / folders[options.start]
    options.json = options.json or RECORDS[options.start]
    options.rows = options.rows or known
    return options


def all_jobs(pool: ThreadPoolExecutor, do: Callable[[Any], None], jobs: Sequence[Any]) -> None:
    """Do every job; the first that fails is told, after those that run have ended."""
    futures = [pool.submit(do, job) for job in jobs]
    failures = [failure for future in futures if (failure := future.exception()) is not None]
    # A job that failed makes the others out of time; its own message is the one to tell.
    for failure in sorted(failures, key=lambda one: isinstance(one, OutOfTimeError))[:1]:
        raise failure


def on_toy_city(options: argparse.Namespace, runs: Runs) -> None:
    """The rows of Table 4, each seed in a city of its own."""
    miniature = Miniature(options.folder, options.train_arg, runs)
    rows = [row for row in TABLE_4 if row.key in options.rows]
    metrics: dict[tuple[str, int], dict[str, Any]] = {}

    def measure(job: tuple[Row, int]) -> None:
        row, seed = job
        metrics[row.key, seed] = miniature.measure(seed, row)
        print(f"seed {seed}, {row.title}: night mIoU {100 * miou(metrics[row.key, seed]):.2f} %", flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        all_jobs(pool, miniature.prepare, options.seeds)
        # Rows that use another row's model come after it.
        for wanted in (lambda row: row.model_of is None, lambda row: row.model_of is not None):
            all_jobs(pool, measure, [(row, seed) for row in rows if wanted(row) for seed in options.seeds])

    results = {"machine": machine(), "seeds": options.seeds, "rows": results_of(rows, metrics, options.seeds)}
    options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    seed = options.seeds[0]
    models = {"source-only": miniature.model(seed, SOURCE_ONLY), "DANNet": miniature.model(seed, FULL)}
    picture = options.page.parent / "images" / "reproduction.png"
    draw_examples(Example(miniature.city(seed) / "dark_zurich", models, relit_by="DANNet"), picture)


def on_photographs(options: argparse.Namespace, runs: Runs) -> None:
    """Table 4's rows and the recipe's ingredients, from a model that knows the day."""
    size = (options.input_size[0], options.input_size[1])
    setting = photographs.Setting(options.weights, options.data, size, tuple(options.train_arg))
    record = photographs.Record(options.json, setting.to_plain())
    study = photographs.Photographs(options.folder, setting, runs)
    study.prepare()

    def measure(job: tuple[Row, int]) -> None:
        row, seed = job
        scores = study.measure(row, seed)
        record.add(row, seed, scores)
        text = ", ".join(f"{when} mIoU {score['miou_percent']:.2f} %" for when, score in scores.items())
        print(f"seed {seed}, {row.title}: {text}", flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        for todo in photographs.jobs(
            [row for row in photographs.ROWS if row.key in options.rows], options.seeds, record
        ):
            all_jobs(pool, measure, todo)
    models = {"start": SOURCE_ONLY, "DANNet": FULL, "beyond": BEYOND}
    found = {title: study.model(key, options.seeds[0]) for title, key in models.items()}
    if all(model.is_file() for model in found.values()):
        example = Example(options.data / "dark_zurich", found, input_size=size)
        draw_examples(example, options.folder / "examples.png")
        # Into docs/ without the photographs: whose they are is not known here.
        shown = options.page.parent / "images" / PICTURE
        draw_examples(dataclasses.replace(example, predictions_alone=True), shown)
        print(f"wrote {options.folder / 'examples.png'} and {shown}")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    runs = Runs(
        max(1, (os.cpu_count() or 1) // options.jobs), None if options.budget_min is None else 60 * options.budget_min
    )
    in_time = True
    try:
        (on_toy_city if options.start == TOY else on_photographs)(options, runs)
    except OutOfTimeError:
        in_time = False
    records = RECORDS | {options.start: options.json}
    write_page(options.page, records[TOY], records[EFFICIENTVIT])
    print(f"wrote {options.page}" if in_time else "out of time: the same command goes on", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        print(f"reproduction: {error}", file=sys.stderr)
        sys.exit(2)
