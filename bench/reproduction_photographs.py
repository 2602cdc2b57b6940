"""Table 4 and the ingredients of `preset: beyond` on photographs, from a model that knows the day.

What is done is in a record, a JSON file that grows row by row; a record of other weights, pictures or arguments is
refused, and scores of a row whose configuration has changed since are measured anew.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reproduction_rows import CONFIGS, INGREDIENTS, PHOTOGRAPHS_TABLE_4, SOURCE_ONLY, Row
from reproduction_runs import Runs, machine

from dannet_core.atomic_files import write_whole
from dannet_core.networks.public_checkpoints import PublicFiles, read_public
from dannet_core.networks.weights import SUFFIX, read_tensors
from dannet_core.settings import parse, to_plain
from dannet_core.training.config import PRESETS, TrainConfig

GROUPS: Final[Mapping[str, tuple[str, tuple[Row, ...]]]] = {
    "table_4": ("efficientvit_small_set.yaml", PHOTOGRAPHS_TABLE_4),
    "beyond": ("beyond.yaml", INGREDIENTS),
}
"""Rows by group, with the configuration that they share."""
ROWS: Final = tuple(row for _, rows in GROUPS.values() for row in rows)
_NO_MATTER: Final = ("run_dir", "watch")
SETS: Final = {"night": ("dark-zurich", "dark_zurich"), "day": ("cityscapes", "cityscapes")}
"""What a model is measured on: data set and folder."""
DATA_FILES: Final = frozenset({".png", ".jpg", ".jpeg", ".csv"})
"""Pictures, labels and lists of pairs."""


@dataclass(frozen=True)
class Setting:
    """What two records must have in common to be one.

    Attributes:
        weights: the start, `.safetensors`, or its authors' file as `dannet import_weights` reads it.
        data: folder with ``cityscapes/`` and ``dark_zurich/``.
        input_size: (height, width) that every model runs at.
        train_arguments: for every training, after those of the row.
    """

    weights: Path
    data: Path
    input_size: tuple[int, int]
    train_arguments: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """For JSON, without places: the same files may lie elsewhere."""
        return {
            "weights_sha256": _tensors(self.weights),
            "data_sha256": _names_and_sizes(self.data),
            "input_size": list(self.input_size),
            "train_arguments": list(self.train_arguments),
        }


class Record:
    """Scores by row and seed, on disk after each one.

    Args:
        path: JSON; what it holds already is kept.
        setting: of `Setting.to_plain`.

    Raises:
        RuntimeError: the file is of another setting, or no record.
    """

    def __init__(self, path: Path, setting: dict[str, Any]) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._scores: dict[str, dict[str, Any]] = {}
        self._machines: list[dict[str, Any]] = []
        self._setting = setting
        if path.is_file():
            self._take_up()
        here = machine()
        if here not in self._machines:
            self._machines.append(here)

    def _take_up(self) -> None:
        try:
            held = json.loads(self._path.read_text(encoding="utf-8"))
            self._scores, self._machines, then = held["scores"], held["machines"], held["setting"]
            self._leave_out_others()
        except (ValueError, KeyError, TypeError):
            raise RuntimeError(f"{self._path}: expected a record of this program: give another --json") from None
        for key, value in self._setting.items():
            if then.get(key) != value:
                raise RuntimeError(
                    f"{self._path}: {key} is {then.get(key)!r} there, {value!r} here: give another --json and --folder"
                )

    def _leave_out_others(self) -> None:
        """Forget the scores of rows that are configured otherwise today."""
        current = {row.key: configuration(row) for row in ROWS}
        kept = {
            key: {seed: one for seed, one in seeds.items() if one["configuration"] == current.get(key)}
            for key, seeds in self._scores.items()
        }
        self._scores = {key: seeds for key, seeds in kept.items() if seeds}

    def has(self, row: Row, seed: int) -> bool:
        """Whether this score is there."""
        return str(seed) in self._scores.get(row.key, {})

    def add(self, row: Row, seed: int, scores: dict[str, Any]) -> None:
        """Keep a row's scores of one seed, on disk."""
        with self._lock:
            self._scores.setdefault(row.key, {})[str(seed)] = {**scores, "configuration": configuration(row)}
            content = json.dumps(self.to_plain(), indent=1) + "\n"
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, content.encode())

    def to_plain(self) -> dict[str, Any]:
        """As it is on disk."""
        return {"setting": self._setting, "machines": self._machines, "scores": self._scores}


