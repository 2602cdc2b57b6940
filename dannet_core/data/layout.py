"""How data sets lie on disk, and the reading of any of them into a checked list of samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dannet_core.class_set import CITYSCAPES, ClassSet
from dannet_core.data.image_header import ImageHeader, read_header
from dannet_core.data.sample import ENCODINGS, TRAIN_IDS, DataSet, Problems, Sample
from dannet_core.errors import DataSetError, ImageError
from dannet_core.folders import files_below
from dannet_core.formats.exif import UPRIGHT, why_labels_do_not_fit

IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg")
"""In any case; where a picture is there twice, the first."""


@dataclass(frozen=True)
class SplitLayout:
    """Where one split keeps its files; both folders are searched to any depth and mirror each other.

    Attributes:
        image_folder: below the root, e.g. ``leftImg8bit/val``.
        image_ending: how image names end, without ``.png`` or ``.jpg``, e.g. ``_leftImg8bit``.
        label_folder: below the root; None for a split without labels.
        label_endings: how label names end, without ``.png``, and the encoding that says; the first is preferred.
    """

    image_folder: str
    image_ending: str
    label_folder: str | None = None
    label_endings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class DataSetLayout:
    """A data set: its name on the command line, its splits, and the one to evaluate on."""

    name: str
    splits: Mapping[str, SplitLayout]
    evaluation_split: str


def open_split(
    layout: DataSetLayout,
    root: str | Path,
    split: str,
    need_images: bool = True,
    encoding: str | None = None,
    classes: ClassSet = CITYSCAPES,
) -> DataSet:
    """Find a split's files and check them: everything present, paired, readable by its header, and of one size.

    Args:
        layout: which data set.
        root: the folder that holds the split's image and label folders.
        split: one of ``layout.splits``.
        need_images: False opens the labels alone; the samples' images may then be missing.
        encoding: of the label files to use where there are several kinds; None = the kind that is complete, in doubt
            the layout's first, for classes other than Cityscapes' the label ids.
        classes: what the ids in the label files mean.

    Raises:
        DataSetError: anything is wrong; the message says how many files are affected and names the first.
    """
    place = layout.splits.get(split)
    if place is None:
        raise DataSetError(f"{layout.name}: got split '{split}', expected one of {', '.join(layout.splits)}")
    place = _narrowed(place, encoding, classes)
    folder = checked_root(root, place.image_folder if need_images else place.label_folder or place.image_folder)
    problems = Problems(f"{layout.name} {split} in {folder}")
    samples = (
        _samples_of_images(place, folder, problems) if need_images else _samples_of_labels(place, folder, problems)
    )
    for sample in samples:
        _check_files(sample, need_images, problems)
    problems.raise_if_any()
    return DataSet(
        layout.name, split, folder, tuple(dataclasses.replace(one, classes=classes) for one in samples), classes
    )


def checked_root(root: str | Path, inside: str) -> Path:
    """The root as a path, if it holds the folder ``inside``.

    Raises:
        DataSetError: it does not; names a folder nearby that does.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DataSetError(f"{root}: no such folder")
    if not (folder / inside).is_dir():
        nearby = [*sorted(path for path in folder.iterdir() if path.is_dir()), folder.resolve().parent]
        better = next((f": did you mean {path}?" for path in nearby if (path / inside).is_dir()), "")
        raise DataSetError(f"{root}: got a folder without '{inside}', expected it inside{better}")
    return folder


def _narrowed(place: SplitLayout, encoding: str | None, classes: ClassSet) -> SplitLayout:
    if encoding is None and classes == CITYSCAPES:
        return place
    if encoding is None:
        # Train ids beside label ids are usually Cityscapes', and would be taken for this set's without a word.
        return dataclasses.replace(place, label_endings=tuple(sorted(place.label_endings, key=_is_train_ids)))
    if encoding not in ENCODINGS:
        raise DataSetError(f"encoding: got '{encoding}', expected one of {', '.join(ENCODINGS)}")
    return dataclasses.replace(place, label_endings=tuple(one for one in place.label_endings if one[1] == encoding))


def _is_train_ids(ending: tuple[str, str]) -> bool:
    return ending[1] == TRAIN_IDS


