"""Settings of a command: one dataclass gives its options, its `--help`, its YAML keys and its checks.

Later wins: the dataclass's defaults, then each `--config FILE.yaml`, then `--name value` (`--group.name value` for a
nested dataclass). Every mistake is a `SettingsError` that names the key.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from dannet_core.errors import SettingsError

Settings = TypeVar("Settings")
_MISSING = dataclasses.MISSING


def option(
    text: str,
    default: Any = _MISSING,
    *,
    choices: Sequence[str] = (),
    limits: tuple[float, float] | None = None,
    positional: bool = False,
) -> Any:
    """Declare one setting of a dataclass.

    Args:
        text: what it is, with its unit.
        default: its default; without one it is required.
        choices: the values it may take.
        limits: smallest and largest number it may be.
        positional: given without a flag; the rest of the command line when it is a list.
    """
    metadata = {"text": text, "choices": tuple(choices), "limits": limits, "positional": positional}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


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
        SystemExit: with code 0 after printing `--help`.
    """
    keys = {key.name: key for key in _keys(kind)}
    given = _command_line(keys, list(argv), prog, description)
    values: dict[str, Any] = {}
    for config in given.pop("config", []):
        values |= _flatten(read_yaml(config), keys, config)
    values |= given
    if presets is not None:
        name = _read(keys["preset"], values.get("preset", keys["preset"].field.default))
        values = {**presets[name], **values}
    return _build(kind, values, keys)


def to_plain(settings: Any) -> dict[str, Any]:
    """A settings dataclass as nested plain values, which `yaml.safe_dump` writes and `parse` reads back."""
    return {
        field.name: to_plain(value) if dataclasses.is_dataclass(value) else _plain(value)
        for field in dataclasses.fields(settings)
        for value in (getattr(settings, field.name),)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


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


@dataclass(frozen=True)
class _Key:
    """One setting: its dotted name, its plain type, whether None and a list are allowed, and its field."""

    name: str
    plain: type
    optional: bool
    length: int | None
    field: dataclasses.Field[Any]

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def positional(self) -> bool:
        return bool(self.field.metadata.get("positional"))

    @property
    def required(self) -> bool:
        return self.field.default is _MISSING and self.field.default_factory is _MISSING


_ANY_LENGTH = -1


def _keys(kind: type, prefix: str = "") -> list[_Key]:
    hints = typing.get_type_hints(kind)
    keys: list[_Key] = []
    for field in dataclasses.fields(kind):
        hint, name = hints[field.name], prefix + field.name
        if dataclasses.is_dataclass(hint):
            keys += _keys(typing.cast("type", hint), name + ".")
            continue
        optional = isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)
        if optional:
            hint = next(part for part in typing.get_args(hint) if part is not type(None))
        length = None
        if typing.get_origin(hint) is tuple:
            length, hint = len(typing.get_args(hint)), typing.get_args(hint)[0]
        elif typing.get_origin(hint) is list:
            length, hint = _ANY_LENGTH, typing.get_args(hint)[0]
        keys.append(_Key(name, hint, optional, length, field))
    return keys


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}: see {self.prog} --help")


def _command_line(keys: Mapping[str, _Key], argv: list[str], prog: str, description: str) -> dict[str, Any]:
    parser = _Parser(prog=prog, description=description, allow_abbrev=False)
    for key in keys.values():
        if key.positional:
            parser.add_argument(key.name, nargs="*" if key.length == _ANY_LENGTH else None, help=_help(key))
    parser.add_argument(
        "--config",
        action="append",
        metavar="FILE.yaml",
        default=argparse.SUPPRESS,
        help="settings to start from; given again, a later file wins",
    )
    for key in keys.values():
        if key.positional:
            continue
        if key.plain is bool:
            action = argparse.BooleanOptionalAction
            parser.add_argument(key.flag, dest=key.name, action=action, default=argparse.SUPPRESS, help=_help(key))
        else:
            nargs = None if key.length is None else "+" if key.length == _ANY_LENGTH else key.length
            metavar = key.name.split(".")[-1].upper()
            shown: Any = tuple(f"{metavar}{i + 1}" for i in range(nargs)) if isinstance(nargs, int) else metavar
            parser.add_argument(
                key.flag, dest=key.name, nargs=nargs, metavar=shown, default=argparse.SUPPRESS, help=_help(key)
            )
    parsed, unknown = parser.parse_known_args([_dashed(token) for token in argv])
    if unknown:
        flags = [key.flag for key in keys.values() if not key.positional] + ["--config", "--help"]
        raise SettingsError(f"unknown argument '{unknown[0]}'{_guess(unknown[0].split('=')[0], flags)}")
    return {name: value for name, value in vars(parsed).items() if value not in (None, [])}


