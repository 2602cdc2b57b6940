"""A program of verbs: each a module with its settings; every mistake one line on stderr and exit code 2."""

from __future__ import annotations

import difflib
import importlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from dannet_core.errors import DannetError, OutputError, SettingsError
from dannet_core.settings import parse
from dannet_core.terminal import give_back, hang_up_once, output_may_go_unread, stop_signals

EXIT_ERROR: Final = 2
EXIT_INTERRUPTED: Final = 130
COMPLETION: Final = "--print-completion"


@dataclass(frozen=True)
class Program:
    """Runs the verb that its first argument names.

    Attributes:
        name: as messages and `--help` show it.
        package: where the verbs' modules are. Each has `DESCRIPTION`, a dataclass `Settings`, `run(settings) -> exit
            code`, and `Presets` where its settings have some (see `dannet_core.settings.parse`).
        verbs: verb to what it does, in a few words.
        command: whether it is installed under its name, so that a shell can complete it.
    """

    name: str
    package: str
    verbs: Mapping[str, str]
    command: bool = False

    def main(self, argv: Sequence[str]) -> int:
        """Run ``argv``, the verb and its arguments, and return the exit code."""
        try:
            with output_may_go_unread():
                return self._dispatch(argv)
        except OutputError as error:  # what was kept back until the end
            print(f"{self.name}: {error}", file=sys.stderr)
            return EXIT_ERROR

    def _dispatch(self, argv: Sequence[str]) -> int:
        if not argv or argv[0] in ("-h", "--help"):
            print(self._usage())
            return 0 if argv else EXIT_ERROR
        if self.command and argv[0].replace("_", "-") == COMPLETION:
            return self._reported(self.name, lambda: self._print_completion(argv[1:]))
        if argv[0] not in self.verbs:
            near = difflib.get_close_matches(argv[0], self.verbs, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(self.verbs)}"
            print(f"{self.name}: unknown verb '{argv[0]}': {hint}", file=sys.stderr)
            return EXIT_ERROR
        return self._reported(f"{self.name} {argv[0]}", lambda: self._run(argv[0], argv[1:]))

    def _run(self, verb: str, argv: Sequence[str]) -> int:
        module = self._module(verb)
        settings = parse(
            module.Settings, argv, f"{self.name} {verb}", module.DESCRIPTION, getattr(module, "Presets", None)
        )
        code: int = module.run(settings)
        return code

    def _print_completion(self, shells: Sequence[str]) -> int:
        from dannet_core.settings.completion import SHELLS, completion_script

        if len(shells) != 1:
            raise SettingsError(f"{COMPLETION}: got {len(shells)} shells, expected one of {', '.join(SHELLS)}")
        verbs = {verb: (text, self._module(verb).Settings) for verb, text in self.verbs.items()}
        print(completion_script(self.name, verbs, shells[0]))
        return 0

    def _module(self, verb: str) -> Any:
        return importlib.import_module(f"{self.package}.{verb}")

    @staticmethod
    def _reported(name: str, work: Callable[[], int]) -> int:
        """The exit code; a mistake is one line on stderr."""
        try:
            with _stopped_like_interrupted():
                return work()
        except DannetError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return EXIT_ERROR
        except KeyboardInterrupt:
            print(f"{name}: interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED

    def _usage(self) -> str:
        width = max(map(len, self.verbs))
        verbs = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in self.verbs.items())
        lines = [f"usage: {self.name} VERB ...\n\n{verbs}\n", f"{self.name} VERB --help shows a verb's options."]
        if self.command:
            lines.append(f"{self.name} {COMPLETION} bash|zsh|fish prints what a shell completes it with.")
        return "\n".join(lines)


@contextmanager
def _stopped_like_interrupted() -> Iterator[None]:
    """SIGTERM and a terminal that closes take the way of Ctrl-C, so that none of them leaves half a file behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    others: list[signal.Signals] = [number for number in stop_signals() if number is not signal.SIGINT]
    before = {number: signal.signal(number, _interrupt) for number in others}
    try:
        yield
    finally:
        give_back(before)


def _interrupt(number: int, _: Any) -> None:
    hang_up_once(number)
    raise KeyboardInterrupt
