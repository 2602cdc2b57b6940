"""Adaptation without a labelled set: what the start model is certain of on the day pictures takes the labels' place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from dannet_core.class_set import ClassSet, require_same_classes
from dannet_core.classes import IGNORE_ID
from dannet_core.data.layout import IMAGE_SUFFIXES
from dannet_core.data.sample import TRAIN_IDS, DataSet, Pair, Sample
from dannet_core.errors import DataSetError, SettingsError
from dannet_core.networks import DANNet
from dannet_core.networks.weights import load_metadata, load_weights
from dannet_core.pixels import Labels, Rgb, normalize, write_png
from dannet_core.training.config import TrainConfig
from dannet_core.training.distributed import Processes

FOLDER: Final = "start_labels"
"""In the run folder: label maps of the day pictures, by their names."""
DAYS: Final = "days"
"""Below it: those of the pictures that are in no pair."""
SCALES: Final = (0.75, 1.0, 1.25)
"""Of the size that the start model sees a picture at, where it looks several times."""


def label_days(config: TrainConfig, pairs: Sequence[Pair], classes: ClassSet, processes: Processes) -> DataSet:
    """The day pictures of the pairs and of ``data.days``, labelled by ``init`` or the larger teacher: a labelled set.

    A resumed run keeps the labels that it began with; its start model may be gone.

    Args:
        config: of a run whose folder may be written to.
        pairs: whose day pictures are labelled, each once.
        classes: of the run.
        processes: the first one labels, the others wait for it.

    Raises:
        SettingsError: no ``init``, or one of other classes.
        ModelFileError: ``init`` cannot be read.
        DataSetError: a resumed run's labels are gone, or ``data.days`` is no folder of pictures.
    """
    days = list({pair.day.image_path: pair.day for pair in pairs}.values())
    if config.data.days is not None:
        days += more_days(config.data.days, {day.image_path.resolve() for day in days})
    folder = config.run_dir / FOLDER
    labelled = [
        Sample(day.name, day.image_path, folder / f"{day.name}_labelTrainIds.png", TRAIN_IDS, classes) for day in days
    ]
    if processes.is_first and not config.resume:
        _write_labels(config, labelled, classes, processes.device)
    processes.any(False)
    check_labels_are_there(labelled)
    return DataSet("start-labels", "train", folder, tuple(labelled), classes)


def more_days(folder: Path, known: Collection[Path]) -> list[Sample]:
    """The pictures in and below a folder but those that are known, by name; without labels.

    Raises:
        DataSetError: it is no folder, has no picture that is new, or two with one name.
    """
    if not folder.is_dir():
        raise DataSetError(f"data.days: got {folder}, expected a folder of pictures ({', '.join(IMAGE_SUFFIXES)})")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    found: dict[str, Path] = {}
    for path in files:
        name = f"{DAYS}/{path.relative_to(folder).with_suffix('').as_posix()}"
        if name in found:
            raise DataSetError(f"data.days: {path} and {found[name].name} have one name: rename or remove one")
        if path.resolve() not in known:
            found[name] = path
    if not found:
        raise DataSetError(
            f"data.days: {folder} has {len(files)} pictures, and none that the pairs lack: leave the setting out, or "
            f"name a folder with other day pictures ({', '.join(IMAGE_SUFFIXES)})"
        )
    return [Sample(name, path) for name, path in found.items()]


def _write_labels(config: TrainConfig, samples: Sequence[Sample], classes: ClassSet, device: torch.device) -> None:
    labelled = start_labeller(config, classes, device)
    for sample in tqdm(samples, desc="labelling day pictures", unit="file", leave=False, disable=None):
        write_labels(sample, labelled(sample.read_image()))


def write_labels(sample: Sample, labels: Labels) -> None:
    """Write a sample's label map where it has its place."""
    assert sample.label_path is not None, "these samples are made with a place for their labels"
    sample.label_path.parent.mkdir(parents=True, exist_ok=True)
    write_png(sample.label_path, labels)


def check_labels_are_there(samples: Iterable[Sample]) -> None:
    """For a resumed run, which keeps the labels that it began with.

    Raises:
        DataSetError: a file is gone.
    """
    for sample in samples:
        if sample.label_path is None or not sample.label_path.is_file():
            raise DataSetError(f"{sample.label_path}: the labels that this run began with are gone: start anew")


def start_labeller(config: TrainConfig, classes: ClassSet, device: torch.device) -> Callable[[Rgb], Labels]:
    """What ``init`` or the larger teacher is certain of in a picture, as `certain_labels`; read once.

    Raises:
        SettingsError: there is no ``init``, or it has other classes.
        ModelFileError: it cannot be read.
    """
    init, beyond = config.beyond.larger_teacher or config.init, config.beyond
    if init is None:
        raise SettingsError(
            "data.source is required: root of the labelled day images, laid out as Cityscapes; or init: a model that "
            "knows the day, whose certain labels on the day pictures of the pairs take their place"
        )
    require_same_classes(load_metadata(init).classes, classes, "data.classes")
    net = load_weights(init).to(device)
    scales = SCALES if beyond.start_views == "several" else ()
    return lambda rgb: certain_labels(net, rgb, beyond.certain_start, device, config.model.input_size, scales=scales)


@torch.no_grad()
def certain_labels(
    net: DANNet,
    rgb: Rgb,
    threshold: float,
    device: torch.device,
    input_size: tuple[int, int] | None = None,
    *,
    scales: Sequence[float] = (),
) -> Labels:
    """The likeliest classes of a picture where their likelihood is above ``threshold``, 255 elsewhere; H x W uint8.

    Args:
        net: in eval mode, on ``device``.
        rgb: H x W x 3 uint8.
        threshold: 0 to 1.
        device: where to compute.
        input_size: height and width at which ``net`` sees the picture; None = the picture's own.
        scales: of that size, at each of which ``net`` sees the picture and its mirror image; the likelihoods are
            averaged. Empty = once, as it is.
    """
    images = torch.from_numpy(normalize(rgb)).to(device)
    height, width = input_size or rgb.shape[:2]
    views = [(scale, mirrored) for scale in scales for mirrored in (False, True)] or [(1.0, False)]
    seen = [
        _likelihoods(net, images, (round(height * scale), round(width * scale)), mirrored) for scale, mirrored in views
    ]
    confidence, labels = (sum(seen[1:], seen[0]) / len(seen)).max(dim=1)
    certain = torch.where(confidence > threshold, labels, IGNORE_ID)[0].to(torch.uint8)
    result: Labels = certain.cpu().numpy()
    return result


def _likelihoods(net: DANNet, images: Tensor, seen_at: tuple[int, int], mirrored: bool) -> Tensor:
    """1 x K x H x W, of a picture of that size which the network sees at another, perhaps mirrored."""
    size = (images.shape[-2], images.shape[-1])
    if size != seen_at:
        images = functional.interpolate(images, seen_at, mode="bilinear", align_corners=False, antialias=True)
    logits = net(images.flip(-1)).logits.flip(-1) if mirrored else net(images).logits
    if size != seen_at:
        logits = functional.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
    likelihoods: Tensor = logits.float().softmax(dim=1)
    return likelihoods
