"""How a dataclass declares its settings, and what is known of each."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

ANY_LENGTH: Final = -1
_MISSING: Final = dataclasses.MISSING


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


@dataclass(frozen=True)
class Key:
    """One setting.

    Attributes:
        name: with the groups it is in, separated by dots.
        plain: its type, or that of its items.
        optional: whether None is allowed.
        length: None for a single value, else the number of items, or `ANY_LENGTH`.
        field: the dataclass's.
    """

    name: str
    plain: type
    optional: bool
    length: int | None
    field: dataclasses.Field[Any]

    @property
    def flag(self) -> str:
        """As the command line has it."""
        return "--" + self.name.replace("_", "-")

    @property
    def positional(self) -> bool:
        """Whether it is given without a flag."""
        return bool(self.field.metadata.get("positional"))

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.field.default is _MISSING and self.field.default_factory is _MISSING

    @property
    def default(self) -> Any:
        """The default; None where there is none."""
        if self.field.default_factory is not _MISSING:
            return self.field.default_factory()
        return None if self.field.default is _MISSING else self.field.default

    @property
    def choices(self) -> tuple[str, ...]:
        """The values it may take; empty when there is no list of them."""
        return tuple(self.field.metadata.get("choices", ()))

    @property
    def limits(self) -> tuple[float, float] | None:
        """Smallest and largest number it may be."""
        limits: tuple[float, float] | None = self.field.metadata.get("limits")
        return limits

    @property
    def description(self) -> str:
        """What it is, with its unit, choices and limits."""
        text = str(self.field.metadata.get("text", ""))
        if self.choices:
            text += f" ({', '.join(self.choices)})"
        if self.limits:
            text += " ({:.10g} to {:.10g})".format(*self.limits)
        return text


def keys_of(kind: type, prefix: str = "") -> list[Key]:
    """The settings of a dataclass in its order, those of the dataclasses in it in their places."""
    hints = typing.get_type_hints(kind)
    keys: list[Key] = []
    for field in dataclasses.fields(kind):
        hint, name = hints[field.name], prefix + field.name
        if dataclasses.is_dataclass(hint):
            keys += keys_of(typing.cast("type", hint), name + ".")
            continue
        optional = isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)
        if optional:
            hint = next(part for part in typing.get_args(hint) if part is not type(None))
        length = None
        if typing.get_origin(hint) is tuple:
            length, hint = len(typing.get_args(hint)), typing.get_args(hint)[0]
        elif typing.get_origin(hint) is list:
            length, hint = ANY_LENGTH, typing.get_args(hint)[0]
        keys.append(Key(name, hint, optional, length, field))
    return keys
