"""What a shell needs to complete a program's verbs, options, choices and paths; the scripts are shtab's."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dannet_core.errors import SettingsError, require
from dannet_core.settings.command_line import add_arguments
from dannet_core.settings.keys import keys_of

SHELLS: Final = ("bash", "zsh", "fish")


def completion_script(prog: str, verbs: Mapping[str, tuple[str, type]], shell: str) -> str:
    """The script for one shell; it stands alone, so that a press of TAB starts no Python.

    Args:
        prog: the program's name.
        verbs: what each does, and its settings' dataclass.
        shell: one of `SHELLS`.

    Raises:
        SettingsError: another shell.
        MissingPackageError: shtab is not installed.
    """
    if shell not in SHELLS:
        raise SettingsError(f"--print-completion: got '{shell}', expected one of {', '.join(SHELLS)}")
    shtab: Any = require("shtab", "complete in a shell", "pip install shtab")
    parser = argparse.ArgumentParser(prog=prog)
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("--print-completion", choices=SHELLS, help="print a script that completes in a shell")
    places = parser.add_subparsers()
    for verb, (text, kind) in verbs.items():
        for key, action in add_arguments(places.add_parser(verb, help=text.replace("%", "%%")), keys_of(kind)):
            if key is None or key.plain is Path:
                vars(action)["complete"] = shtab.FILE
            elif key.choices:
                action.choices = key.choices
    script: str = shtab.complete(parser, shell)
    return script
