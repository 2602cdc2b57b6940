"""What a run is made of besides its data: the networks with their optimisers, the validation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dannet_core.architectures import BACKBONES
from dannet_core.class_set import ClassSet, require_same_classes
from dannet_core.classes import reweighting_vector
from dannet_core.data.registry import open_data_set
from dannet_core.data.sample import DataSet, check_labels
from dannet_core.errors import SettingsError
from dannet_core.evaluation.evaluate import evaluate
from dannet_core.inference.backends.pytorch import PyTorchBackend
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.metadata import ModelMetadata
from dannet_core.networks import DANNet, build_dannet
from dannet_core.networks.backbone_weights import library_of, load_backbone_weights
from dannet_core.networks.build import build_discriminator
from dannet_core.networks.deeplabv2 import DeepLabV2
from dannet_core.networks.discriminator import Discriminator
from dannet_core.networks.pspnet import PSPNet
from dannet_core.networks.relighting import Relighting
from dannet_core.networks.weights import load_discriminator, load_metadata, load_weights_into
from dannet_core.training.blending import Blender
from dannet_core.training.config import TrainConfig
from dannet_core.training.distributed import Processes
from dannet_core.training.domain_step import DomainStep, GeneratorForward, Networks
from dannet_core.training.feed import SOURCE_SET, TARGET_SET, class_set
from dannet_core.training.guide import Guides, make_guides
from dannet_core.training.ingredients import Advisers, add_ingredients
from dannet_core.training.optimisers import Rates, discriminator_optimiser, generator_optimiser
from dannet_core.training.precision import Precision
from dannet_core.training.teacher import Teacher


@dataclass
class Adaptation:
    """Networks, their optimisers, and the step that trains them.

    Attributes:
        networks: generator and discriminators.
        metadata: describes the generator.
        optimisers: of the generator, and unless pre-training of the day and the night discriminator.
        precision: of the networks.
        step: computes losses and gradients.
        freeze_batch_norm: keep batch norms in eval mode.
        teacher: follows the generator; None without one.
        blender: of the generator with the start; None without one.
        guides: frozen models that the ingredients ask.
    """

    networks: Networks
    metadata: ModelMetadata
    optimisers: list[Optimizer]
    precision: Precision
    step: DomainStep
    freeze_batch_norm: bool
    teacher: Teacher | None = None
    blender: Blender | None = None
    guides: Guides = field(default_factory=Guides)

    @property
    def deployable(self) -> DANNet:
        """The network to validate and save: the teacher where there is one."""
        return self.networks.net if self.teacher is None else self.teacher.net

    @property
    def discriminators(self) -> dict[str, Discriminator]:
        """The trained discriminators by domain; none while pre-training."""
        return {"day": self.networks.day, "night": self.networks.night} if len(self.optimisers) > 1 else {}

    def parameters(self) -> list[nn.Parameter]:
        """Every parameter that an optimiser moves."""
        return [p for optimiser in self.optimisers for group in optimiser.param_groups for p in group["params"]]

    def use_training_mode(self) -> None:
        """Back to training after an evaluation."""
        for network in (self.networks.net, self.networks.day, self.networks.night):
            network.train()
        if self.freeze_batch_norm:
            for module in self.networks.net.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - the base of all batch norms
                    module.eval()

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {
            "net": self.networks.net.state_dict(),
            "discriminators": {name: network.state_dict() for name, network in self.discriminators.items()},
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "precision": self.precision.state(),
            "teacher": None if self.teacher is None else self.teacher.state(),
            "start": None if self.blender is None else self.blender.state(),
            "guides": self.guides.state(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The reverse of `state`."""
        self.networks.net.load_state_dict(state["net"])
        for name, network in self.discriminators.items():
            network.load_state_dict(state["discriminators"][name])
        for optimiser, values in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(values)
        self.precision.restore(state["precision"])
        if self.teacher is not None:
            self.teacher.restore(state["teacher"])
        if self.blender is not None:
            self.blender.restore(state["start"])
        self.guides.restore(state.get("guides", {}))
        torch.set_rng_state(state["rng"])
        if torch.cuda.is_available() and len(state["cuda_rng"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda_rng"])


class Validation:
    """Measures the network in training on a labelled set.

    Args:
        data_set: the labelled set.
        device: where the network is.
    """

    def __init__(self, data_set: DataSet, device: str) -> None:
        self.name = data_set.name.replace("-", "_")
        self._data_set = data_set
        self._device = device

    def measure(self, net: DANNet, metadata: ModelMetadata) -> dict[str, float]:
        """Mean IoU over the classes present and over all, and pixel accuracy; leaves ``net`` in eval mode."""
        segmenter = NightSegmenter(PyTorchBackend(net, metadata, self._device))
        confusion = evaluate(segmenter, self._data_set, worst=0).confusion
        return {
            "miou_present": confusion.miou_present,
            f"miou_{metadata.num_classes}": confusion.miou_all,
            "pixel_accuracy": confusion.pixel_accuracy,
        }


def open_validation(config: TrainConfig) -> Validation | None:
    """The validation set, or None where none is configured.

    Raises:
        SettingsError: a set without its root.
        DataSetError: something is wrong with the files.
    """
    watch = config.watch
    if watch.validation is None:
        return None
    own_roots = {SOURCE_SET: config.data.source, TARGET_SET: config.data.target}
    root = watch.validation_root or own_roots.get(watch.validation)
    if root is None:
        raise SettingsError("watch.validation_root is required with watch.validation: the data set's root folder")
    data_set = open_data_set(watch.validation, root, classes=class_set(config))
    if watch.validation_limit > 0:
        samples = data_set.samples[: watch.validation_limit]
        data_set = dataclasses.replace(data_set, samples=samples)
    check_labels(data_set)
    device = "cuda" if config.device == "auto" and torch.cuda.is_available() else config.device
    return Validation(data_set, "cpu" if device == "auto" else device)


def build_adaptation(
    config: TrainConfig, mode: str, class_shares: tuple[float, ...], processes: Processes
) -> Adaptation:
    """Build networks (random, or from ``init``), optimisers and the step.

    Raises:
        SettingsError, ModelFileError: the model settings or the ``init`` file are wrong.
    """
    model, optimiser, device = config.model, config.optimiser, processes.device
    classes = class_set(config)
    net = build_dannet(
        model.arch,
        backbone=model.backbone,
        num_classes=len(classes),
        relighting_width=0 if mode == "pretrain" else model.relighting_width,
        aspp_branches=model.aspp_branches if model.arch == "deeplabv2" else None,
    )
    if isinstance(net.relighting, Relighting) and model.relighting_start == "identity":
        net.relighting.start_as_identity()
    day, night = (build_discriminator(len(classes), model.discriminator_width) for _ in range(2))
    if isinstance(net.segmentation, PSPNet | DeepLabV2):
        net.segmentation.run_auxiliary = config.loss.auxiliary > 0
    _start_backbone(config, net, processes)
    _start_from(config, classes, net, day, night)
    if optimiser.sync_batch_norm and processes.count > 1:
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]  # torch's own
    memory_format = torch.channels_last if optimiser.channels_last else torch.contiguous_format
    for network in (net, day, night):
        network.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]  # stubs lack memory_format
    forward = GeneratorForward(net)
    if optimiser.compile:
        forward.compile()
    networks = Networks(net, forward, day, night)
    precision = Precision(optimiser.precision, device)
    weights = torch.from_numpy(reweighting_vector(class_shares, config.loss.reweight_std)).to(device)
    optimisers = [_generator_optimiser(config, net)]
    if mode == "train" and config.loss.target_losses:
        optimisers += [discriminator_optimiser(network, optimiser.lr_discriminator) for network in (day, night)]
    teacher = _teacher(config, net) if mode == "train" else None
    guides = make_guides(config, net, classes, precision) if mode == "train" else Guides()
    domain_step = DomainStep(networks, config.loss, weights, precision, processes, static_classes=classes.static)
    if mode == "train":
        add_ingredients(domain_step, config, networks, Advisers(teacher, guides), precision, classes)
    adaptation = Adaptation(
        networks,
        _metadata(config, mode, classes, class_shares).replace(align_corners=net.align_corners),
        optimisers,
        precision,
        domain_step,
        optimiser.freeze_batch_norm,
        teacher,
        _blender(config, net, classes, processes) if mode == "train" else None,
        guides,
    )
    adaptation.use_training_mode()
    return adaptation