def _dashed(token: str) -> str:
    if not token.startswith("--"):
        return token
    flag, equals, value = token.partition("=")
    return flag.replace("_", "-") + equals + value


def _help(key: _Key) -> str:
    metadata = key.field.metadata
    text = str(metadata.get("text", "")).replace("%", "%%")
    if metadata.get("choices"):
        text += f" ({', '.join(metadata['choices'])})"
    if metadata.get("limits"):
        text += " ({:g} to {:g})".format(*metadata["limits"])
    if key.required:
        return f"{text} [required]"
    default = key.field.default if key.field.default is not _MISSING else None
    return text if default is None else f"{text} [default: {default}]"


def _flatten(content: Mapping[str, Any], keys: Mapping[str, _Key], path: str, prefix: str = "") -> dict[str, Any]:
    groups = {name[: name.rindex(".")] for name in keys if "." in name}
    flat: dict[str, Any] = {}
    for part, value in content.items():
        name = prefix + part
        if name in groups and isinstance(value, dict):
            flat |= _flatten(value, keys, path, name + ".")
        elif name in keys:
            flat[name] = value
        else:
            raise SettingsError(f"{path}: unknown key '{name}'{_guess(name, list(keys))}")
    return flat


def _guess(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f": did you mean '{near[0]}'?" if near else f", expected one of {', '.join(known)}"


def _build(kind: type[Settings], values: Mapping[str, Any], keys: Mapping[str, _Key], prefix: str = "") -> Settings:
    hints = typing.get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast("Any", kind)):
        name = prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            arguments[field.name] = _build(hints[field.name], values, keys, name + ".")
        elif name in values:
            arguments[field.name] = _read(keys[name], values[name])
        elif keys[name].required:
            how = field.name.upper() if keys[name].positional else keys[name].flag
            raise SettingsError(f"{how} is required: {field.metadata.get('text', name)}")
    return kind(**arguments)


def _read(key: _Key, value: Any) -> Any:
    if value is None or (key.optional and value in ("none", "null")):
        if key.optional:
            return None
        raise SettingsError(f"{key.name}: got nothing, expected {key.plain.__name__}")
    if key.length is None:
        return _read_one(key, value)
    if key.positional and not isinstance(value, list | tuple | dict):
        value = [value]  # a file may name the only one without brackets
    if not isinstance(value, list | tuple) or (key.length != _ANY_LENGTH and len(value) != key.length):
        count = "a list" if key.length == _ANY_LENGTH else f"{key.length} values"
        raise SettingsError(f"{key.name}: got {value!r}, expected {count} of {key.plain.__name__}")
    items = [_read_one(key, item) for item in value]
    return items if key.length == _ANY_LENGTH else tuple(items)


def _read_one(key: _Key, value: Any) -> Any:
    metadata = key.field.metadata
    result = _convert(key, value)
    choices, limits = metadata.get("choices"), metadata.get("limits")
    if choices and result not in choices:
        raise SettingsError(f"{key.name}: got '{result}', expected one of {', '.join(choices)}")
    if limits and not limits[0] <= result <= limits[1]:
        raise SettingsError(f"{key.name}: got {result}, expected {limits[0]:g} to {limits[1]:g}")
    return result


def _convert(key: _Key, value: Any) -> Any:
    wrong = SettingsError(f"{key.name}: got {value!r}, expected {_TYPE_WORDS.get(key.plain, key.plain.__name__)}")
    if key.plain in (str, Path):
        if isinstance(value, dict | list | bool):
            raise wrong
        return key.plain(str(value))
    if isinstance(value, bool) or key.plain is bool:
        if isinstance(value, bool) and key.plain is bool:
            return value
        raise wrong
    try:
        number = key.plain(value)
    except (TypeError, ValueError) as error:
        raise wrong from error
    if number != number or (key.plain is int and isinstance(value, float) and value != number):
        raise wrong
    return number


_TYPE_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
