"""The command line of a command's settings."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

from dannet_core.errors import SettingsError
from dannet_core.settings.keys import ANY_LENGTH, Key

CONFIG: Final = "--config"
SHOW: Final = "--show"
"""Where the command line keeps which of `SHOWN` is asked for; no setting can have this name."""
SHOWN: Final = {
    "--print-config": "print the settings that would be in force, as a file for --config, and end",
    "--print-schema": "print a JSON schema of such files, with which editors check and complete them, and end",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}: see {self.prog} --help")


def read_command_line(keys: Mapping[str, Key], argv: Sequence[str], prog: str, description: str) -> dict[str, Any]:
    """What is given, by name, as words; `--config` and `SHOW` beside the settings.

    Raises:
        SettingsError: an argument that is not known, or lacks its value.
        SystemExit: with code 0 after printing `--help`.
    """
    parser = _Parser(prog=prog, description=description, allow_abbrev=False)
    add_arguments(parser, keys.values())
    parsed, unknown = parser.parse_known_args([_dashed(word) for word in argv])
    if unknown:
        flags = [key.flag for key in keys.values() if not key.positional] + [CONFIG, *SHOWN, "--help"]
        raise SettingsError(f"unknown argument '{unknown[0]}'{guess(unknown[0].split('=')[0], flags)}")
    return {name: value for name, value in vars(parsed).items() if value not in (None, [])}


def add_arguments(parser: argparse.ArgumentParser, keys: Iterable[Key]) -> list[tuple[Key | None, argparse.Action]]:
    """Give a parser the settings' arguments; returns each beside its setting, None for the one of `--config`."""
    keys = list(keys)
    added: list[tuple[Key | None, argparse.Action]] = []
    for key in keys:
        if key.positional:
            # None is missing for argparse: a file may give it.
            nargs = "*" if key.length == ANY_LENGTH else "?"
            added.append((key, parser.add_argument(key.name, nargs=nargs, help=_help(key))))
    text = "settings to start from; given again, a later file wins"
    config = parser.add_argument(
        CONFIG, action="append", dest=CONFIG, metavar="FILE.yaml", default=argparse.SUPPRESS, help=text
    )
    for flag, shown in SHOWN.items():
        parser.add_argument(flag, dest=SHOW, action="store_const", const=flag, default=argparse.SUPPRESS, help=shown)
    options = [(key, _add_option(parser, key)) for key in keys if not key.positional]
    return [*added, (None, config), *options]


def guess(word: str, known: list[str]) -> str:
    """The end of a message about a name that is not known: the one that was meant, or all there are."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f": did you mean '{near[0]}'?" if near else f", expected one of {', '.join(known)}"


def _add_option(parser: argparse.ArgumentParser, key: Key) -> argparse.Action:
    if key.plain is bool:
        action = argparse.BooleanOptionalAction
        return parser.add_argument(key.flag, dest=key.name, action=action, default=argparse.SUPPRESS, help=_help(key))
    nargs = None if key.length is None else "+" if key.length == ANY_LENGTH else key.length
    metavar = key.name.split(".")[-1].upper()
    shown: Any = tuple(f"{metavar}{i + 1}" for i in range(nargs)) if isinstance(nargs, int) else metavar
    return parser.add_argument(
        key.flag, dest=key.name, nargs=nargs, metavar=shown, default=argparse.SUPPRESS, help=_help(key)
    )


def _dashed(token: str) -> str:
    if not token.startswith("--"):
        return token
    flag, equals, value = token.partition("=")
    return flag.replace("_", "-") + equals + value


def _help(key: Key) -> str:
    text = key.description.replace("%", "%%")
    if key.required:
        return f"{text} [required]"
    return text if key.default in (None, []) else f"{text} [default: {key.default}]"
