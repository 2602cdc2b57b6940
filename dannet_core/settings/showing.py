"""Settings to look at: those in force as a commented YAML file, and a JSON schema of such files."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from dannet_core.settings.keys import ANY_LENGTH, Key
from dannet_core.settings.values import NOTHING, read

SCHEMA: Final = "http://json-schema.org/draft-07/schema#"
_TYPES: Final[Mapping[type, str | list[str]]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    # `device: 0` is text as well as `device: cpu`.
    str: ["string", "number"],
    Path: ["string", "number"],
}
_COLUMNS: Final = 100


def as_yaml(keys: Iterable[Key], values: Mapping[str, Any], sources: Mapping[str, str], prog: str) -> str:
    """A file that `--config` reads: every setting with its description and where its value comes from.

    Args:
        keys: the settings in order.
        values: given, by name; the others have their defaults.
        sources: who gave each of them.
        prog: the program.

    Raises:
        SettingsError: a value is wrong.
    """
    lines = [f"# {prog}: the settings in force. A line's end in [] says who set it; the others have their defaults."]
    groups: list[str] = []
    for key in keys:
        *inside, name = key.name.split(".")
        if inside != groups:
            shared = next((n for n, pair in enumerate(zip(inside, groups, strict=False)) if len(set(pair)) > 1),
                          min(len(inside), len(groups)))  # fmt: skip
            lines += ["", *("  " * depth + f"{inside[depth]}:" for depth in range(shared, len(inside)))]
            groups = inside
        lines += [("  " * len(inside) + line) for line in _entry(key, name, values, sources.get(key.name))]
    return "\n".join(lines) + "\n"


def _entry(key: Key, name: str, values: Mapping[str, Any], source: str | None) -> list[str]:
    text = key.description if source is None else f"{key.description} [{source}]"
    comment = [f"# {line}" for line in textwrap.wrap(text, _COLUMNS, break_long_words=False, break_on_hyphens=False)]
    if key.name not in values and key.required:
        return [*comment, f"# {name}:  required"]
    value = plain(read(key, values[key.name]) if key.name in values else key.default)
    return [*comment, f"{name}: {_scalar_or_list(value)}"]


def _scalar_or_list(value: Any) -> str:
    """On one line; as an item of a list, because a value alone would end its document."""
    texts = value if isinstance(value, list) else [value]
    style = '"' if any(isinstance(text, str) and not text.isprintable() for text in texts) else None
    text: str = yaml.safe_dump(
        [value], default_flow_style=True, default_style=style, allow_unicode=True, width=float("inf")
    )
    return text.strip()[1:-1]


def plain(value: Any) -> Any:
    """A setting's value as YAML and JSON have it."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def as_schema(keys: Iterable[Key], prog: str, description: str) -> dict[str, Any]:
    """A JSON schema, draft 7, of the files that `--config` reads; a file need not give what the command line can.

    Args:
        keys: the settings in order.
        prog: the program.
        description: what it does.
    """
    root = {"$schema": SCHEMA, "title": f"{prog} --config", "description": description} | _group()
    for key in keys:
        *inside, name = key.name.split(".")
        place = root["properties"]
        for part in inside:
            place = place.setdefault(part, _group(or_nothing=True))["properties"]
        place[name] = _schema_of(key)
    return root


def _group(*, or_nothing: bool = False) -> dict[str, Any]:
    kind: Any = ["object", "null"] if or_nothing else "object"
    return {"type": kind, "additionalProperties": False, "properties": {}}


def _schema_of(key: Key) -> dict[str, Any]:
    schema: dict[str, Any] = {"enum": list(key.choices)} if key.choices else {"type": _TYPES[key.plain]}
    if key.limits:
        schema |= {"minimum": key.limits[0], "maximum": key.limits[1]}
    if key.length is not None:
        schema = {"type": "array", "items": schema}
        if key.length != ANY_LENGTH:
            schema |= {"minItems": key.length, "maxItems": key.length}
    if key.optional:
        schema = {"anyOf": [schema, {"enum": [None, *NOTHING]}]}
    schema["description"] = key.description
    if not key.required:
        schema["default"] = plain(key.default)
    return schema
