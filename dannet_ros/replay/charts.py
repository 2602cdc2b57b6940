"""Charts as SVG text: lines over time, histograms, a matrix. No script, no file beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

WIDTH: Final = 1040
HEIGHT: Final = 214
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 40
_MAX_POINTS: Final = 1000
"""Points drawn a line; longer ones are thinned so that every extreme stays."""
_BINS: Final = 48
_DOTTED: Final = 120
"""Up to this many points are marked one by one."""
_X_TICKS: Final = 10

Point = tuple[float, float | None]


class Series(NamedTuple):
    """A line: its name, CSS colour, and (x, y) in the order of x; y None is a gap.

    With ``joined`` False only the points are drawn, and a gap is a red mark on the axis.
    """

    name: str
    color: str
    points: Sequence[Point]
    joined: bool = True


@dataclass(frozen=True)
class Axes:
    """Where values fall on the picture.

    Attributes:
        x_low, x_high, y_low, y_high: limits of the values.
    """

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        """Pixels from the left."""
        span = max(self.x_high - self.x_low, 1e-9)
        return _LEFT + (value - self.x_low) / span * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        span = max(self.y_high - self.y_low, 1e-9)
        return HEIGHT - _BOTTOM - (value - self.y_low) / span * (HEIGHT - _TOP - _BOTTOM)


def line_chart(series: Sequence[Series], x_title: str, y_title: str, y_text: Callable[[float], str]) -> str:
    """Lines over one axis that starts at 0 upwards.

    Args:
        series: at least one with a point.
        x_title: below, with its unit.
        y_title: for readers of the chart's description.
        y_text: how a y tick is written.
    """
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points if y is not None]
    ticks = nice_ticks(0.0, max(ys, default=1.0))
    axes = Axes(min(xs, default=0.0), max(xs, default=1.0), 0.0, ticks[-1])
    parts = [_grid(axes, ticks, y_text), _x_axis(axes, nice_ticks(axes.x_low, axes.x_high, _X_TICKS), x_title)]
    parts += [_line(one, axes) if one.joined else _dots(one, axes) for one in series]
    return _svg("".join(parts), f"{y_title} over {x_title}")


def histogram(series: Sequence[tuple[str, str, Sequence[float]]], x_title: str) -> str:
    """How often values occur, each series in its colour, drawn over one another.

    Args:
        series: name, CSS colour, values of 0 and more; at least one value.
        x_title: below, with the unit.
    """
    values = [value for _, _, some in series for value in some]
    # The last percent would press all the others into the first bins.
    top = nice_ticks(0.0, float(np.percentile(values, 99.5)) if values else 1.0)[-1]
    edges = np.linspace(0.0, top, _BINS + 1)
    counts = [np.histogram(np.minimum(some, top), edges)[0] for _, _, some in series]
    ticks = nice_ticks(0.0, float(max(int(one.max()) for one in counts)), whole=True)
    axes = Axes(0.0, top, 0.0, ticks[-1])
    parts = [_grid(axes, ticks, lambda value: f"{value:g}"), _x_axis(axes, nice_ticks(0.0, top, _X_TICKS), x_title)]
    for (name, color, _), one in zip(series, counts, strict=True):
        for (low, high), count in zip(pairwise(edges.tolist()), one.tolist(), strict=True):
            if count:
                label = f"{name}: {count} frames, {low:.3g} to {high:.3g} ms" + (" and more" if high == top else "")
                left, y = axes.x(low) + 0.5, axes.y(count)
                shape = f'x="{left:.1f}" y="{y:.1f}" width="{axes.x(high) - left - 0.5:.1f}" '
                shape += f'height="{HEIGHT - _BOTTOM - y:.1f}" fill="{color}" fill-opacity="0.72"'
                parts.append(f"<rect {shape}><title>{escape(label)}</title></rect>")
    return _svg("".join(parts), f"frames by {x_title}")


def matrix(shares: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str]) -> str:
    """A matrix of shares 0..1 as cells of blue, with percentages.

    Args:
        shares: one list a row.
        rows: names to the left.
        columns: names above, written upwards.
    """
    cell_width, cell_height, left, top = 44, 24, 104, 92
    parts = []
    for column, name in enumerate(columns):
        x, y = left + column * cell_width + cell_width / 2 + 4, top - 8
        parts.append(f'<text x="{x}" y="{y}" transform="rotate(-55 {x} {y})">{escape(name)}</text>')
    for row, (name, values) in enumerate(zip(rows, shares, strict=True)):
        y = top + row * cell_height
        parts.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{escape(name)}</text>')
        for column, share in enumerate(values):
            x = left + column * cell_width
            fill = f"rgb({round(244 - 212 * share)},{round(246 - 160 * share)},{round(249 - 80 * share)})"
            about = f"{name} taken for {columns[column]}: {share:.2%}"
            cell = f'x="{x + 1}" y="{y + 1}" width="{cell_width - 2}" height="{cell_height - 2}" rx="2" fill="{fill}"'
            parts.append(f"<rect {cell}><title>{escape(about)}</title></rect>")
            if share >= 0.005:
                ink = "#fff" if share > 0.5 else "#1d2733"
                at = f'x="{x + cell_width / 2}" y="{y + 16}"'
                parts.append(f'<text {at} text-anchor="middle" style="fill:{ink}">{100 * share:.0f}</text>')
    size = (left + cell_width * len(columns) + 44, top + cell_height * len(rows) + 6)
    return _svg("".join(parts), "confusion matrix", size)


def nice_ticks(low: float, high: float, count: int = 5, *, whole: bool = False) -> list[float]:
    """About ``count`` round numbers, ``whole`` ones where asked, from ``low`` or below to ``high`` or above."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low, low + 1.0]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    step = float(math.ceil(step)) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _grid(axes: Axes, ticks: Sequence[float], text: Callable[[float], str]) -> str:
    parts = []
    for tick in ticks:
        y = axes.y(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(text(tick))}</text>')
    return "".join(parts)


