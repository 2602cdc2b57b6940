"""A value from a command line or a YAML file, as its setting wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from dannet_core.errors import SettingsError
from dannet_core.settings.keys import ANY_LENGTH, Key

NOTHING: Final = ("none", "null")
"""Words for None on the command line."""
_TYPE_WORDS: Final = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}


def read(key: Key, value: Any) -> Any:
    """The value of the setting's own type.

    Raises:
        SettingsError: of another type, not among its choices, or out of its limits.
    """
    if value is None or (key.optional and value in NOTHING):
        if key.optional:
            return None
        raise SettingsError(f"{key.name}: got nothing, expected {key.plain.__name__}")
    if key.length is None:
        return _read_one(key, value)
    if key.positional and not isinstance(value, list | tuple | dict):
        value = [value]  # a file may name the only one without brackets
    if not isinstance(value, list | tuple) or (key.length != ANY_LENGTH and len(value) != key.length):
        count = "a list" if key.length == ANY_LENGTH else f"{key.length} values"
        raise SettingsError(f"{key.name}: got {value!r}, expected {count} of {key.plain.__name__}")
    items = [_read_one(key, item) for item in value]
    return items if key.length == ANY_LENGTH else tuple(items)


def _read_one(key: Key, value: Any) -> Any:
    result = _convert(key, value)
    if key.choices and result not in key.choices:
        raise SettingsError(f"{key.name}: got '{result}', expected one of {', '.join(key.choices)}")
    if key.limits and not key.limits[0] <= result <= key.limits[1]:
        raise SettingsError(f"{key.name}: got {result}, expected {key.limits[0]:.10g} to {key.limits[1]:.10g}")
    return result


def _convert(key: Key, value: Any) -> Any:
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
