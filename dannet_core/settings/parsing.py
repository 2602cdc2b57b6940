"""From a command line and YAML files to a dataclass of settings, and back."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from dannet_core.errors import SettingsError
from dannet_core.settings.command_line import CONFIG, SHOW, guess, read_command_line
from dannet_core.settings.keys import Key, keys_of
from dannet_core.settings.showing import as_schema, as_yaml, plain
from dannet_core.settings.values import read

Settings = TypeVar("Settings")


def parse(
    kind: type[Settings],
    argv: Sequence[str],
    prog: str,
    description: str,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Read a command line into ``kind``, a dataclass whose fields are made by `option` or are such dataclasses.

    Args:
        kind: the dataclass.
        argv: the arguments, without the program's name.
        prog: the program's name, for `--help` and messages.
        description: what it does, for `--help`.
        presets: values by dotted name that the setting called ``preset`` chooses among; weaker than anything given.

    Raises:
        SettingsError: an unknown option or key, a missing file, a value of the wrong type or out of range.
        SystemExit: with code 0 after printing `--help`, the settings or their schema.
    """
    keys = {key.name: key for key in keys_of(kind)}
    given = read_command_line(keys, argv, prog, description)
    shown = given.pop(SHOW, None)
    if shown == "--print-schema":
        print(json.dumps(as_schema(keys.values(), prog, description), indent=2))
        raise SystemExit(0)
    layers: list[tuple[str, Mapping[str, Any]]] = [
        (path, _flatten(read_yaml(path), keys, path)) for path in given.pop(CONFIG, [])
    ]
    layers.append(("command line", given))
    if presets is not None:
        last = next((layer["preset"] for _, layer in reversed(layers) if "preset" in layer), keys["preset"].default)
        name = read(keys["preset"], last)
        layers.insert(0, (f"preset {name}", presets[name]))
    values = {name: value for _, layer in layers for name, value in layer.items()}
    if shown is not None:
        sources = {name: source for source, layer in layers for name in layer}
        print(as_yaml(keys.values(), values, sources, prog), end="")
        raise SystemExit(0)
    return _build(kind, values, keys)


def to_plain(settings: Any) -> dict[str, Any]:
    """A settings dataclass as nested plain values, which `yaml.safe_dump` writes and `parse` reads back."""
    return {
        field.name: to_plain(value) if dataclasses.is_dataclass(value) else plain(value)
        for field in dataclasses.fields(settings)
        for value in (getattr(settings, field.name),)
    }


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        SettingsError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot read the configuration: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise SettingsError(f"{path}: got {type(content).__name__}, expected a mapping of names to values")
    return content


def _flatten(content: Mapping[str, Any], keys: Mapping[str, Key], path: str, prefix: str = "") -> dict[str, Any]:
    groups = {name[: name.rindex(".")] for name in keys if "." in name}
    flat: dict[str, Any] = {}
    for part, value in content.items():
        name = f"{prefix}{part}"
        if name in groups and isinstance(value, dict):
            flat |= _flatten(value, keys, path, name + ".")
        elif name in groups and value is None:
            continue  # a group of which every line is commented out
        elif name in keys:
            flat[name] = value
        else:
            raise SettingsError(f"{path}: unknown key '{name}'{guess(name, list(keys))}")
    return flat


def _build(kind: type[Settings], values: Mapping[str, Any], keys: Mapping[str, Key], prefix: str = "") -> Settings:
    hints = typing.get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast("Any", kind)):
        name = prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            arguments[field.name] = _build(hints[field.name], values, keys, name + ".")
        elif name in values:
            arguments[field.name] = read(keys[name], values[name])
        elif keys[name].required:
            how = field.name.upper() if keys[name].positional else keys[name].flag
            raise SettingsError(f"{how} is required: {field.metadata.get('text', name)}")
    return kind(**arguments)