def _teacher(config: TrainConfig, net: DANNet) -> Teacher | None:
    limit = config.beyond.teacher
    return Teacher(net, limit, frozen_norms=config.optimiser.freeze_batch_norm) if limit > 0 else None


def _blender(config: TrainConfig, net: DANNet, classes: ClassSet, processes: Processes) -> Blender | None:
    beyond = config.beyond
    if beyond.patience > 0 and beyond.blend == 0:
        raise SettingsError("beyond.patience goes by the scores of blends: set beyond.blend, e.g. to 10")
    if beyond.blend == 0:
        return None
    if config.init is None:
        raise SettingsError("beyond.blend needs init, the model that is blended in")
    refitted = beyond.statistics_of != "source" and beyond.statistics > 0
    limits = (beyond.blend_least, beyond.blend_most)
    return Blender(net, beyond.certain_start, classes.static, processes, limits, refitted=refitted)


def _generator_optimiser(config: TrainConfig, net: DANNet) -> Optimizer:
    model, optimiser = config.model, config.optimiser
    backbone = library_of(model.arch, model.backbone or BACKBONES[model.arch][-1]).backbone
    rates = Rates(optimiser.lr, optimiser.lr_relighting, optimiser.lr_head, backbone)
    return generator_optimiser(net, rates, optimiser.momentum, optimiser.weight_decay, kind=optimiser.generator)