def _samples_of_images(place: SplitLayout, root: Path, problems: Problems) -> list[Sample]:
    folder = root / place.image_folder
    images = _find(_files(folder, problems), folder, place.image_ending, IMAGE_SUFFIXES)
    if not images:
        problems.raise_if_any()
        raise DataSetError(f"{folder}: no image, expected names like NAME{place.image_ending}.png")
    if place.label_folder is None:
        return [Sample(name, path) for name, path in images.items()]
    labels, ending, encoding = _find_labels(place, root, set(images), problems)
    for name in sorted(images.keys() - labels.keys()):
        problems.add(
            f"of {len(images)} images without a label",
            f"{images[name]}, expected {root / place.label_folder / (name + ending)}.png",
        )
    for name in sorted(labels.keys() - images.keys()):
        problems.add(
            f"of {len(labels)} labels without an image",
            f"{labels[name]}, expected {root / place.image_folder / (name + place.image_ending)}.png",
        )
    return [Sample(name, images[name], labels[name], encoding) for name in sorted(images.keys() & labels.keys())]


def _samples_of_labels(place: SplitLayout, root: Path, problems: Problems) -> list[Sample]:
    labels, _, encoding = _find_labels(place, root, set(), problems)
    folder = root / place.image_folder
    return [Sample(name, folder / f"{name}{place.image_ending}.png", path, encoding) for name, path in labels.items()]


def _find_labels(
    place: SplitLayout, root: Path, wanted: set[str], problems: Problems
) -> tuple[dict[str, Path], str, str]:
    """Labels by name, their ending and encoding: of the encodings there, the one that covers most of ``wanted``."""
    if place.label_folder is None or not (root / place.label_folder).is_dir():
        raise DataSetError(f"{root}: got a folder without labels, expected '{place.label_folder}' inside")
    folder = root / place.label_folder
    files = _files(folder, problems)
    found = [(_find(files, folder, ending, (".png",)), ending, encoding) for ending, encoding in place.label_endings]
    best = max(found, key=lambda one: (len(wanted & one[0].keys()), len(one[0])))
    if not best[0]:
        problems.raise_if_any()
        endings = " or ".join(f"NAME{ending}.png" for ending, _ in place.label_endings)
        raise DataSetError(f"{folder}: no label, expected names like {endings}")
    return best


def _files(folder: Path, problems: Problems) -> list[Path]:
    return files_below(folder, lambda detail: problems.add("broken links or unreadable folders", detail))


def _find(files: Sequence[Path], folder: Path, ending: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Those of a folder's files that end so, by their path from there without the ending, in order.

    Of files that differ in their suffix alone the one whose suffix comes first.
    """
    ranked: dict[str, tuple[int, Path]] = {}
    for path in files:
        suffix = path.suffix.lower()
        # macOS leaves ._NAME files on foreign disks.
        if not path.stem.endswith(ending) or suffix not in suffixes or path.name.startswith("."):
            continue
        name = path.relative_to(folder).as_posix().removesuffix(path.suffix).removesuffix(ending)
        one = (suffixes.index(suffix), path)
        ranked[name] = min(one, ranked.get(name, one))
    return {name: path for name, (_, path) in sorted(ranked.items())}


def _check_files(sample: Sample, need_images: bool, problems: Problems) -> None:
    image = checked_header(sample.image_path, problems) if need_images else None
    label = None if sample.label_path is None else checked_header(sample.label_path, problems)
    if label is None:
        return
    if (label.channels, label.bits) != (1, 8):
        # Rare, and whether it can be read depends on more than its header.
        try:
            sample.read_labels()
        except DataSetError as error:
            problems.add("unusable label files", str(error))
    if image and image.orientation != UPRIGHT:
        reason = why_labels_do_not_fit(image.orientation, image.size, label.size)
        if reason:
            problems.add("pictures that are not upright", f"{sample.image_path}: {reason}")
    elif image and image.size != label.size:
        problems.add(
            "labels of another size than their image", f"{sample.label_path} is {label}, {sample.image_path} is {image}"
        )


def checked_header(path: Path, problems: Problems) -> ImageHeader | None:
    """The header of an image file; None after noting that it cannot be read."""
    try:
        return read_header(path)
    except ImageError as error:
        problems.add("unreadable files", str(error))
        return None
