"""What a run writes beside its checkpoints: the effective configuration, versions, and models ready to use."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch
import yaml

from dannet_core.atomic_files import write_whole
from dannet_core.errors import OutputError, SettingsError
from dannet_core.metadata import ModelMetadata
from dannet_core.networks import DANNet, save_weights
from dannet_core.networks.discriminator import Discriminator
from dannet_core.networks.weights import save_discriminator
from dannet_core.settings import to_plain
from dannet_core.training.config import TrainConfig

MAY_CHANGE = frozenset(
    {"run_dir", "resume", "device", "watch", "init", "model.backbone_weights", "data.workers", "preset"}
)
"""Settings that a resumed run may have otherwise than the run it continues."""


def prepare_run_folder(config: TrainConfig, has_checkpoint: bool) -> None:
    """Make the folder and write ``config.yaml``.

    Raises:
        SettingsError: the folder holds a run and ``resume`` is not set, or it is and there is none.
        OutputError: the folder cannot be made.
    """
    if has_checkpoint and not config.resume:
        raise SettingsError(f"run_dir: {config.run_dir} holds a run already: add --resume, or choose another folder")
    if config.resume and not has_checkpoint:
        raise SettingsError(f"resume: {config.run_dir} holds no checkpoint: leave --resume out to start one")
    try:
        config.run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{config.run_dir}: cannot make the run folder: {error.strerror}") from error
    versions = f"# dannet_ros run; Python {platform.python_version()}, torch {torch.__version__}\n"
    write_whole(config.run_dir / "config.yaml", (versions + yaml.safe_dump(to_plain(config), sort_keys=False)).encode())


def refuse_other_settings(config: TrainConfig, of_checkpoint: dict[str, Any]) -> None:
    """Raise SettingsError, naming the first, when settings that shape the training differ from the checkpoint's."""
    now, then = _flat(to_plain(config)), _flat(of_checkpoint)
    for key in sorted(now.keys() | then.keys()):
        free = key in MAY_CHANGE or key.split(".")[0] in MAY_CHANGE
        if not free and now.get(key) != then.get(key):
            raise SettingsError(
                f"{key}: got {now.get(key)!r}, but the run to resume has {then.get(key)!r}: set it back, or start anew"
            )


def save_models(
    run_dir: Path, name: str, net: DANNet, metadata: ModelMetadata, discriminators: dict[str, Discriminator]
) -> Path:
    """Write ``NAME.safetensors`` and ``NAME.discriminator_{day,night}.safetensors``."""
    for domain, discriminator in discriminators.items():
        save_discriminator(discriminator, run_dir / f"{name}.discriminator_{domain}.safetensors")
    return save_weights(net, run_dir / f"{name}.safetensors", metadata)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
