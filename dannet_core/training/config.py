"""Everything a training run can be told; presets set what paper and released code do, and what goes beyond."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from dannet_core.architectures import BACKBONES
from dannet_core.settings import option
from dannet_core.training.beyond_config import BeyondConfig

STATIC_FORMS: Final = ("paper", "focal", "cross_entropy", "official")
PSEUDO_LABELS: Final = ("paper", "official", "fused")
TV_KINDS: Final = ("mean", "released")
EXPOSURE_KINDS: Final = ("l1", "l1_intensity", "released")
GENERATOR_OPTIMISERS: Final = ("sgd", "adamw")
DIVISORS: Final = ("released", "pixels", "pixels_and_classes")
"""The options of losses and optimisers, repeated so that `--help` needs no torch; a test holds them equal."""
_BACKBONES: Final = "; ".join(f"{arch}: {', '.join(backbones)}" for arch, backbones in BACKBONES.items())


@dataclass(frozen=True)
class DataConfig:
    """Where the images are."""

    source: Path | None = option(
        "root of the labelled day images, laid out as Cityscapes; `train` without it takes the day pictures of the "
        "pairs, with what init is certain of as their labels",
        None,
    )
    source_split: str = option("split of the source images", "train")
    target: Path | None = option("root of the day-night pairs, laid out as Dark Zurich; needed by `train`", None)
    days: Path | None = option(
        "folder of more day pictures without labels; `train` without data.source labels them as it does the pairs'",
        None,
    )
    pairs: Path | None = option("CSV of the pairs; unset: the ones below corresp/", None)
    classes: Path | None = option("YAML of a class set; unset: the 19 of Cityscapes", None)
    workers: int = option("decoding processes a loader", 4, limits=(0, 256))


@dataclass(frozen=True)
class ModelConfig:
    """What is trained."""

    arch: str = option("architecture", "pspnet", choices=tuple(BACKBONES))
    backbone: str | None = option(f"{_BACKBONES}; unset: the last", None)
    backbone_weights: str | None = option(
        "what a new backbone starts from: none (random), imagenet (downloaded by torchvision or timm), or a file of "
        "weights under their names or this project's",
        None,
    )
    relighting_width: int = option("channels of the relighting network's first layer; 0 = no relighting", 64)
    relighting_start: str = option(
        "what a new relighting network adds at first: nothing (identity), or something random, as released",
        "identity",
        choices=("identity", "random"),
    )
    discriminator_width: int = option("channels of each discriminator's first layer", 64, limits=(4, 256))
    input_size: tuple[int, int] | None = option(
        "height and width the trained model is meant to run at, also for validation; unset: the picture's own", None
    )
    aspp_branches: int | None = option("deeplabv2: 4 (paper) or 2 (released weights); unset: 4", None)


@dataclass(frozen=True)
class CropConfig:
    """Random crops, heights and widths in pixels."""

    source: tuple[int, int] = option("source crop", (512, 512))
    source_scales: tuple[float, float] = option("smallest and largest random scale of source images", (0.5, 1.0))
    target: tuple[int, int] = option("target crop, shared by a day-night pair", (960, 960))
    target_scales: tuple[float, float] = option("smallest and largest random scale of target images", (0.9, 1.1))
    target_input: tuple[int, int] | None = option(
        "size the target crop is resized to for the networks; unset: not resized. Losses are at the crop's size", None
    )
    of_input_size: bool = option(
        "a scale of 1 is the picture at the height of model.input_size, as the model will see it, not at its own", False
    )


@dataclass(frozen=True)
class LossConfig:
    """Weights and variants of the losses (DANNet, eq. 3 to 13)."""

    light: float = option("weight of the light loss on day and night target images", 0.01)
    light_source: float = option("weight of the light loss on source images", 0.01)
    segmentation: float = option("weight of the source cross-entropy", 1.0)
    static: float = option("weight of the static loss", 1.0)
    adversarial: float = option("weight of the adversarial loss", 0.01)
    static_form: str = option(
        "static loss: paper (3x3 neighbourhood focal), focal, cross_entropy (the pixel's own label), official",
        "paper",
        choices=STATIC_FORMS,
    )
    pseudo_labels: str = option(
        "from the day image (paper), mixed with the night (official), or its static classes where the night has no "
        "other (fused)",
        "paper",
        choices=PSEUDO_LABELS,
    )
    tv: str = option("total variation: mean, or 6 times it as released", "mean", choices=TV_KINDS)
    exposure: str = option(
        "exposure: l1 a channel, l1 of the mean over channels, its square as released", "l1", choices=EXPOSURE_KINDS
    )
    divide_by: str = option(
        "what the cross-entropy is divided by: the weights of the labelled pixels, their number, or N|C| as printed",
        "released",
        choices=DIVISORS,
    )
    gamma: float = option("focusing exponent of the static loss", 1.0, limits=(0, 10))
    reweight_std: float = option("spread of the class weights in training (eq. 2); 0 = no re-weighting", 0.05)
    reweight_pseudo_labels: bool = option("class weights also choose the pseudo labels", True)
    target_losses: bool = option(
        "the paper's passes over the target pictures: adversarial, light and static loss; without them there are no "
        "discriminators",
        True,
    )
    day_domain: bool = option("use the day images of the pairs: day discriminator and pseudo labels", True)
    auxiliary: float = option("weight of the auxiliary head's cross-entropy; 0 = the head is not run", 0.0)


@dataclass(frozen=True)
class OptimiserConfig:
    """How long and how fast."""

    steps: int = option("training steps", 35_000, limits=(1, 10_000_000))
    batch_size: int = option("samples a step of each domain, over all processes", 2, limits=(1, 4096))
    accumulate: int = option("backward passes a step; the batch is split into this many", 1, limits=(1, 4096))
    generator: str = option("of the generator: sgd (paper) or adamw", "sgd", choices=GENERATOR_OPTIMISERS)
    lr: float = option("initial learning rate of the generator", 2.5e-4)
    lr_head: float | None = option(
        "initial learning rate of the segmentation network outside its backbone; unset: lr", None
    )
    lr_relighting: float | None = option(
        "initial learning rate of the relighting network; unset: lr. Far above the paper's its tanh saturates and "
        "every picture gets the same tint",
        None,
    )
    momentum: float = option("momentum of the generator's SGD", 0.9, limits=(0, 1))
    weight_decay: float = option("weight decay of the generator", 5e-4, limits=(0, 1))
    lr_discriminator: float = option("initial learning rate of the discriminators (Adam)", 2.5e-4)
    power: float = option("exponent of the polynomial decay", 0.9, limits=(0, 10))
    precision: str = option("of the networks; losses that need it stay fp32", "fp32", choices=("fp32", "bf16", "fp16"))
    channels_last: bool = option("memory format that GPUs prefer", True)
    compile: bool = option("torch.compile the networks", False)
    sync_batch_norm: bool = option("batch-norm statistics over all processes", False)
    target_statistics: int = option(
        "models that `train` validates and saves get batch-norm statistics estimated on so many batches of night "
        "crops; 0 = the running ones, as in the paper",
        0,
        limits=(0, 100_000),
    )
    freeze_batch_norm: bool = option("keep batch-norm statistics as loaded", False)


@dataclass(frozen=True)
class WatchConfig:
    """What is written while it runs; all periods in steps, 0 = never."""

    log_every: int = option("scalars to the progress bar, metrics.jsonl and TensorBoard", 20)
    panels_every: int = option("pictures to TensorBoard", 500)
    checkpoint_every: int = option("checkpoints", 1000)
    keep: int = option("newest checkpoints to keep", 2, limits=(1, 1000))
    evaluate_every: int = option("evaluation on the validation set", 1000)
    validation: str | None = option("data set to evaluate on: cityscapes, dark-zurich, ...; unset: none", None)
    validation_root: Path | None = option("its root folder; unset: data.source or data.target", None)
    validation_limit: int = option("evaluate on the first so many images; 0 = all", 0)
    tensorboard: bool = option("write TensorBoard files, where tensorboard is installed", True)


@dataclass(frozen=True)
class TrainConfig:
    """A whole run."""

    run_dir: Path = option("folder of the run", Path("runs/dannet"))
    preset: str = option("start from the values of", "paper", choices=("paper", "official", "beyond"))
    init: Path | None = option(".safetensors to start from, e.g. the source-only model", None)
    resume: bool = option("continue from the newest checkpoint in the run folder", False)
    seed: int = option("of weights, order and crops", 0, limits=(0, 2**31 - 1))
    device: str = option("auto, cpu, cuda or cuda:N", "auto")
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    crop: CropConfig = field(default_factory=CropConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    beyond: BeyondConfig = field(default_factory=BeyondConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "paper": {},
        "official": {
            "loss.static_form": "official",
            "loss.pseudo_labels": "official",
            "loss.tv": "released",
            "loss.exposure": "released",
            "loss.light_source": 1.0,
            "optimiser.lr_discriminator": 1e-4,
            "optimiser.steps": 50_000,
            "crop.target_input": (512, 512),
            "model.aspp_branches": 2,
            "model.relighting_start": "random",
        },
        "beyond": {
            "model.relighting_width": 0,
            "loss.target_losses": False,
            "optimiser.generator": "adamw",
            "optimiser.lr": 4e-4,
            "optimiser.weight_decay": 0.01,
            "optimiser.steps": 200,
            "beyond.teacher": 0.95,
            "beyond.night_labels": "fused",
            "beyond.mixing": 1.0,
            "beyond.darkening": 0.75,
            "beyond.one_batch": True,
            "beyond.statistics": 30,
            "beyond.blend": 5,
            "beyond.statistics_of": "whole",
            "beyond.blend_least": 0.7,
            "beyond.blend_most": 0.7,
            "beyond.missing_classes": True,
            "beyond.certain_start": 0.5,
        },
    }
)
"""Preset to the settings it changes; a configuration file and the command line win over it."""
