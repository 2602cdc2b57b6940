"""Charts as Plotly figures: lines over time, histograms, a matrix, bars."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dannet_core.errors import require
from dannet_core.report.page import INSTALL, plain, short

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLORS: Final = ("#2563a8", "#d97b1f", "#7a4fa3", "#2c8a57", "#b03a48", "#4c8fa8")
"""Of the first model, the second, and so on."""
LIVE_COLOR: Final = "#2c8a57"
GREYS: Final = ("#68727d", "#a08a3c", "#5d8a8a")
ROW_HEIGHT: Final = 132
"""Pixels a row of a timeline takes."""
_BINS: Final = 48
_MARKED: Final = 300
"""Up to this many points are marked one by one."""
_ABOVE: Final = 0.24
"""Share of a row that its title takes."""
_BELOW: Final = 0.06
_INK: Final = "#1d2733"
_SOFT: Final = "#5b6876"
_BLUES: Final = ((0.0, "rgb(244,246,249)"), (1.0, "rgb(32,86,169)"))
_LAYOUT: Final = {
    "font": {
        "family": "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif",
        "size": 12,
        "color": _SOFT,
    },
    "paper_bgcolor": "#fff",
    "plot_bgcolor": "#fff",
    "hoverlabel": {"bgcolor": "#fff", "bordercolor": "#aab4bf", "align": "left", "font": {"color": _INK, "size": 12}},
    "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "traceorder": "normal"},
    "colorway": list(COLORS),
}
_AXIS: Final = {
    "gridcolor": "#e9edf1",
    "zerolinecolor": "#aab4bf",
    "linecolor": "#aab4bf",
    "ticks": "",
    "automargin": True,
}


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: in the legend.
        color: as CSS writes it.
        x: in order.
        y: as many; None is a gap.
        frames: the frame of each point, for pages that show frames; empty = none.
        model: which model's it is, counted from 0; None = no one's.
        joined: False draws the points alone, and a gap as a red mark on the axis.
        texts: what is said of each point, instead of the line's name; empty = nothing.
    """

    name: str
    color: str
    x: Sequence[float]
    y: Sequence[float | None]
    frames: Sequence[int] = ()
    model: int | None = None
    joined: bool = True
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class Row:
    """Lines over one axis of values.

    Attributes:
        title: above it, with the unit.
        lines: at least one.
        form: how its values are written, e.g. ``.0%``.
        from_zero: False where small differences matter more than their share of the whole.
    """

    title: str
    lines: Sequence[Line] = field(default_factory=tuple)
    form: str = "~g"
    from_zero: bool = True


def timeline(rows: Sequence[Row], x_title: str) -> Figure:
    """Rows of lines over one axis of time: zooming into one zooms into all.

    Args:
        rows: from top to bottom, at least one.
        x_title: below, with its unit.
    """
    figure = _figure(hovermode="x unified", margin={"l": 56, "r": 14, "t": 44, "b": 44})
    height, named = 1 / len(rows), set[str]()
    for number, row in enumerate(rows):
        domain = [1 - (number + 1 - _BELOW) * height, 1 - (number + _ABOVE) * height]
        axis = "y" if number == 0 else f"y{number + 1}"
        about = {"domain": domain, "tickformat": row.form, "nticks": 5}
        about["rangemode"] = "tozero" if row.from_zero else "normal"
        figure.update_layout({f"yaxis{axis[1:]}": {**_AXIS, **about}})
        figure.add_annotation(
            text=plain(row.title), x=0, y=domain[1], xref="paper", yref="paper", xanchor="left", yanchor="bottom",
            showarrow=False, font={"size": 13, "color": _INK},
        )  # fmt: skip
        for line in row.lines:
            _add_line(figure, line, axis, line.name not in named)
            named.add(line.name)
    last = "y" if len(rows) == 1 else f"y{len(rows)}"
    spikes = {
        "showspikes": True,
        "spikemode": "across",
        "spikethickness": 1,
        "spikecolor": "#aab4bf",
        "spikedash": "solid",
    }
    figure.update_xaxes(**_AXIS, **spikes, anchor=last, title=x_title, ticksuffix="")
    figure.update_layout(showlegend=len(named) > 1)
    return figure


def timeline_height(rows: Sequence[Row]) -> int:
    """Pixels a timeline needs."""
    return 96 + ROW_HEIGHT * len(rows)


def histogram(series: Sequence[tuple[str, str, Sequence[float]]], x_title: str) -> Figure:
    """How often values occur, each series in its colour over the others; the last bin holds everything beyond it.

    Args:
        series: name, colour, values of 0 and more; each is a model's of its own.
        x_title: below, with the unit.
    """
    values = [value for _, _, some in series for value in some]
    # The last percent would press all the others into the first bins.
    top = max(float(np.percentile(values, 99.5)) * 1.05 if values else 1.0, 1e-3)
    edges = np.linspace(0.0, top, _BINS + 1)
    figure = _figure(barmode="overlay", bargap=0.06, margin={"l": 56, "r": 14, "t": 24, "b": 44})
    for number, (name, color, some) in enumerate(series):
        counts = np.histogram(np.minimum(some, top), edges)[0]
        texts = [f"{low:.3g} to {high:.3g} ms" for low, high in itertools.pairwise(edges.tolist())]
        texts[-1] = f"{edges[-2]:.3g} ms and more"
        figure.add_bar(
            x=[short(x) for x in ((edges[:-1] + edges[1:]) / 2).tolist()], y=counts.tolist(), width=top / _BINS * 0.94,
            name=plain(name),
            marker={"color": color, "opacity": 0.72}, hovertext=texts, meta={"model": number},
            hovertemplate="%{y} frames, %{hovertext}",
        )  # fmt: skip
    figure.update_xaxes(**_AXIS, title=x_title, range=[0, top])
    figure.update_yaxes(**_AXIS, title="frames", fixedrange=True)
    figure.update_layout(showlegend=len(series) > 1)
    return figure


