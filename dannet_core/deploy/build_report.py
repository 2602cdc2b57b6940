"""A build on the terminal: a bar, or lines where nobody watches; never silent."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Final

from tqdm import tqdm

from dannet_core.deploy.build_progress import BuildProgress

LINE_EVERY_S: Final = 10.0


class ProgressReport:
    """Takes a build's progress: a bar on a terminal, elsewhere a line on stderr every ten seconds. Use it in a with."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._said = 0.0

    def __enter__(self) -> ProgressReport:
        return self

    def __call__(self, progress: BuildProgress) -> None:
        """Show how far it is."""
        if sys.stderr.isatty():
            self._draw(progress)
        elif self._said == 0.0 or time.monotonic() - self._said >= LINE_EVERY_S:
            self._said = time.monotonic()
            print(
                f"{progress.fraction:4.0%} {progress.phase} ({progress.elapsed_s:.0f} s)", file=sys.stderr, flush=True
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def _draw(self, progress: BuildProgress) -> None:
        bar = self._bar
        if bar is None:
            bar = tqdm(total=100, bar_format="{desc} |{bar}| {n:.0f} % {elapsed}", dynamic_ncols=True)
            self._bar = bar
        bar.set_description_str(progress.phase[:40].ljust(40), refresh=False)
        bar.n = round(100 * progress.fraction)
        bar.refresh()
