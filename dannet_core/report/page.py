"""One HTML page with everything inside, plotly.js included: it works without a network and can be mailed.

A template extends ``base.html.j2`` and fills its block ``content``. Whatever a context holds is escaped, except
for what `figure_div` and `data_island` give.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dannet_core.atomic_files import write_whole
from dannet_core.errors import MissingPackageError, require

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

INSTALL: Final = "pip install 'dannet_ros[report]'"
_UNSAFE: Final = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)
_DIGITS: Final = 5


def page_missing() -> str | None:
    """Why no page can be made on this machine, in one line; None where it can."""
    try:
        for module in ("jinja2", "plotly"):
            require(module, "write report pages", INSTALL)
    except MissingPackageError as error:
        return str(error)
    return None


def render_page(template: str, **context: Any) -> str:
    """Fill a template.

    Args:
        template: a file of ``templates/``, e.g. ``bag.html.j2``.
        context: what it names. ``base.html.j2`` wants ``title`` (of the window), ``heading`` and ``subheading`` (above
            the page), ``warnings`` (lines in a box, may be empty) and ``footer``. An unknown name is an error.

    Returns:
        the page. plotly.js is in it once, and only where a chart is.

    Raises:
        MissingPackageError: Jinja2 or Plotly is not installed.
    """
    require("plotly", "write report pages", INSTALL)
    return _environment().get_template(template).render(**context)


def write_page(path: str | Path, page: str) -> Path:
    """Write a page; the file appears whole or not at all.

    Raises:
        OutputError: the folder is missing or cannot be written to, or the disk is full.
    """
    return write_whole(path, page.encode())


def figure_div(figure: Any, about: str, height: int = 320) -> Markup:
    """A Plotly figure as HTML, drawn when it comes into sight.

    A trace with ``meta = {"model": 0}`` is the first model's: hidden while the page shows another one alone.
    A trace whose ``customdata`` are frame numbers makes its points lead to these frames on pages that show frames.
    Texts of a figure may hold Plotly's own few tags: pass names through `plain` first.

    Args:
        figure: a ``plotly.graph_objects.Figure``.
        about: what it shows, for who cannot see it.
        height: in pixels.
    """
    opening = _markup('<figure class="chart" role="group" aria-label="{}" style="--height:{}px">').format(about, height)
    data = figure.to_json().translate(_UNSAFE)
    return opening + _markup(f'<script type="application/json">{data}</script><div></div></figure>')


def data_island(name: str, value: object) -> Markup:
    """Plain values as JSON inside the page, for its scripts: ``JSON.parse(document.getElementById(name).textContent)``.

    Raises:
        ValueError: a number is NaN or infinite, which JSON has not.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).translate(_UNSAFE)
    return _markup('<script type="application/json" id="{}">').format(name) + _markup(f"{text}</script>")


def plain(text: str) -> str:
    """A name for a Plotly figure, whose texts know tags such as ``<b>``: shown as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def short(value: float | None, digits: int = _DIGITS) -> float | None:
    """A number with as many digits as a chart can show; None for None, NaN and infinity."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")


def percent(value: float | None, digits: int = 1) -> str:
    """A share 0..1 in percent; a dash for None."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def milliseconds(value: float | None) -> str:
    """Milliseconds with three digits or so; a dash for None."""
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _markup(text: str) -> Markup:
    """HTML that is written as it stands."""
    require("markupsafe", "write report pages", INSTALL)
    from markupsafe import Markup

    return Markup(text)  # noqa: S704  only this module writes it, and what it puts in is escaped


@functools.cache
def _environment() -> Environment:
    jinja2 = require("jinja2", "write report pages", INSTALL)
    loader = jinja2.PackageLoader("dannet_core.report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=percent, ms=milliseconds)

    def asset(name: str) -> Markup:
        """A style sheet or script of ``templates/`` as it is: their braces are not Jinja's."""
        return _markup(loader.get_source(environment, name)[0])

    def plotly_script() -> Markup:
        from plotly.offline import get_plotlyjs

        return _markup(f"<script>{get_plotlyjs()}</script>")

    globals_: Mapping[str, Any] = {"asset": asset, "plotly_script": plotly_script}
    environment.globals.update(globals_)
    made: Environment = environment
    return made