def matrix(shares: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """A matrix of shares 0..1 as cells of blue, with percentages.

    Args:
        shares: one list a row.
        rows: names to the left.
        columns: names above.
    """
    texts = [[f"{100 * share:.0f}" if share >= 0.005 else "" for share in row] for row in shares]
    heat = require("plotly.graph_objects", "write report pages", INSTALL).Heatmap(
        z=[[short(share) for share in row] for row in shares], x=[plain(name) for name in columns],
        y=[plain(name) for name in rows], zmin=0, zmax=1, colorscale=_BLUES, xgap=2, ygap=2, showscale=False,
        text=texts, texttemplate="%{text}", hovertemplate="%{y} taken for %{x}: %{z:.2%}<extra></extra>",
    )  # fmt: skip
    figure = _figure(margin={"l": 96, "r": 14, "t": 92, "b": 8})
    figure.add_trace(heat)
    figure.update_xaxes(side="top", tickangle=-55, ticks="", automargin=True, showgrid=False, type="category")
    figure.update_yaxes(autorange="reversed", ticks="", automargin=True, showgrid=False, type="category")
    return figure


def matrix_height(rows: Sequence[str]) -> int:
    """Pixels a matrix needs."""
    return 108 + 25 * len(rows)


def bars(names: Sequence[str], parts: Mapping[str, Sequence[float | None]], x_title: str, *, stacked: bool) -> Figure:
    """Lying bars, one group a name.

    Args:
        names: from top to bottom, all different.
        parts: values by what they are, as many as names; None is no bar.
        x_title: below, with its unit.
        stacked: one behind the other instead of one below the other.
    """
    figure = _figure(barmode="stack" if stacked else "group", margin={"l": 96, "r": 14, "t": 40, "b": 44})
    for number, (part, values) in enumerate(parts.items()):
        figure.add_bar(
            y=[plain(name) for name in names], x=[short(value) for value in values], name=plain(part),
            orientation="h", marker={"color": COLORS[number % len(COLORS)]},
            hovertemplate="%{y}: %{x:.4g}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    figure.update_xaxes(**_AXIS, title=x_title, rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True, type="category")
    figure.update_layout(showlegend=len(parts) > 1)
    return figure


def _figure(**layout: Any) -> Figure:
    made: Figure = require("plotly.graph_objects", "write report pages", INSTALL).Figure()
    made.update_layout(template="none", **_LAYOUT)
    made.update_layout(**layout)
    return made


def _add_line(figure: Figure, line: Line, axis: str, first: bool) -> None:
    common: dict[str, Any] = {
        "name": plain(line.name),
        "legendgroup": line.name,
        "yaxis": axis,
        "hovertemplate": _hover(line),
    }
    common |= {"meta": {"model": line.model}}
    known = [index for index, value in enumerate(line.y) if value is not None]
    if not line.joined:
        gaps = [index for index, value in enumerate(line.y) if value is None]
        figure.add_scatter(
            **common, **_points(line, known), mode="markers", showlegend=first, marker={"color": line.color, "size": 4}
        )
        mark = {"color": "#d03b3b", "symbol": "line-ns-open", "size": 10}
        where = {**_points(line, gaps), "y": [0] * len(gaps)}
        figure.add_scatter(
            **{**common, "hovertemplate": "no label<extra>%{hovertext}</extra>" if line.texts else "no label"},
            **where,
            mode="markers",
            showlegend=False,
            marker=mark,
        )
        return
    mode = "lines+markers" if len(line.y) <= _MARKED else "lines"
    style = {"line": {"color": line.color, "width": 1.6}, "marker": {"color": line.color, "size": 4}}
    figure.add_scatter(**common, **_points(line, range(len(line.y))), **style, mode=mode, showlegend=first)
    alone = [index for index in known if not any(line.y[near] is not None for near in _beside(index, len(line.y)))]
    if mode == "lines" and alone:
        # A point between two gaps has no line to be seen by.
        quiet = {**common, "hovertemplate": None, "hoverinfo": "skip", "marker": style["marker"]}
        figure.add_scatter(**quiet, **_points(line, alone), mode="markers", showlegend=False)


def _hover(line: Line) -> str:
    if line.frames:  # the page fills in the text
        return "%{text}<extra></extra>"
    return "%{y:.4~g}<extra>%{hovertext}</extra>" if line.texts else "%{y:.4~g}<extra>%{fullData.name}</extra>"


def _beside(index: int, count: int) -> list[int]:
    return [near for near in (index - 1, index + 1) if 0 <= near < count]


def _points(line: Line, indices: Sequence[int]) -> dict[str, Any]:
    points: dict[str, Any] = {"x": [short(line.x[i], 8) for i in indices], "y": [short(line.y[i]) for i in indices]}
    points |= {"customdata": [line.frames[i] for i in indices]} if line.frames else {}
    return points | ({"hovertext": [plain(line.texts[i]) for i in indices]} if line.texts else {})