def _x_axis(axes: Axes, ticks: Sequence[float], title: str) -> str:
    base = HEIGHT - _BOTTOM
    parts = [f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>']
    for tick in ticks:
        if axes.x_low - 1e-9 <= tick <= axes.x_high + 1e-9:
            x = axes.x(tick)
            parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>')
            parts.append(f'<text x="{x:.1f}" y="{base + 17}" text-anchor="middle">{tick:g}</text>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text class="title" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(title)}</text>')
    return "".join(parts)


def _line(series: Series, axes: Axes) -> str:
    parts: list[str] = []
    for run in _runs(_thinned(series.points)):
        if len(series.points) <= _DOTTED or len(run) == 1:
            parts += [_dot(axes, x, y, series.color) for x, y in run]
        points = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in run)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{series.color}" stroke-width="1.6"/>')
    return "".join(parts)


def _dots(series: Series, axes: Axes) -> str:
    """All points as one path, all gaps as another: an hour of frames must not become a hundred megabytes."""
    dots = "".join(f"M{axes.x(x):.1f} {axes.y(y):.1f}h0" for x, y in series.points if y is not None)
    gaps = "".join(f"M{axes.x(x):.1f} {HEIGHT - _BOTTOM}v-12" for x, y in series.points if y is None)
    shape = f'd="{dots}" stroke="{series.color}" stroke-width="4.2" stroke-linecap="round" fill="none"'
    return f'<path {shape}/><path class="gap" d="{gaps}"/>'


def _dot(axes: Axes, x: float, y: float, color: str) -> str:
    return f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="2.1" fill="{color}"/>'


def _runs(points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    """Stretches without a gap."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is not None:
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    if len(points) <= _MAX_POINTS:
        return points
    kept: list[Point] = []
    for block in np.array_split(np.arange(len(points)), _MAX_POINTS // 2):
        known = [index for index in block.tolist() if points[index][1] is not None]
        if not known:
            kept.append(points[int(block[0])])
            continue
        by_value = sorted(known, key=lambda index: points[index][1] or 0.0)
        kept += [points[index] for index in sorted({by_value[0], by_value[-1]})]
    return kept


def _svg(content: str, about: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> str:
    width, height = size
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(about)}">{content}</svg>'
