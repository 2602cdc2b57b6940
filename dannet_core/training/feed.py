"""What a run is fed with: its data, checked, and the crops of every step."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Final

from torch import Tensor

from dannet_core.class_set import CITYSCAPES, ClassSet, read_class_set
from dannet_core.data.augmentation import whole_images
from dannet_core.data.class_shares import count_class_shares
from dannet_core.data.loaders import Batch, Decoded, StepSampler, step_loader
from dannet_core.data.rare_classes import RareClassSampler, class_pixels
from dannet_core.data.registry import open_data_set, open_pairs
from dannet_core.data.sample import DataSet, Pair
from dannet_core.errors import SettingsError
from dannet_core.training.checkpoint import Checkpoints
from dannet_core.training.config import TrainConfig
from dannet_core.training.data_identity import identify
from dannet_core.training.distributed import Processes
from dannet_core.training.missing_classes import label_missing_classes
from dannet_core.training.run_files import check_run_folder
from dannet_core.training.start_labels import label_days
from dannet_core.training.step_inputs import Cropper, StepInputs, pair_samples, source_samples

SOURCE_SET: Final = "cityscapes"
TARGET_SET: Final = "dark-zurich"
_SOURCE_ORDER, _TARGET_ORDER, _UNPAIRED_ORDER = 11, 12, 13


class Feed:
    """The inputs of every step of this process.

    Args:
        config: of the run.
        source: labelled samples.
        pairs: day-night pairs; empty while pre-training.
        processes: this process among all.
        counted: the set whose labels are counted for the re-weighting; None = ``source``. The few pixels of a class
            that its makers did not label would make it a very rare class, and the most favoured one.

    Attributes:
        class_shares: of the source, see `ClassShares`.
        identity: which data this is, wherever it lies.
    """

    def __init__(
        self,
        config: TrainConfig,
        source: DataSet,
        pairs: Sequence[Pair],
        processes: Processes,
        counted: DataSet | None = None,
    ) -> None:
        self.class_shares = count_class_shares(counted or source).shares
        self.identity = identify(source, pairs)
        self._config = config
        self._source = source_samples(source.samples)
        self._class_pixels = class_pixels(source) if config.beyond.rare_classes > 0 else None
        self._pairs = pair_samples(pairs) if pairs else None
        of_pairs = {pair.day.image_path for pair in pairs}
        others = [sample for sample in source.samples if sample.image_path not in of_pairs]
        self._unpaired = source_samples(others or source.samples)
        self._share = (processes.rank, processes.count)
        self._device = processes.device
        self._cropper = Cropper(config.crop, config.seed, self._share, _height_at_scale_1(config))

    def inputs(self, first: int, end: int) -> Generator[StepInputs, None, None]:
        """Inputs of the steps from ``first`` to ``end`` - 1; the same whether or not the run was interrupted.

        Raises:
            WorkerError: while iterating: the data does not come.
        """
        with closing(self._both(self._source, first, end)) as decoded:
            for step, source, pairs in decoded:
                yield self._cropper(step, source, pairs)

    def whole_pictures(self, first: int, end: int) -> Generator[Tensor, None, None]:
        """A source picture with two night pictures, whole, as the model will see them; ``batch_size`` times a step.

        Source pictures that are the day of a pair are left out, where there are others: the pairs' place is there by
        night.

        Yields:
            3 x 3 x H x W, ImageNet-normalised, of ``model.input_size``; unset: of the first night picture's size.

        Raises:
            WorkerError: while iterating: the data does not come.
        """
        with closing(self._both(self._unpaired, first, end)) as decoded:
            for _, source, pairs in decoded:
                assert pairs is not None, "statistics of day and night need pairs"
                nights = pairs.images["night"]
                for place, day in enumerate(source.images["source"]):
                    first_night, second = (nights[(place + after) % len(nights)] for after in (0, 1))
                    size = self._config.model.input_size or (first_night.shape[-2], first_night.shape[-1])
                    yield whole_images([day, first_night, second], size)

    def _both(
        self, samples: Decoded[Batch], first: int, end: int
    ) -> Generator[tuple[int, Batch, Batch | None], None, None]:
        with contextlib.ExitStack() as open_loaders:
            order = _SOURCE_ORDER if samples is self._source else _UNPAIRED_ORDER
            source = open_loaders.enter_context(closing(self._batches(samples, order, (first, end))))
            target: Iterator[Batch | None] = itertools.repeat(None)
            if self._pairs:
                target = open_loaders.enter_context(closing(self._batches(self._pairs, _TARGET_ORDER, (first, end))))
            yield from zip(range(first, end), source, target, strict=False)

    def _batches(self, samples: Decoded[Batch], order: int, steps: tuple[int, int]) -> Generator[Batch, None, None]:
        seed = self._config.seed * 100 + order
        sampler = StepSampler(len(samples), self._config.optimiser.batch_size, seed, steps, self._share)
        if order == _SOURCE_ORDER and self._class_pixels is not None:
            sampler = RareClassSampler(
                *(self._class_pixels, self._config.beyond.rare_classes),
                batch_size=self._config.optimiser.batch_size,
                seed=seed,
                steps=steps,
                share=self._share,
            )
        return step_loader(samples, sampler, self._device, self._config.data.workers)


def _height_at_scale_1(config: TrainConfig) -> int | None:
    if not config.crop.of_input_size:
        return None
    if config.model.input_size is None:
        raise SettingsError("crop.of_input_size needs model.input_size, the height and width the model is meant for")
    return config.model.input_size[0]


def open_feed(config: TrainConfig, mode: str, processes: Processes) -> Feed:
    """Check the data and the batch size, and make the feed.

    Raises:
        SettingsError: sizes that do not fit each other, or no target for ``train``.
        DataSetError: something is wrong with the files.
    """
    optimiser = config.optimiser
    shares = processes.count * optimiser.accumulate
    if optimiser.batch_size % shares:
        raise SettingsError(
            f"optimiser.batch_size: got {optimiser.batch_size}, expected a multiple of {shares} "
            f"({processes.count} processes times optimiser.accumulate {optimiser.accumulate})"
        )
    if config.data.days is not None and (config.data.source is not None or mode != "train"):
        raise SettingsError(
            f"data.days: got {config.data.days} for `{mode}` with data.source {config.data.source}, expected `train` "
            "without data.source, where init makes the labels: leave one of them out"
        )
    classes = class_set(config)
    pairs: tuple[Pair, ...] = ()
    if mode == "train":
        if config.data.target is None:
            raise SettingsError("data.target is required: root of the day-night pairs, laid out as Dark Zurich")
        pairs = open_pairs(TARGET_SET, config.data.target, config.data.pairs)
    counted = None
    if config.data.source is not None:
        source = open_data_set(SOURCE_SET, config.data.source, config.data.source_split, classes=classes)
        if mode == "train" and config.beyond.missing_classes:
            _may_write(config)
            source, counted = label_missing_classes(config, source, processes), source
    elif mode == "train":
        _may_write(config)
        source = label_days(config, pairs, classes, processes)
    else:
        raise SettingsError("data.source is required: root of the labelled day images, laid out as Cityscapes")
    return Feed(config, source, pairs, processes, counted)


def _may_write(config: TrainConfig) -> None:
    check_run_folder(config, Checkpoints(config.run_dir / "checkpoints", 1).newest() is not None)


def class_set(config: TrainConfig) -> ClassSet:
    """The class set of a run.

    Raises:
        SettingsError: its file is wrong.
    """
    return CITYSCAPES if config.data.classes is None else read_class_set(config.data.classes)
