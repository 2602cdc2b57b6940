"""Adaptation without a labelled set: what the start model is certain of on the day pictures takes the labels' place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch.nn import functional
from tqdm import tqdm

from dannet_core.class_set import ClassSet, require_same_classes
from dannet_core.classes import IGNORE_ID
from dannet_core.data.sample import TRAIN_IDS, DataSet, Pair, Sample
from dannet_core.errors import DataSetError, SettingsError
from dannet_core.networks import DANNet
from dannet_core.networks.weights import load_metadata, load_weights
from dannet_core.pixels import Labels, Rgb, normalize, write_png
from dannet_core.training.config import TrainConfig
from dannet_core.training.distributed import Processes

FOLDER: Final = "start_labels"
"""In the run folder: label maps of the day pictures, by their names."""


def label_days(config: TrainConfig, pairs: Sequence[Pair], classes: ClassSet, processes: Processes) -> DataSet:
    """The day pictures of the pairs, labelled by ``init`` as it is, as a labelled set.

    A resumed run keeps the labels that it began with; its start model may be gone.

    Args:
        config: of a run whose folder may be written to.
        pairs: whose day pictures are labelled, each once.
        classes: of the run.
        processes: the first one labels, the others wait for it.

    Raises:
        SettingsError: no ``init``, or one of other classes.
        ModelFileError: ``init`` cannot be read.
        DataSetError: a resumed run's labels are gone.
    """
    days = list({pair.day.image_path: pair.day for pair in pairs}.values())
    folder = config.run_dir / FOLDER
    labelled = [
        Sample(day.name, day.image_path, folder / f"{day.name}_labelTrainIds.png", TRAIN_IDS, classes) for day in days
    ]
    if processes.is_first and not config.resume:
        _write_labels(config, labelled, classes, processes.device)
    processes.any(False)
    for sample in labelled:
        if sample.label_path is None or not sample.label_path.is_file():
            raise DataSetError(f"{sample.label_path}: the labels that this run began with are gone: start anew")
    return DataSet("start-labels", "train", folder, tuple(labelled), classes)


def _write_labels(config: TrainConfig, samples: Sequence[Sample], classes: ClassSet, device: torch.device) -> None:
    if config.init is None:
        raise SettingsError(
            "data.source is required: root of the labelled day images, laid out as Cityscapes; or init: a model that "
            "knows the day, whose certain labels on the day pictures of the pairs take their place"
        )
    require_same_classes(load_metadata(config.init).classes, classes, "data.classes")
    net = load_weights(config.init).to(device)
    for sample in tqdm(samples, desc="labelling day pictures", unit="file", leave=False, disable=None):
        assert sample.label_path is not None, "these samples are made with a place for their labels"
        sample.label_path.parent.mkdir(parents=True, exist_ok=True)
        labels = certain_labels(net, sample.read_image(), config.beyond.certain_start, device, config.model.input_size)
        write_png(sample.label_path, labels)


@torch.no_grad()
def certain_labels(
    net: DANNet, rgb: Rgb, threshold: float, device: torch.device, input_size: tuple[int, int] | None = None
) -> Labels:
    """The likeliest classes of a picture where their likelihood is above ``threshold``, 255 elsewhere; H x W uint8.

    Args:
        net: in eval mode, on ``device``.
        rgb: H x W x 3 uint8.
        threshold: 0 to 1.
        device: where to compute.
        input_size: height and width at which ``net`` sees the picture; None = the picture's own.
    """
    images = torch.from_numpy(normalize(rgb)).to(device)
    if input_size is not None and images.shape[-2:] != input_size:
        images = functional.interpolate(images, input_size, mode="bilinear", align_corners=False, antialias=True)
    logits = net(images).logits.float()
    if logits.shape[-2:] != rgb.shape[:2]:
        logits = functional.interpolate(logits, rgb.shape[:2], mode="bilinear", align_corners=False)
    confidence, labels = logits.softmax(dim=1).max(dim=1)
    certain = torch.where(confidence > threshold, labels, IGNORE_ID)[0].to(torch.uint8)
    result: Labels = certain.cpu().numpy()
    return result
