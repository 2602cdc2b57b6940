"""What a run writes beside its checkpoints: the effective configuration, versions, and models ready to use."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

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
from dannet_core.training.data_identity import Identity, refuse_other_data

_RESUMED: Final = "# resumed"
DATA_PLACES = frozenset({"data.source", "data.target", "data.days", "data.pairs", "data.classes"})
"""Where the data and its class set lie: may change as long as they are the same."""
MAY_CHANGE = frozenset(
    {"run_dir", "resume", "device", "watch", "init", "model.backbone_weights", "data.workers", "preset"}
)
"""Settings that a resumed run may have otherwise than the run it continues."""


def check_run_folder(config: TrainConfig, has_checkpoint: bool) -> None:
    """Compare what is asked for with what the folder holds.

    Raises:
        SettingsError: the folder holds a run and ``resume`` is not set, or it is and there is none.
    """
    if has_checkpoint and not config.resume:
        raise SettingsError(f"run_dir: {config.run_dir} holds a run already: add --resume, or choose another folder")
    if config.resume and not has_checkpoint:
        raise SettingsError(f"resume: {config.run_dir} holds no checkpoint: leave --resume out to start one")


def prepare_run_folder(
    config: TrainConfig, step: int = 0, until_then: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Make the folder and write ``config.yaml``, the settings now in force; comments above them say what they replace.

    Args:
        config: of this run.
        step: after which it is resumed.
        until_then: the settings of the run it continues, as `to_plain` makes them.

    Raises:
        OutputError: the folder cannot be made.
    """
    try:
        config.run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{config.run_dir}: cannot make the run folder: {error.strerror}") from error
    path, plain = config.run_dir / "config.yaml", to_plain(config)
    now, then = _flat(plain), _flat(dict(until_then))
    changed = [
        f"{_RESUMED} after step {step}; until then {key}: {value}"
        for key, value in then.items()
        if key not in ("resume", "run_dir") and now.get(key) != value
    ]
    versions = f"# dannet_ros run; Python {platform.python_version()}, torch {torch.__version__}"
    lines = [versions, *(_history(path) if until_then else []), *changed, yaml.safe_dump(plain, sort_keys=False)]
    write_whole(path, "\n".join(lines).encode())


def _history(path: Path) -> list[str]:
    """The comments that earlier resumptions left in a configuration."""
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith(_RESUMED)]
    except (OSError, UnicodeDecodeError):
        return []


def refuse_other_settings(
    config: TrainConfig, of_checkpoint: dict[str, Any], data: Identity, data_then: Identity | None
) -> None:
    """Compare with the run to resume.

    Args:
        config: of this run.
        of_checkpoint: the settings of that run, as `to_plain` makes them.
        data: identifies the data of this run, wherever it lies.
        data_then: of that run; None where its checkpoint does not say.

    Raises:
        SettingsError: a setting that shapes the training differs, or the data does; names the first.
    """
    # A run of a version that lacked a setting had what is now its default.
    now, then = _flat(to_plain(config)), _flat(to_plain(TrainConfig())) | _flat(of_checkpoint)
    for key in sorted(now.keys() | then.keys()):
        free = key in MAY_CHANGE or key.split(".")[0] in MAY_CHANGE
        if key in DATA_PLACES:
            free = data_then is not None or _same_place(now.get(key), then.get(key))
        if not free and now.get(key) != then.get(key):
            how = "set it back, or start anew"
            if key in DATA_PLACES:
                how = "its checkpoint does not say which files it saw: link the old place to the new one, or start anew"
            raise SettingsError(f"{key}: got {now.get(key)!r}, but the run to resume has {then.get(key)!r}: {how}")
    if data_then is not None:
        refuse_other_data(data, data_then)


def _same_place(now: str | None, then: str | None) -> bool:
    return now is not None and then is not None and Path(now).resolve() == Path(then).resolve()


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
