import itertools

import pytest

go = pytest.importorskip("plotly.graph_objects", reason="plotly is not installed")

from dannet_core.report.charts import Line, Row, bars, histogram, matrix, timeline  # noqa: E402


def line(y: list[float | None], **more) -> Line:
    return Line("a", "#123456", [float(i) for i in range(len(y))], y, **more)


def test_a_gap_divides_a_line_and_points_lead_to_their_frames() -> None:
    (trace,) = timeline([Row("y", [line([1.0, 2.0, None, 3.0], frames=[7, 8, 9, 10], model=1)])], "s").data
    assert list(trace.y) == [1.0, 2.0, None, 3.0]
    assert not trace.connectgaps
    assert (list(trace.customdata), trace.meta) == ([7, 8, 9, 10], {"model": 1})


def test_rows_share_one_axis_of_time_and_lie_one_below_the_other() -> None:
    figure = timeline([Row(title, [line([1.0, 2.0])]) for title in "abc"], "s")
    assert {trace.xaxis for trace in figure.data} == {None}
    assert [trace.yaxis for trace in figure.data] == ["y", "y2", "y3"]
    domains = [figure.layout[axis].domain for axis in ("yaxis", "yaxis2", "yaxis3")]
    assert all(0 <= low < high <= 1 for low, high in domains)
    assert all(upper[0] > lower[1] for upper, lower in itertools.pairwise(domains))
    assert figure.layout.xaxis.anchor == "y3"
    assert [trace.showlegend for trace in figure.data] == [True, False, False]


def test_a_point_between_two_gaps_is_marked_on_a_long_line() -> None:
    y: list[float | None] = [1.0] * 400
    y[100] = y[102] = None
    whole, alone = timeline([Row("y", [line(y)])], "s").data
    assert (whole.mode, alone.mode) == ("lines", "markers")
    assert (list(alone.x), list(alone.y)) == ([101.0], [1.0])


def test_points_alone_mark_what_is_missing_on_the_axis() -> None:
    dots, gaps = timeline([Row("y", [line([1.0, None, None, 2.0], joined=False)])], "s").data
    assert (list(dots.x), list(dots.y)) == ([0.0, 3.0], [1.0, 2.0])
    assert (list(gaps.x), list(gaps.y)) == ([1.0, 2.0], [0, 0])
    assert dots.mode == gaps.mode == "markers"


def test_a_histogram_holds_every_value_and_says_that_its_last_bin_is_open() -> None:
    figure = histogram([("<a&b>", "#111111", [1.0] * 300 + [2.0] * 200 + [500.0]), ("b", "#222222", [3.0] * 7)], "ms")
    assert [sum(trace.y) for trace in figure.data] == [501, 7]
    assert figure.data[0].y[-1] == 1
    assert figure.data[0].hovertext[-1].endswith("and more")
    assert figure.data[0].name == "&lt;a&amp;b&gt;"
    assert [trace.meta["model"] for trace in figure.data] == [0, 1]


def test_a_matrix_shows_percentages_of_what_is_there() -> None:
    (heat,) = matrix([[0.75, 0.25, 0.001]], ["road"], ["road", "sky", "<b>"]).data
    assert [list(row) for row in heat.text] == [["75", "25", ""]]
    assert [list(row) for row in heat.z] == [[0.75, 0.25, 0.001]]
    assert (heat.zmin, heat.zmax, heat.x[2]) == (0, 1, "&lt;b&gt;")


@pytest.mark.parametrize("stacked", [True, False])
def test_bars_are_one_group_a_name(stacked: bool) -> None:
    figure = bars(["one", "two"], {"p50": [1.0, 2.0], "p99": [3.0, None]}, "ms", stacked=stacked)
    assert [(trace.name, list(trace.x)) for trace in figure.data] == [("p50", [1.0, 2.0]), ("p99", [3.0, None])]
    assert figure.layout.barmode == ("stack" if stacked else "group")