def _start_backbone(config: TrainConfig, net: DANNet, processes: Processes) -> None:
    """Load ``model.backbone_weights`` and say what was taken; a resumed run has its own."""
    model = config.model
    if model.backbone_weights is None or config.resume:
        return
    if config.init is not None:
        raise SettingsError(
            f"model.backbone_weights, init: got '{model.backbone_weights}' and '{config.init}', expected one of them"
        )
    backbone = model.backbone or BACKBONES[model.arch][-1]
    said = load_backbone_weights(net.segmentation, model.arch, backbone, model.backbone_weights)
    if processes.is_first:
        print(said, flush=True)


def _start_from(config: TrainConfig, classes: ClassSet, net: DANNet, day: Discriminator, night: Discriminator) -> None:
    """Load ``init``: its segmentation network, its relighting network where it has one, discriminators beside it."""
    if config.init is None or config.resume:  # the checkpoint has all of it, and the file may be gone
        return
    metadata = load_metadata(config.init)
    require_same_classes(metadata.classes, classes, "data.classes")
    has_relighting = metadata.relighting_width > 0 and config.model.relighting_width > 0
    load_weights_into(net, config.init, ("relighting", "segmentation") if has_relighting else ("segmentation",))
    for name, discriminator in (("day", day), ("night", night)):
        beside = config.init.with_suffix(f".discriminator_{name}.safetensors")
        if beside.is_file():
            discriminator.load_state_dict(load_discriminator(beside).state_dict())


def _metadata(config: TrainConfig, mode: str, classes: ClassSet, class_shares: tuple[float, ...]) -> ModelMetadata:
    model = config.model
    branches = (model.aspp_branches or 4) if model.arch == "deeplabv2" else 0
    return ModelMetadata(
        arch=model.arch,
        backbone=model.backbone or BACKBONES[model.arch][-1],
        relighting_width=0 if mode == "pretrain" else model.relighting_width,
        aspp_branches=branches,
        input_size=model.input_size,
    ).with_classes(classes, class_shares)
