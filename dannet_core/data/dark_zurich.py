"""Dark Zurich: 1920x1080; 2416 unlabelled day-night pairs, 50 labelled night pictures (val), 151 without labels (test).

``rgb_anon/train/{day,twilight,night}/SEQUENCE/*_rgb_anon.png``, ``rgb_anon/{val,test}/night/SEQUENCE/*_rgb_anon.png``,
``gt/val/night/SEQUENCE/*_gt_label{TrainIds,Ids}.png``. The pairs come in two formats, of which either is read: the data
set's own ``corresp/train/night/SEQUENCE/*_ref_day.csv``, or one list in the style of DANNet's released code,
``lists/zurich_dn_pair_train.csv`` or wherever it lies. Both hold lines ``NIGHT,DAY`` such as
``train/night/GOPR0351/GOPR0351_frame_000001,train/day/GOPR0345/GOPR0345_frame_000081``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dannet_core.data.layout import IMAGE_SUFFIXES, DataSetLayout, SplitLayout, checked_header, checked_root
from dannet_core.data.sample import LABEL_IDS, TRAIN_IDS, Pair, Problems, Sample
from dannet_core.errors import DataSetError
from dannet_core.folders import files_below

_ENDINGS: Final = (("_gt_labelTrainIds", TRAIN_IDS), ("_gt_labelIds", LABEL_IDS))
_IMAGES: Final = "rgb_anon"
_CORRESPONDENCES: Final = "corresp/train/night"
_PAIR_LIST: Final = "lists/zurich_dn_pair_train.csv"

LAYOUT: Final = DataSetLayout(
    "dark-zurich",
    {
        "train": SplitLayout(f"{_IMAGES}/train/night", "_rgb_anon"),
        "train-day": SplitLayout(f"{_IMAGES}/train/day", "_rgb_anon"),
        "val": SplitLayout(f"{_IMAGES}/val/night", "_rgb_anon", "gt/val/night", _ENDINGS),
        "test": SplitLayout(f"{_IMAGES}/test/night", "_rgb_anon"),
    },
    evaluation_split="val",
)


def open_dark_zurich_pairs(root: str | Path, pair_list: str | Path | None = None) -> tuple[Pair, ...]:
    """Read the day-night training pairs and check their files.

    Args:
        root: the folder that holds ``rgb_anon``.
        pair_list: a CSV of pairs; None = ``corresp`` where the root has one, otherwise ``lists/``.

    Returns:
        the pairs in the order of the list, or by the names of the night pictures for ``corresp``.

    Raises:
        DataSetError: no pairs, a malformed line, a missing or unreadable picture, or two sizes in a pair.
    """
    folder = checked_root(root, f"{_IMAGES}/train")
    problems = Problems(f"dark-zurich pairs in {folder}")
    pictures = _Pictures(folder / _IMAGES)
    pairs = []
    for file in _pair_files(folder, pair_list):
        for where, line in _lines(file):
            names = [part.strip() for part in line.split(",")]
            if len(names) == 2 and all(names):
                pairs.append(Pair(night=pictures.sample(names[0]), day=pictures.sample(names[1])))
            else:
                problems.add("malformed lines", f"{where}: got '{line[:80]}', expected NIGHT,DAY")
    for pair in pairs:
        _check_pair(pair, problems)
    problems.raise_if_any()
    if not pairs:
        raise DataSetError(f"dark-zurich pairs in {folder}: the pair list is empty, expected lines NIGHT,DAY")
    return tuple(pairs)


def _pair_files(root: Path, pair_list: str | Path | None) -> list[Path]:
    if pair_list is not None:
        return [Path(pair_list).expanduser()]
    folder = root / _CORRESPONDENCES
    correspondences = [
        path for path in (files_below(folder) if folder.is_dir() else []) if path.name.endswith("_ref_day.csv")
    ]
    if correspondences:
        return correspondences
    if (root / _PAIR_LIST).is_file():
        return [root / _PAIR_LIST]
    raise DataSetError(f"{root}: no day-night pairs, expected '{_CORRESPONDENCES}/**/*_ref_day.csv' or '{_PAIR_LIST}'")


def _lines(file: Path) -> list[tuple[str, str]]:
    """The lines that are not blank, each with its place for messages."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataSetError(f"{file}: cannot read the pairs: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataSetError(f"{file}: not a text file, expected lines NIGHT,DAY") from error
    return [(f"{file} line {number}", line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


class _Pictures:
    """The pictures below a folder, of any suffix; each of its folders is listed once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[Path, dict[str, Path]] = {}

    def sample(self, name: str) -> Sample:
        """The picture called ``name``; one that is not there has the usual suffix."""
        usual = self._root / f"{name}_rgb_anon.png"
        return Sample(name, self._in(usual.parent).get(usual.stem, usual))

    def _in(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listed:
            files = (
                [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES] if folder.is_dir() else []
            )
            # The last of a name stays: the first suffix.
            self._listed[folder] = {path.stem: path for path in sorted(files, key=_rank, reverse=True)}
        return self._listed[folder]


def _rank(path: Path) -> tuple[int, str]:
    return IMAGE_SUFFIXES.index(path.suffix.lower()), path.suffix


def _check_pair(pair: Pair, problems: Problems) -> None:
    night, day = (checked_header(sample.image_path, problems) for sample in (pair.night, pair.day))
    if night and day and night.size != day.size:
        problems.add("pairs of two sizes", f"{pair.night.image_path} is {night}, {pair.day.image_path} is {day}")
