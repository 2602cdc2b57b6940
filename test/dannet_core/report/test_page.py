import json
import subprocess
import sys
from html.parser import HTMLParser

import pytest

go = pytest.importorskip("plotly.graph_objects", reason="plotly is not installed")
jinja2 = pytest.importorskip("jinja2", reason="jinja2 is not installed")

from dannet_core.report import page  # noqa: E402

CONTEXT = {"title": "t", "heading": "h", "subheading": "s", "warnings": [], "footer": "f"}
NASTY = "</script><script>alert(1)</script><!-- & \u2028 \"'"


class Islands(HTMLParser):
    """The texts of the scripts of a page, by type."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.inside: str | None = None
        self.texts: list[tuple[str, str]] = []
        self.labels: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.labels += [value or "" for name, value in attributes if name == "aria-label"]
        self.inside = (dict(attributes).get("type") or "code") if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts.append((self.inside, data))


@pytest.fixture
def render(monkeypatch: pytest.MonkeyPatch):
    """Render a template given as text, which extends the base."""

    def made(text: str, **context: object) -> str:
        environment = page._environment()
        loaders = [
            jinja2.DictLoader({"mine": '{% extends "base.html.j2" %}{% block content %}' + text + "{% endblock %}"})
        ]
        monkeypatch.setattr(environment, "loader", jinja2.ChoiceLoader([*loaders, environment.loader]))
        return page.render_page("mine", **{**CONTEXT, **context})

    return made


def test_plotly_is_inside_once_and_only_where_a_chart_is(render) -> None:
    figure = page.figure_div(go.Figure(go.Scatter(x=[1], y=[2])), "about")
    assert render("{{ a }}{{ b }}", a=figure, b=figure).count("plotly.js v") == 1
    without = render("<p>no chart</p>")
    assert "plotly.js v" not in without
    assert len(without) < 20_000


def test_whatever_a_context_holds_is_escaped(render) -> None:
    text = render("<p>{{ name }}</p>", name=NASTY, heading=NASTY, warnings=[NASTY])
    assert "alert(1)</script>" not in text
    assert text.count("&lt;script&gt;alert(1)") == 3


def test_data_and_figures_keep_their_texts_and_cannot_end_their_script(render) -> None:
    figure = go.Figure(go.Scatter(x=[1], y=[2], name=NASTY))
    text = render("{{ d }}{{ f }}", d=page.data_island("data", {"name": NASTY}), f=page.figure_div(figure, NASTY))
    islands = Islands(text)
    data, drawn = (json.loads(content) for kind, content in islands.texts if kind == "application/json")
    assert data == {"name": NASTY}
    assert drawn["data"][0]["name"] == NASTY
    assert NASTY in islands.labels
    assert "alert(1)</script>" not in text


def test_data_without_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        page.data_island("data", [float("nan")])


def test_an_unknown_name_in_a_template_is_an_error(render) -> None:
    with pytest.raises(jinja2.UndefinedError, match="forgotten"):
        render("{{ forgotten }}")


def test_a_name_in_a_figure_is_shown_as_it_is() -> None:
    assert page.plain("<b>a&b</b>") == "&lt;b&gt;a&amp;b&lt;/b&gt;"


@pytest.mark.parametrize(
    ("value", "text"), [(None, None), (float("nan"), None), (float("inf"), None), (0.123456789, 0.12346), (2.0, 2.0)]
)
def test_numbers_of_a_chart_are_short(value: float | None, text: float | None) -> None:
    assert page.short(value) == text


def test_numbers_in_words() -> None:
    assert (page.percent(0.1234), page.percent(0.1234, 2), page.percent(None)) == ("12.3 %", "12.34 %", "-")
    assert (page.milliseconds(12.34), page.milliseconds(123.4), page.milliseconds(None)) == ("12.3", "123", "-")


@pytest.mark.parametrize("missing", ["jinja2", "plotly"])
def test_a_missing_package_is_one_line_that_says_what_to_install(missing: str) -> None:
    code = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {missing!r}:
            raise ImportError("blocked", name={missing!r})
sys.meta_path.insert(0, Block())
from dannet_core.errors import MissingPackageError
from dannet_core.report.page import page_missing, render_page
try:
    render_page("base.html.j2")
except MissingPackageError as error:
    print(error)
print(page_missing())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    said = f"{missing} is needed to write report pages but cannot be imported: pip install 'dannet_ros[report]'"
    assert done.stdout.splitlines()[-1] == said
    assert said in done.stdout.splitlines()[0]


def test_nothing_of_it_is_imported_before_it_is_needed() -> None:
    code = """
import sys
import dannet_core.cli.main, dannet_core.cli.evaluate, dannet_core.cli.benchmark, dannet_ros.replay.evaluate_bag
print(sorted({name.split(".")[0] for name in sys.modules} & {"jinja2", "plotly", "matplotlib"}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "[]"
