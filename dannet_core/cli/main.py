"""`dannet VERB ...`, `python -m dannet_core VERB ...` and `ros2 run dannet_core VERB ...`: one program."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from typing import Final

from dannet_core.errors import DannetError
from dannet_core.settings import parse

VERBS: Final = {
    "pretrain": "the source-only segmentation network on labelled day images",
    "train": "DANNet's adaptation to the night",
    "evaluate": "mIoU and the per-class table on labelled data sets; JSON, Markdown, figures",
    "predict": "images, a folder or a video to labels, colours, overlay",
    "import_weights": "the released DANNet checkpoints to .safetensors",
    "export": ".safetensors to .onnx, checked against PyTorch",
    "toy_city": "write a miniature night drive with labels",
}
"""Each verb is a module here with `DESCRIPTION`, a `Settings` dataclass, `run(settings) -> exit code`, and `Presets`
where its settings have some."""

EXIT_ERROR: Final = 2
EXIT_INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; a mistake is one line on stderr and exit code 2.

    Args:
        argv: verb and its arguments; None = the process's.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else EXIT_ERROR
    if arguments[0] == "--version":
        from dannet_core import __version__

        print(__version__)
        return 0
    return run_verb(arguments[0], arguments[1:])


def run_verb(verb: str, argv: Sequence[str]) -> int:
    """Run ``verb`` with ``argv`` and turn errors into an exit code."""
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(VERBS)}"
        print(f"dannet: unknown verb '{verb}': {hint}", file=sys.stderr)
        return EXIT_ERROR
    try:
        module = importlib.import_module(f"dannet_core.cli.{verb}")
        presets = getattr(module, "Presets", None)
        settings = parse(module.Settings, argv, f"dannet {verb}", module.DESCRIPTION, presets)
        code: int = module.run(settings)
    except DannetError as error:
        print(f"dannet {verb}: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print(f"dannet {verb}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return code


def _usage() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in VERBS.items())
    return (
        f"usage: dannet VERB ...\n\n{verbs}\n\ndannet VERB --help shows a verb's options; dannet --version the version."
    )
