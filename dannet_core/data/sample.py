"""A picture with its labels, and lists of them: what every data set is once it has been read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from dannet_core.class_set import CITYSCAPES, ClassSet
from dannet_core.errors import DataSetError, ImageError
from dannet_core.formats.label_palette import LABEL_IDS, TRAIN_IDS
from dannet_core.formats.label_png import ENCODINGS, read_label_png
from dannet_core.pixels import Labels, Rgb, read_rgb

__all__ = [
    "ENCODINGS", "LABEL_IDS", "TRAIN_IDS", "DataSet", "Pair", "Problems", "Sample", "check_labels", "read_all_labels",
    "read_labels",
]  # fmt: skip


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

    def read_both(self) -> tuple[Rgb, Labels]:
        """Read the picture and its labels, which were checked before; see `check_labels`.

        Raises:
            ImageError, DataSetError: a file is missing or damaged, or they have two sizes.
        """
        if self.label_path is None:
            return self.read_image(), self.read_labels()
        rgb = self.read_image()
        labels = read_labels(self.label_path, self.encoding, self.classes, known_good=True)
        if rgb.shape[:2] != labels.shape:
            got, expected = (f"{size[1]}x{size[0]}" for size in (labels.shape, rgb.shape))
            raise DataSetError(f"{self.label_path}: got labels of {got}, expected {expected} like {self.image_path}")
        return rgb, labels


@dataclass(frozen=True)
class Pair:
    """The same place by day and by night, roughly aligned; neither has labels."""

    day: Sample
    night: Sample

    def read_both(self) -> tuple[Rgb, Rgb]:
        """Read the day and the night picture.

        Raises:
            ImageError, DataSetError: a file is missing or damaged, or they have two sizes.
        """
        day, night = self.day.read_image(), self.night.read_image()
        if day.shape != night.shape:
            got, expected = (f"{size[1]}x{size[0]}" for size in (night.shape, day.shape))
            raise DataSetError(f"{self.night.image_path}: got {got}, expected {expected} like {self.day.image_path}")
        return day, night


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


def read_labels(path: Path, encoding: str, classes: ClassSet = CITYSCAPES, *, known_good: bool = False) -> Labels:
    """Read a label map as train ids; `dannet_core.formats.label_png` says which PNGs are read.

    Args:
        path: a PNG.
        encoding: `LABEL_IDS` or `TRAIN_IDS`.
        classes: what its ids mean.
        known_good: it was read before; see `dannet_core.formats.label_png.decode_label_png`.

    Returns:
        H x W uint8 train ids, 255 = ignore.

    Raises:
        DataSetError: the file is missing or damaged, leaves open which ids are meant, or holds one that the encoding
            does not have.
    """
    try:
        return read_label_png(path, encoding, classes, known_good=known_good)
    except ImageError as error:
        raise DataSetError(str(error)) from error


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
