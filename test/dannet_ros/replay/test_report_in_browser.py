"""The report opened in a real browser: zoomed, clicked, switched from model to model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browser, find_browser

from dannet_ros.replay.__main__ import main

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
pytest.importorskip("plotly", reason="plotly is not installed")
COUNT = 12
DRAWN = "document.querySelector('.chart .main-svg') !== null"
TIMELINE = "document.querySelector('.chart > div')"


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    with browser(find_browser()) as opened:
        yield opened


@pytest.fixture
def report(bags, tiny_onnx: Path, tmp_path: Path) -> Path:
    other = tmp_path / "other.onnx"
    other.write_bytes(tiny_onnx.read_bytes())
    bag = bags.write(tmp_path / "drive", bags.frames(COUNT), bags.labels(COUNT))
    arguments = ["--model", str(tiny_onnx), "--compare", str(other), "--write-bag", "none", "--worst", "2"]
    assert main(["evaluate_bag", str(bag), *arguments, "--out", str(tmp_path / "out")]) == 0
    return tmp_path / "out" / "report.html"


@pytest.fixture
def opened(page: Browser, report: Path) -> Browser:
    page.requests.clear()
    page.errors.clear()
    page.size(1280, 1400)
    page.open(report, DRAWN)
    return page


def facts(page: Browser) -> str:
    return str(page.value("document.getElementById('explorer-facts').textContent"))


def place(page: Browser, frame: int, row: str = "y") -> tuple[float, float]:
    """Where a frame's point of a row is in the window."""
    return tuple(
        page.value(f"""(() => {{
        const plot = {TIMELINE}, box = plot.getBoundingClientRect();
        const {{ xaxis, yaxis{row[1:]}: axis }} = plot._fullLayout;
        const trace = plot.data.find((one) => (one.yaxis || "y") === "{row}" && one.visible);
        const at = trace.customdata.indexOf({frame});
        return [box.left + xaxis._offset + xaxis.d2p(trace.x[at]), box.top + axis._offset + axis.d2p(trace.y[at])];
        }})()""")
    )


def middle(page: Browser) -> float:
    """The height of the first row's middle in the window."""
    plot = f"{TIMELINE}.getBoundingClientRect().top + {TIMELINE}._fullLayout"
    return float(page.value(f"{plot}.yaxis._offset + {TIMELINE}._fullLayout.yaxis._length / 2"))


def zoom(page: Browser) -> list[float]:
    limits: list[float] = page.value(f"{TIMELINE}._fullLayout.xaxis.range")
    return limits


def test_it_opens_without_an_error_and_asks_for_nothing_but_itself(opened: Browser, report: Path) -> None:
    assert opened.errors == []
    assert set(opened.requests) == {report.absolute().as_uri()}
    titles = opened.value("[...document.querySelectorAll('.modebar-btn')].map((one) => one.dataset.title)")
    assert {"Zoom", "Pan"} <= set(titles)
    assert not [title for title in titles if "cloud" in title.lower() or "plotly" in title.lower()]


def test_a_click_on_a_point_shows_its_frame_with_pictures_side_by_side(opened: Browser, report: Path) -> None:
    content = json.loads((report.parent / "metrics.json").read_text())
    opened.click(*place(opened, 7))
    opened.wait("location.hash === '#frame=7'")
    assert f"Frame 7 at 0.35 s on /camera/image, stamp {content['frames'][7]['stamp_ns']}" in facts(opened)
    rows = "[...document.querySelectorAll('#explorer-figures tbody tr')]"
    rows = "[...document.querySelectorAll('#explorer-figures tbody tr')]"
    cells = opened.value(f"{rows}.map((one) => one.innerText.split('\\t'))")
    record = content["frames"][7]["models"]["tiny"]
    expected = [f"{100 * record[key]:.1f} %" for key in ("miou_present", "pixel_accuracy", "confidence", "flicker")]
    assert [row[:5] for row in cells] == [["tiny", *expected], ["other", *expected]]
    pictures = "[...document.querySelectorAll('#explorer-pictures img')]"
    opened.wait(f"{pictures}.every((one) => one.complete && one.naturalWidth > 0)")
    titles = ["camera", "ground truth", "labels of tiny", "error of tiny", "labels of other", "error of other"]
    assert opened.value(f"{pictures}.map((one) => one.alt)") == [f"{title} of frame 7" for title in titles]


