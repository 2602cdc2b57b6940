"""Classes that a labelled set has nowhere: what `init` is certain of in its unlabelled pixels, lest they be forgotten.

Not part of the paper. A set of eleven classes pushes the other eight out of a model that knows nineteen: nothing holds
on to a class whose pixels are unlabelled. Only such classes are filled in: pixels of a class that the set does have
were left out on purpose.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from tqdm import tqdm

from dannet_core.classes import IGNORE_ID
from dannet_core.data.class_shares import count_class_shares
from dannet_core.data.sample import TRAIN_IDS, DataSet, Sample
from dannet_core.errors import SettingsError
from dannet_core.pixels import Labels
from dannet_core.training.config import TrainConfig
from dannet_core.training.distributed import Processes
from dannet_core.training.start_labels import FOLDER, check_labels_are_there, start_labeller, write_labels

SOURCE: Final = "source"
"""Below `FOLDER`: the set's labels with those of `init` filled in."""
LEAST_SHARE: Final = 0.001
"""Of all pixels: a class with fewer is more likely a mistake of `init` than in the pictures, and is not filled in."""


def label_missing_classes(config: TrainConfig, source: DataSet, processes: Processes) -> DataSet:
    """The labelled set with unlabelled pixels filled in; itself where it has every class.

    A resumed run keeps the labels that it began with.

    Args:
        config: of a run with ``init``, whose folder may be written to.
        source: labelled.
        processes: the first one labels, the others wait for it.

    Raises:
        SettingsError: no ``init``, or one of other classes.
        ModelFileError: ``init`` cannot be read.
        DataSetError: label files are damaged, or a resumed run's labels are gone.
    """
    counted = count_class_shares(source).pixels
    missing = [class_id for class_id, pixels in enumerate(counted) if pixels == 0]
    if not missing:
        return source
    if config.init is None:
        raise SettingsError(
            "beyond.missing_classes needs init, the model that knows them: name one, or set it to false"
        )
    folder = config.run_dir / FOLDER / SOURCE
    filled = [
        dataclasses.replace(
            sample, label_path=folder / f"{sample.name}_labelTrainIds.png", encoding=TRAIN_IDS, classes=source.classes
        )
        for sample in source
    ]
    if processes.is_first and not config.resume:
        _write_filled(config, source, filled, missing, processes.device)
    processes.any(False)
    check_labels_are_there(filled)
    return DataSet(source.name, source.split, folder, tuple(filled), source.classes)


def _write_filled(
    config: TrainConfig, source: DataSet, filled: Sequence[Sample], missing: Sequence[int], device: torch.device
) -> None:
    """Write the labels, and say what they have gained."""
    known, count = start_labeller(config, source.classes, device), len(source.classes)
    gained, pixels = np.zeros(count, np.int64), 0
    both = list(zip(source, filled, strict=True))
    for sample, target in tqdm(both, desc="labelling missing classes", unit="file", leave=False, disable=None):
        rgb, labels = sample.read_both()
        whole = fill_in(labels, known(rgb), missing)
        gained += np.bincount(whole[whole != labels], minlength=count)
        pixels += labels.size
        write_labels(target, whole)
    shares = {class_id: gained[class_id] / pixels for class_id in missing}
    if too_rare := [class_id for class_id, share in shares.items() if 0 < share < LEAST_SHARE]:
        for target in filled:
            labels = target.read_labels()
            write_labels(target, np.where(np.isin(labels, np.asarray(too_rare, np.uint8)), np.uint8(IGNORE_ID), labels))
    names = source.classes.names
    kept = [f"{names[class_id]} ({share:.2%})" for class_id, share in shares.items() if share >= LEAST_SHARE]
    print(
        f"in no label of {source}: {', '.join(names[class_id] for class_id in missing)}; labelled by init, with their "
        f"share of all pixels: {', '.join(kept) or f'none, since none has {LEAST_SHARE:.1%}'}",
        flush=True,
    )


def fill_in(labels: Labels, known: Labels, missing: Sequence[int]) -> Labels:
    """Labels whose unlabelled pixels (255) are those of ``known`` that are of a class of ``missing``; H x W uint8."""
    wanted = (labels == IGNORE_ID) & np.isin(known, np.asarray(missing, np.uint8))
    return np.where(wanted, known, labels)
