"""Charts as pictures, by Matplotlib: for Markdown, papers and slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from dannet_core.atomic_files import whole_file
from dannet_core.errors import MissingPackageError, require
from dannet_core.report.charts import COLORS
from dannet_core.report.page import INSTALL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL_INCHES: Final = 0.4
_DOTS_PER_INCH: Final = 100


def figures_missing() -> str | None:
    """Why no picture of a chart can be drawn on this machine, in one line; None where it can."""
    try:
        require("matplotlib.figure", "draw figures", INSTALL)
    except MissingPackageError as error:
        return str(error)
    return None


def confusion_figure(counts: npt.NDArray[np.int64], names: Sequence[str]) -> Figure:
    """The confusion matrix: every row in percent of its class's labelled pixels, blue = many.

    Args:
        counts: K x (K + 1) pixels: labelled class by predicted class, the last column "unknown".
        names: of the K classes.

    Raises:
        MissingPackageError: Matplotlib is not installed.
    """
    rows, columns = counts.shape
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    figure = _figure(columns * _CELL_INCHES + 1.6, rows * _CELL_INCHES + 1.8)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(columns), [_plain(name) for name in (*names, "unknown")], rotation=90)
    axes.set_yticks(range(rows), [_plain(name) for name in names])
    for tick, total in zip(axes.get_yticklabels(), totals, strict=True):
        tick.set_color("black" if total else "#b0b0b0")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xlabel("rows: labelled, columns: predicted; % of the row's pixels")
    for row, column in np.argwhere(shares >= 0.005):
        share = shares[row, column]
        axes.text(
            column, row, f"{100 * share:.0f}", ha="center", va="center", color="white" if share > 0.5 else "black"
        )
    return figure


def sweep_figure(stds: Sequence[float], series: Mapping[str, Sequence[float]], best: float) -> Figure:
    """Mean IoU over the std of the re-weighting, as Figure 7 of the paper.

    Args:
        stds: rising, at least one.
        series: scores 0..1 by what they are of, one a std.
        best: of the stds.

    Raises:
        MissingPackageError: Matplotlib is not installed.
    """
    figure = _figure(8.2, 4.8)
    axes = figure.add_subplot()
    for (title, scores), color in zip(series.items(), COLORS, strict=False):
        axes.plot(stds, [100 * score for score in scores], "o-", color=color, label=title)
    axes.set_title(f"mIoU by std of the re-weighting; best present: std {best:g}", fontsize=11)
    axes.set_xlabel("std of the re-weighting")
    axes.set_ylabel("mIoU in %")
    axes.set_xticks(stds, [f"{std:g}" for std in stds])
    axes.grid(axis="y", color="#dddddd")
    axes.legend(frameon=False)
    return figure


def save_figure(path: str | Path, figure: Figure) -> Path:
    """Write a figure as its suffix says, ``.png`` or ``.svg``; the file appears whole or not at all.

    Raises:
        OutputError: the folder is missing or cannot be written to, or the disk is full.
    """
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=_DOTS_PER_INCH)
    return Path(path)


def _figure(width: float, height: float) -> Figure:
    # Without pyplot: it would look for a screen.
    figure = require("matplotlib.figure", "draw figures", INSTALL).Figure
    made: Figure = figure(figsize=(width, height), layout="constrained")
    return made


def _plain(name: str) -> str:
    """A name as it is: between dollar signs Matplotlib would read a formula."""
    return name.replace("$", r"\$")
