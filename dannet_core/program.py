"""A program of verbs: each a module with its settings; every mistake one line on stderr and exit code 2."""

from __future__ import annotations

import difflib
import importlib
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from dannet_core.errors import DannetError
from dannet_core.settings import parse

EXIT_ERROR: Final = 2
EXIT_INTERRUPTED: Final = 130


@dataclass(frozen=True)
class Program:
    """Runs the verb that its first argument names.

    Attributes:
        name: as messages and `--help` show it.
        package: where the verbs' modules are. Each has `DESCRIPTION`, a dataclass `Settings`, `run(settings) -> exit
            code`, and `Presets` where its settings have some (see `dannet_core.settings.parse`).
        verbs: verb to what it does, in a few words.
    """

    name: str
    package: str
    verbs: Mapping[str, str]

    def main(self, argv: Sequence[str]) -> int:
        """Run ``argv``, the verb and its arguments, and return the exit code."""
        if not argv or argv[0] in ("-h", "--help"):
            print(self._usage())
            return 0 if argv else EXIT_ERROR
        if argv[0] not in self.verbs:
            near = difflib.get_close_matches(argv[0], self.verbs, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(self.verbs)}"
            print(f"{self.name}: unknown verb '{argv[0]}': {hint}", file=sys.stderr)
            return EXIT_ERROR
        return self._run(argv[0], argv[1:])

    def _run(self, verb: str, argv: Sequence[str]) -> int:
        name = f"{self.name} {verb}"
        try:
            with _terminated_like_interrupted():
                module = importlib.import_module(f"{self.package}.{verb}")
                presets = getattr(module, "Presets", None)
                code: int = module.run(parse(module.Settings, argv, name, module.DESCRIPTION, presets))
        except DannetError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return EXIT_ERROR
        except KeyboardInterrupt:
            print(f"{name}: interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED
        return code

    def _usage(self) -> str:
        width = max(map(len, self.verbs))
        verbs = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in self.verbs.items())
        return f"usage: {self.name} VERB ...\n\n{verbs}\n\n{self.name} VERB --help shows a verb's options."


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM takes the way of Ctrl-C, so that neither leaves half a file behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
