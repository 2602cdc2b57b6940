"""`python -m dannet_ros.replay VERB ...`: make_bag and play."""

from __future__ import annotations

import difflib
import importlib
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

from dannet_core.errors import DannetError
from dannet_core.settings import parse

VERBS: Final = {
    "make_bag": "a folder of images or a video, with labels, to a rosbag2",
    "play": "publish a bag's camera topics at the rate of their stamps",
}
"""Each verb is a module here with `DESCRIPTION`, a `Settings` dataclass and `run(settings) -> exit code`."""

EXIT_ERROR: Final = 2
EXIT_INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; a mistake is one line on stderr and exit code 2.

    Args:
        argv: verb and its arguments; None = the process's.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, VERBS))
        print("usage: python -m dannet_ros.replay VERB ...\n")
        print("\n".join(f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()))
        return 0 if arguments else EXIT_ERROR
    verb = arguments[0]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(VERBS)}"
        print(f"dannet_ros.replay: unknown verb '{verb}': {hint}", file=sys.stderr)
        return EXIT_ERROR
    return _run_verb(verb, arguments[1:])


def _run_verb(verb: str, argv: Sequence[str]) -> int:
    # SIGTERM takes the way of Ctrl-C, so that neither leaves half a bag behind.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        module = importlib.import_module(f"dannet_ros.replay.{verb}")
        settings = parse(module.Settings, argv, verb, module.DESCRIPTION)
        code: int = module.run(settings)
    except DannetError as error:
        # The settings parser names the verb itself.
        print(f"{verb}: {str(error).removeprefix(f'{verb}: ')}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print(f"{verb}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    return code


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
