import itertools
import re
import xml.etree.ElementTree as ET

import pytest

from dannet_ros.replay.charts import Series, histogram, line_chart, matrix, nice_ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.93, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 37, [0, 10, 20, 30, 40]),
        (0, 1234, [0, 250, 500, 750, 1000, 1250]),
        (3, 3, [3, 4]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(("high", "step"), [(1, 1), (3, 1), (7, 2), (11, 3), (60, 20)])
def test_counts_have_whole_ticks(high: float, step: float) -> None:
    ticks = nice_ticks(0, high, whole=True)
    assert {b - a for a, b in itertools.pairwise(ticks)} == {step}
    assert ticks[-1] >= high


def shapes(svg: str, name: str) -> list[dict[str, str]]:
    return [element.attrib for element in ET.fromstring(svg).iter() if element.tag == name]  # noqa: S314


def text(value: float) -> str:
    return f"{value:g}"


def test_a_gap_divides_a_line() -> None:
    points = [(0.0, 1.0), (1.0, 2.0), (2.0, None), (3.0, 1.0), (4.0, 3.0), (5.0, 2.0)]
    lines = shapes(line_chart([Series("a", "#123456", points)], "s", "y", text), "polyline")
    assert [len(line["points"].split()) for line in lines] == [2, 3]


def test_points_alone_mark_what_is_missing_on_the_axis() -> None:
    points = [(0.0, 1.0), (1.0, None), (2.0, None), (3.0, 2.0)]
    svg = line_chart([Series("a", "#123456", points, joined=False)], "s", "y", text)
    dots, gaps = shapes(svg, "path")
    assert (dots["d"].count("M"), gaps["d"].count("M")) == (2, 2)
    assert gaps["class"] == "gap"
    assert not shapes(svg, "polyline")


def test_a_long_line_is_thinned_and_keeps_its_peak() -> None:
    points = [(float(i), 1.0) for i in range(20_000)]
    points[12_345] = (12_345.0, 9.0)
    (line,) = shapes(line_chart([Series("a", "red", points)], "s", "y", text), "polyline")
    heights = [float(point.split(",")[1]) for point in line["points"].split()]
    assert len(heights) <= 1000
    assert sum(height < min(heights) + 1 for height in heights) == 1


def test_a_histogram_holds_every_value_and_names_are_escaped() -> None:
    svg = histogram([("<a&b>", "red", [1.0] * 30 + [2.0] * 20 + [500.0])], "ms")
    counts = [int(count) for count in re.findall(r": (\d+) frames", svg)]
    assert sum(counts) == 51
    assert "<a&b>" not in svg


def test_a_matrix_shows_percentages_of_what_is_there() -> None:
    svg = matrix([[0.75, 0.25, 0.001]], ["road"], ["road", "sky", "car"])
    assert re.findall(r">(\d+)</text>", svg) == ["75", "25"]
