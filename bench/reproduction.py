"""The paper's Table 4 in miniature: source-only, DANNet and its ablations on the toy city, several seeds.

    python bench/reproduction.py                       # two CPU cores: an hour or two; continues where it stopped
    python bench/reproduction.py --jobs 1 --train-arg=--device=cuda --train-arg=--optimiser.steps=4000

Every seed gets a city of its own, a source-only model, and one adaptation a row with `config/train/toy_city.yaml` and
the row's file under `config/train/ablations/`; the last model (not the best on the validation pictures) is evaluated on
labelled night pictures of that city. Writes `bench/results/reproduction.json`, `docs/reproduction.md` and its picture.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "config" / "train"
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from reproduction_report import draw_examples, write_page  # noqa: E402 - after the path

FULL: Final = "full"
SOURCE_ONLY: Final = "source_only"


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        key: folder name.
        title: as the page shows it.
        paper: the paper's mIoU on Dark Zurich-val, percent (Tables 1 and 4); None where it has no such row.
        ablation: file under config/train/ablations, without suffix.
        arguments: further ones for `dannet train`.
        pretrained: starts from the seed's source-only model.
        evaluate: further arguments for `dannet evaluate`.
        model_of: evaluates this row's model instead of training one.
    """

    key: str
    title: str
    paper: float | None
    ablation: str | None = None
    arguments: tuple[str, ...] = ()
    pretrained: bool = True
    evaluate: tuple[str, ...] = ()
    model_of: str | None = None


STAND_STILL: Final = ("--optimiser.lr", "0", "--optimiser.lr_discriminator", "0", "--optimiser.steps", "1")
ROWS: Final = (
    Row(SOURCE_ONLY, "source-only", 12.28, model_of=SOURCE_ONLY),
    Row(FULL, "full DANNet", 36.76),
    Row("without_static", "w/o L_static", 20.48, "without_static_loss"),
    Row(
        "night_statistics",
        "source-only, batch-norm statistics of the night",
        None,
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


class Miniature:
    """All runs below one folder; what is there already is not run again.

    Args:
        folder: of the runs.
        train_arguments: for every training, after those of the row.
        threads: CPU threads a run.
    """

    def __init__(self, folder: Path, train_arguments: Sequence[str], threads: int) -> None:
        self._folder = folder
        self._train_arguments = list(train_arguments)
        self._environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}

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
            self._dannet("toy_city", "--out", city, "--seed", seed, *size)
        self._train("pretrain", seed, SOURCE_ONLY, "pretrain_toy_city.yaml", ())

    def measure(self, seed: int, row: Row) -> dict[str, Any]:
        """Train the row's model unless it is there, evaluate it on the night, return its metrics."""
        if row.model_of is None:
            arguments = list(row.arguments)
            if row.ablation:
                arguments = ["--config", str(CONFIGS / "ablations" / f"{row.ablation}.yaml"), *arguments]
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
        if not (report / "metrics.json").is_file():
            model = self.model(seed, row.model_of or row.key)
            where = ("--dataset", "dark-zurich", "--root", self.city(seed) / "dark_zurich", "--out", report)
            self._dannet("evaluate", "--model", model, *where, "--worst", 0, "--threads", 1, *row.evaluate)
        return dict(json.loads((report / "metrics.json").read_text(encoding="utf-8")))

    def _train(self, verb: str, seed: int, key: str, config: str, arguments: Sequence[str]) -> None:
        folder = self.run_folder(seed, key)
        if (folder / "seconds").is_file():
            return
        city = self.city(seed)
        roots = ("--data.source", city / "cityscapes", "--data.target", city / "dark_zurich", "--run_dir", folder)
        quiet = ("--watch.evaluate_every", 0, "--no-watch.tensorboard", "--seed", seed)
        resume = ("--resume",) if any(folder.glob("checkpoints/*.pt")) else ()
        files = ("--config", CONFIGS / config)
        start = time.perf_counter()
        self._dannet(verb, *files, *arguments, *self._train_arguments, *roots, *quiet, *resume)
        (folder / "seconds").write_text(f"{time.perf_counter() - start:.0f}\n", encoding="utf-8")

    def _dannet(self, verb: str, *arguments: object) -> None:
        command = [sys.executable, "-m", "dannet_core", verb, *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=self._environment, cwd=ROOT)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"{' '.join(command[2:])}\n  {last}")


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


def machine() -> dict[str, Any]:
    import torch

    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=False, capture_output=True, text=True, cwd=ROOT)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "gpu": gpu,
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "reproduction", help="of all runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=[row.key for row in ROWS], default=[row.key for row in ROWS])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--train-arg", action="append", default=[], help="passed on to every `dannet train`")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "reproduction.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "reproduction.md")
    return parser.parse_args()


def main() -> int:
    options = parse()
    miniature = Miniature(options.folder, options.train_arg, max(1, (os.cpu_count() or 1) // options.jobs))
    rows = [row for row in ROWS if row.key in options.rows]
    metrics: dict[tuple[str, int], dict[str, Any]] = {}

    def measure(job: tuple[Row, int]) -> None:
        row, seed = job
        metrics[row.key, seed] = miniature.measure(seed, row)
        print(f"seed {seed}, {row.title}: night mIoU {100 * miou(metrics[row.key, seed]):.2f} %", flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(miniature.prepare, options.seeds))
        # Rows that use another row's model come after it.
        for wanted in (lambda row: row.model_of is None, lambda row: row.model_of is not None):
            list(pool.map(measure, [(row, seed) for row in rows if wanted(row) for seed in options.seeds]))

    results = {"machine": machine(), "seeds": options.seeds, "rows": results_of(rows, metrics, options.seeds)}
    options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    seed = options.seeds[0]
    models = [miniature.model(seed, key) for key in (SOURCE_ONLY, FULL)]
    picture = options.page.parent / "images" / "reproduction.png"
    draw_examples(miniature.city(seed) / "dark_zurich", models, picture)
    write_page(options.page, results, picture)
    print(f"wrote {options.json} and {options.page}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(f"reproduction: {error}")