def test_the_mouse_over_a_point_tells_stamp_score_and_time(opened: Browser, report: Path) -> None:
    frame = json.loads((report.parent / "metrics.json").read_text())["frames"][4]
    opened.mouse("Moved", *place(opened, 4))
    opened.wait("document.querySelector('.hoverlayer text') !== null")
    said = opened.value("document.querySelector('.hoverlayer').textContent")
    assert f"stamp {frame['stamp_ns']}" in said
    assert f"mIoU {100 * frame['models']['tiny']['miou_present']:.1f} %" in said
    assert " ms" in said


def test_dragging_zooms_all_rows_and_a_double_click_goes_back(opened: Browser) -> None:
    before = zoom(opened)
    (start, _), (end, _) = place(opened, 3), place(opened, 8)
    y = middle(opened)
    opened.drag(start, y, end)
    opened.wait(f"{TIMELINE}._fullLayout.xaxis.range[0] > 0.1")
    low, high = zoom(opened)
    assert (low, high) == (pytest.approx(0.15, abs=0.01), pytest.approx(0.4, abs=0.01))
    assert opened.value(f"{TIMELINE}.data.every((one) => one.xaxis === undefined)")
    for clicks in (1, 2):
        opened.mouse("Pressed", start, y, clicks)
        opened.mouse("Released", start, y, clicks)
    opened.wait(f"{TIMELINE}._fullLayout.xaxis.range[0] < 0.1")
    assert zoom(opened) == pytest.approx(before)


def test_one_model_or_both(opened: Browser) -> None:
    seen = "filter((one) => one.offsetParent).map((one) => one.innerText.trim())"
    shown = f"[...document.querySelectorAll('section h2')].{seen}"
    lines = f"{TIMELINE}.data.filter((one) => one.meta.model !== null).map((one) => [one.meta.model, one.visible])"
    assert {"Worst frames of tiny", "Worst frames of other"} <= set(opened.value(shown))
    opened.value("document.querySelector('.switch input[value=\"1\"]').click()")
    opened.wait(f"{lines}.every(([model, visible]) => visible === (model === 1))")
    titles = opened.value(shown)
    assert "Worst frames of other" in titles
    assert "Worst frames of tiny" not in titles
    captions = opened.value(f"[...document.querySelectorAll('#explorer-pictures figure')].{seen}")
    assert captions == ["camera", "ground truth", "labels of other", "error of other"]
    opened.value("document.querySelector('.switch input[value=\"both\"]').click()")
    opened.wait(f"{lines}.every(([, visible]) => visible === true)")


def test_the_keyboard_and_the_address_choose_frames(opened: Browser, report: Path) -> None:
    opened.value("document.getElementById('explorer-slider').focus()")
    opened.key("ArrowRight")
    opened.key("ArrowRight")
    opened.wait("location.hash === '#frame=2'")
    assert facts(opened).startswith("Frame 2 at 0.1 s")
    opened.value("location.hash = '#frame=9'")
    opened.wait("document.getElementById('explorer-facts').textContent.startsWith('Frame 9 ')")
    assert opened.value("document.getElementById('explorer-slider').value") == "9"


def test_a_narrow_window_needs_no_sideways_scrolling(opened: Browser, report: Path) -> None:
    opened.size(400, 800)
    opened.open(report)
    opened.value("Promise.all([...document.querySelectorAll('.chart')].map(report.draw)).then(() => true)")
    assert opened.value("document.documentElement.scrollWidth") <= 400


def test_names_that_are_html_run_nothing(page: Browser, bags, tiny_onnx: Path, tmp_path: Path) -> None:
    model = tmp_path / "<img src=x onerror=alert(1)>.onnx"
    model.write_bytes(tiny_onnx.read_bytes())
    bag = bags.write(tmp_path / "<b>drive", bags.frames(2), bags.labels(2))
    arguments: list[Any] = ["--model", str(model), "--compare", str(tiny_onnx), "--write-bag", "none"]
    assert main(["evaluate_bag", str(bag), *arguments, "--out", str(tmp_path / "out")]) == 0
    page.errors.clear()
    page.size(1280, 1400)
    page.open(tmp_path / "out" / "report.html", DRAWN)
    page.mouse("Moved", *place(page, 1))
    page.wait("document.querySelector('.hoverlayer text') !== null")
    assert page.value("document.querySelectorAll('img[src=x]').length") == 0
    assert model.stem in page.value("document.querySelector('.hoverlayer').textContent")
    assert page.errors == []
