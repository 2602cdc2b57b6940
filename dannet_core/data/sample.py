"""A picture with its labels, and lists of them: what every data set is once it has been read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from dannet_core.class_set import CITYSCAPES, ClassSet
from dannet_core.errors import DataSetError
from dannet_core.pixels import Labels, Rgb, read_rgb

LABEL_IDS: Final = "label_ids"
"""Cityscapes label ids 0..33 (road = 7), as in `*_labelIds.png`."""
TRAIN_IDS: Final = "train_ids"
"""Train ids 0..18 and 255 = ignore (road = 0), as in `*_labelTrainIds.png`."""
ENCODINGS: Final = (LABEL_IDS, TRAIN_IDS)


@dataclass(frozen=True)
class Sample:
    """One picture of a data set.

    Attributes:
        name: path below the split's folder without the data set's suffix, e.g. ``GOPR0356/GOPR0356_frame_000321``.
        image_path: the picture.
        label_path: its label map; None in splits without labels.
        encoding: `LABEL_IDS` or `TRAIN_IDS`, how the label map is written.
        classes: what its ids mean.
    """

    name: str
    image_path: Path
    label_path: Path | None = None
    encoding: str = TRAIN_IDS
    classes: ClassSet = CITYSCAPES

    @property
    def frame(self) -> str:
        """The last part of the name, e.g. ``GOPR0356_frame_000321``."""
        return self.name.rsplit("/", maxsplit=1)[-1]

    def read_image(self) -> Rgb:
        """Read the picture: H x W x 3 uint8 RGB.

        Raises:
            ImageError: the file is missing or cannot be decoded.
        """
        return read_rgb(self.image_path)

    def read_labels(self) -> Labels:
        """Read the labels: H x W uint8 train ids, 255 = ignore.

        Raises:
            DataSetError: there are none, or see `read_labels`.
        """
        if self.label_path is None:
            raise DataSetError(f"{self.image_path}: this split has no labels: use a labelled one")
        return read_labels(self.label_path, self.encoding, self.classes)


@dataclass(frozen=True)
class Pair:
    """The same place by day and by night, roughly aligned; neither has labels."""

    day: Sample
    night: Sample


@dataclass(frozen=True)
class DataSet:
    """The checked samples of one split, in the order of their names.

    Attributes:
        name: e.g. ``cityscapes``.
        split: e.g. ``val``.
        root: the folder that was opened.
        samples: at least one.
        classes: what their labels are.
    """

    name: str
    split: str
    root: Path
    samples: tuple[Sample, ...]
    classes: ClassSet = CITYSCAPES

    @property
    def labelled(self) -> bool:
        """Whether the samples have labels; all or none have."""
        return self.samples[0].label_path is not None

    @property
    def label_folder(self) -> Path:
        """The deepest folder that holds all of the split's labels.

        Raises:
            DataSetError: the split has no labels.
        """
        folders = [sample.label_path.parent for sample in self.samples if sample.label_path is not None]
        if not folders:
            raise DataSetError(f"{self}: this split has no labels: use a labelled one")
        return Path(os.path.commonpath(folders))

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def __str__(self) -> str:
        return f"{self.name} {self.split} in {self.root}"


class Problems:
    """Collects what is wrong with many files, to say it in one line: how many of each kind, and the first."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._found: dict[str, list[str]] = {}

    def add(self, kind: str, detail: str) -> None:
        """Note one file; ``kind`` completes "3 ...", ``detail`` names the file and what was expected."""
        self._found.setdefault(kind, []).append(detail)

    def raise_if_any(self) -> None:
        """Raise what was noted.

        Raises:
            DataSetError: anything was.
        """
        if self._found:
            parts = (f"{len(details)} {kind} (first: {details[0]})" for kind, details in self._found.items())
            raise DataSetError(f"{self._subject}: {'; '.join(parts)}")


def read_labels(path: Path, encoding: str, classes: ClassSet = CITYSCAPES) -> Labels:
    """Read a label map as train ids.

    Args:
        path: an 8-bit grey PNG.
        encoding: `LABEL_IDS` or `TRAIN_IDS`.
        classes: what its ids mean.

    Returns:
        H x W uint8 train ids, 255 = ignore.

    Raises:
        DataSetError: the file is missing or damaged, is not 8-bit grey, or holds an id that the encoding does not have.
    """
    if not path.is_file():
        raise DataSetError(f"{path}: no such label file")
    raw = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if raw is None:
        raise DataSetError(f"{path}: damaged label file: copy it again")
    if raw.ndim != 2 or raw.dtype != np.uint8:
        raise DataSetError(
            f"{path}: got {raw.dtype} labels of shape {raw.shape}, expected 8-bit grey (ids, not colours)"
        )
    ids = np.asarray(raw, dtype=np.uint8)
    _check_ids(ids, encoding, path, classes)
    return np.asarray(cv2.LUT(ids, classes.train_ids), dtype=np.uint8) if encoding == LABEL_IDS else ids


def _check_ids(ids: npt.NDArray[np.uint8], encoding: str, path: Path, classes: ClassSet) -> None:
    last, expected = classes.last_id(encoding == LABEL_IDS)
    # 255 + 1 wraps to 0, which leaves one comparison to make.
    wrong = (ids + np.uint8(1)) > last + 1 if last is not None else cv2.LUT(ids, classes.unknown_label_ids) > 0
    if wrong.any():
        value = int(ids[wrong][0])
        name = "label ids" if encoding == LABEL_IDS else "train ids"
        raise DataSetError(f"{path}: {int(wrong.sum())} pixels are no {name}, e.g. {value}, expected {expected}")


def read_all_labels(data_set: DataSet, purpose: str) -> Iterator[tuple[Sample, Labels]]:
    """Read every label map in turn behind a progress bar; damaged ones are left out and named together at the end.

    Args:
        data_set: a labelled split.
        purpose: what the progress bar says.

    Yields:
        the sample and its H x W uint8 train ids.

    Raises:
        DataSetError: once all were read, when any could not be; or the split has no labels.
    """
    problems = Problems(str(data_set))
    if not data_set.labelled:
        problems.add("images without a label", f"{data_set[0].image_path}: use a labelled split")
        problems.raise_if_any()
    for sample in tqdm(data_set.samples, desc=purpose, unit="file", leave=False, disable=None):
        try:
            labels = sample.read_labels()
        except DataSetError as error:
            problems.add("unusable label files", str(error))
        else:
            yield sample, labels
    problems.raise_if_any()


def check_labels(data_set: DataSet) -> None:
    """Decode every label map once, so that a damaged one is found before hours of work and not after.

    Raises:
        DataSetError: how many are damaged or hold ids that do not exist, and the first.
    """
    for _ in read_all_labels(data_set, f"checking {data_set.name} {data_set.split}"):
        pass