class Photographs:
    """Trains and measures rows below one folder; what is there already is not run again.

    Args:
        folder: of the runs.
        setting: see `Setting`.
        runs: starts the verbs.
    """

    def __init__(self, folder: Path, setting: Setting, runs: Runs) -> None:
        self._folder = folder
        self._setting = setting
        self._runs = runs
        self._input_size = tuple(map(str, setting.input_size))
        self._start = setting.weights

    def prepare(self) -> None:
        """Import the start where it is its authors' file, and bind the folder to the setting.

        Raises:
            RuntimeError: the folder holds runs of another setting, or the weights cannot be imported.
        """
        bound, setting = self._folder / "setting.json", self._setting.to_plain()
        if bound.is_file() and json.loads(bound.read_text(encoding="utf-8")) != setting:
            raise RuntimeError(
                f"{self._folder}: holds runs of another start, other data or arguments: give another --folder"
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(bound, json.dumps(setting).encode())
        if self._start.suffix != SUFFIX:
            self._start = self._folder / "start.safetensors"
            if not self._start.is_file():
                which = ("--arch", "efficientvit", "--backbone", "b0", "--segmentation", self._setting.weights)
                self._runs.dannet("import_weights", *which, "--out", self._start)

    def model(self, key: str, seed: int) -> Path:
        """A row's model after its last step."""
        return self._start if key == SOURCE_ONLY else self._run_folder(key, seed) / "last.safetensors"

    def measure(self, row: Row, seed: int) -> dict[str, Any]:
        """Train the row's model unless it is there; mIoU of the classes present and share of right pixels, percent."""
        source = row if row.model_of is None else _row(row.model_of)
        if source.key != SOURCE_ONLY:
            self._train(source, seed)
        model, scores = self.model(source.key, seed), dict[str, Any]()
        for when, (data_set, folder) in SETS.items():
            where = (self._setting.data / folder, self._run_folder(row.key, seed) / when)
            metrics = self._runs.evaluate(model, data_set, *where, "--input-size", *self._input_size, *row.evaluate)
            miou, pixels = metrics["miou_present"], metrics["pixel_accuracy"]
            scores[when] = {"miou_percent": round(100 * miou, 2), "pixel_accuracy_percent": round(100 * pixels, 2)}
        return scores

    def _run_folder(self, key: str, seed: int) -> Path:
        return self._folder / f"seed_{seed}" / f"{key}-{configuration(_row(key))}"

    def _train(self, row: Row, seed: int) -> None:
        config = next(config for config, rows in GROUPS.values() if row in rows)
        data = self._setting.data
        roots: list[object] = ["--data.target", data / "dark_zurich"]
        roots += ["--data.source", data / "cityscapes"] if row.labelled else []
        start = ("--init", self._start) if row.pretrained else ()
        quiet = ("--watch.evaluate_every", 0, "--no-watch.tensorboard", "--watch.panels_every", 0, "--seed", seed)
        model = ("--model.input_size", *self._input_size)
        arguments = (*row.adaptation(), *model, *self._setting.train_arguments, *roots, *start, *quiet)
        self._runs.train("train", self._run_folder(row.key, seed), "--config", CONFIGS / config, *arguments)


def jobs(rows: Sequence[Row], seeds: Sequence[int], record: Record) -> list[list[tuple[Row, int]]]:
    """Rows and seeds that the record lacks, in two rounds: rows that use another row's model come after it.

    The first seed of every row comes before the second of any, so that a budget leaves no row out for another's sake.
    The start is the same with every seed, and measured with the first.
    """
    wanted = [
        (row, seed)
        for seed in seeds
        for row in rows
        if not record.has(row, seed) and (row.model_of != SOURCE_ONLY or seed == seeds[0])
    ]
    first = [(row, seed) for row, seed in wanted if row.model_of in (None, SOURCE_ONLY)]
    return [first, [job for job in wanted if job not in first]]


def _row(key: str) -> Row:
    return next(row for row in ROWS if row.key == key)


def configuration(row: Row) -> str:
    """Changes when a setting does, wherever it is made, that is not a default and concerns the row's model."""
    settings: dict[str, Any] = {}
    source = row if row.model_of is None else _row(row.model_of)
    if source.key != SOURCE_ONLY:
        file = next(file for file, rows in GROUPS.values() if source in rows)
        argv = ["--config", str(CONFIGS / file), *source.adaptation()]
        unset, ours = (to_plain(parse(TrainConfig, words, "train", "", PRESETS)) for words in ([], argv))
        settings = {key: _differing(value, unset[key]) for key, value in ours.items() if key not in _NO_MATTER}
    content = json.dumps([settings, source.pretrained, source.labelled, row.evaluate], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _differing(value: Any, default: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: one for key, one in value.items() if one != default[key]}


def _tensors(weights: Path) -> str:
    """Of names and values: the same whether imported already or as its authors' file."""
    if weights.suffix == SUFFIX:
        state = read_tensors(weights)
    else:
        state = read_public("efficientvit", PublicFiles(str(weights)), "b0")[0].state_dict()
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _names_and_sizes(folder: Path) -> str:
    # Not what runs leave beside the pictures, such as counted class shares.
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in DATA_FILES)
    if not files:
        raise RuntimeError(f"{folder}: got no files, expected cityscapes/ and dark_zurich/")
    lines = "".join(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()
