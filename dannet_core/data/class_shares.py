"""How often each class occurs in a data set's labels: a_k of equation 1, on which the re-weighting is built."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from dannet_core.atomic_files import write_whole
from dannet_core.class_set import CITYSCAPES
from dannet_core.classes import CLASS_NAMES
from dannet_core.data.sample import DataSet, read_all_labels
from dannet_core.errors import DataSetError, OutputError

CACHE_NAME: Final = "dannet_class_shares.json"
_CACHE_VERSION: Final = 1


@dataclass(frozen=True)
class ClassShares:
    """Labelled pixels by class.

    Attributes:
        pixels: of each class, in train-id order; at least one is above 0.
        names: of the classes.
    """

    pixels: tuple[int, ...]
    names: tuple[str, ...] = CLASS_NAMES

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of the classes that never occur."""
        return tuple(name for name, count in zip(self.names, self.pixels, strict=True) if count == 0)

    @property
    def shares(self) -> tuple[float, ...]:
        """a_k: share of the labelled pixels that belong to class k (DANNet, eq. 1), each above 0.

        Classes that never occur get the geometric mean of the others: -log a_k is then the mean of equation 2, hence
        their weight is exactly ``avg``, neither pushed nor held back (and the shares add up to more than 1). The 1e-9
        or so that a clipped zero would give makes a class that the network never saw the most favoured of all, and
        squeezes the others together.
        """
        counted = np.asarray(self.pixels, dtype=np.float64)
        shares = counted / counted.sum()
        seen = shares > 0
        shares[~seen] = np.exp(np.log(shares[seen]).mean())
        return tuple(float(share) for share in shares)


def count_class_shares(data_set: DataSet, cache_folder: str | Path | None = None) -> ClassShares:
    """Count the classes in all labels of a split, once: the result is kept in a small file and used as long as no
    label file is added, removed or changed.

    Args:
        data_set: a labelled split.
        cache_folder: where that file goes; None = the folder of the labels. A folder that cannot be written to is no
            error: the next run counts again.

    Raises:
        DataSetError: label files are damaged, or hold no labelled pixel at all.
    """
    folder = data_set.label_folder if cache_folder is None else Path(cache_folder)
    name = CACHE_NAME if cache_folder is None else f"{data_set.name}_{data_set.split}_{CACHE_NAME}"
    cache, state = folder / name, _state_of_labels(data_set)
    names = data_set.classes.names
    known = _read_cache(cache, state, names)
    if known is not None:
        return known
    count = len(names)
    pixels = np.zeros(count, dtype=np.int64)
    for _, labels in read_all_labels(data_set, f"counting classes in {data_set.name} {data_set.split}"):
        # Six times faster than numpy.bincount, which first widens every byte to eight.
        pixels += cv2.calcHist([labels], [0], None, [count], [0, count]).ravel().astype(np.int64)
    counted = ClassShares(tuple(int(number) for number in pixels), names)
    if not any(counted.pixels):
        raise DataSetError(
            f"{data_set}: got labels without a single labelled pixel, expected some of {data_set.classes}"
        )
    content = {
        "version": _CACHE_VERSION,
        "labels": state,
        "pixels": dict(zip(names, counted.pixels, strict=True)),
    }
    with contextlib.suppress(OutputError, OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(cache, (json.dumps(content, indent=2) + "\n").encode())
    return counted


def _state_of_labels(data_set: DataSet) -> str:
    """A hash of the label files' names, encodings, sizes and times of change."""
    digest = hashlib.sha256()
    if data_set.classes != CITYSCAPES:
        digest.update(repr(data_set.classes).encode())
    for sample in data_set:
        if sample.label_path is None:
            continue
        try:
            stat = sample.label_path.stat()
        except OSError as error:
            raise DataSetError(f"{sample.label_path}: cannot read: {error.strerror}") from error
        digest.update(f"{sample.name}\0{sample.encoding}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _read_cache(path: Path, state: str, names: tuple[str, ...]) -> ClassShares | None:
    """What the cache holds, if it is about these very files; a damaged cache counts as none."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _CACHE_VERSION or content["labels"] != state:
            return None
        return ClassShares(tuple(int(content["pixels"][name]) for name in names), names)
    except (OSError, ValueError, KeyError, TypeError):
        return None
