"""The page over all bags: worst first, every name a link that leads somewhere, nothing that a name can break."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from dannet_ros.replay.__main__ import main

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
pytest.importorskip("jinja2", reason="Jinja2 writes pages: pip install 'dannet_ros[report]'")
pytest.importorskip("plotly", reason="Plotly draws charts: pip install 'dannet_ros[report]'")
pytestmark = pytest.mark.usefixtures("inline")


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.links += [values["href"] or ""] if tag == "a" else []
        self.sources += [values["src"] or ""] if "src" in values else []


def body(text: str) -> str:
    return text.partition("<main>")[2].partition("</main>")[0]


def test_bags_and_frames_are_listed_worst_first_with_links_to_their_pages(
    fleets, tiny_onnx: Path, tmp_path: Path
) -> None:
    folder, out = fleets.write(tmp_path / "night", [2] * 3), tmp_path / "out"
    assert main(fleets.arguments([folder], tiny_onnx, out, "--worst", "2")) == 0
    content, text = fleets.summary(out), (out / "report.html").read_text()
    (model,) = content["models"]
    page = _Page(body(text))
    scores = {row["name"]: row["models"]["tiny"]["scores"]["miou_present"] for row in content["bags"]}
    ranked = sorted(scores, key=scores.__getitem__)
    frames = [f"bags/{one['bag']}/report.html#frame={one['index']}" for one in model["worst_frames"]]
    assert page.links == [*(f"bags/{name}/report.html" for name in ranked), *frames]
    assert all((out / link.partition("#")[0]).is_file() for link in page.links)
    assert len(page.sources) == 2 * 4
    assert all(source.startswith("data:image/") for source in page.sources)
    assert f"{100 * model['scores']['miou_present']:.1f} %" in text
    by_bag = text.partition("IoU in percent by bag")[2].partition("</table>")[0]
    rows = re.findall(r"<tr>\s*<td>(drive_\d+)</td>((?:\s*<td>[^<]*</td>)*)", by_bag)
    assert [name for name, _ in rows] == ranked
    iou = content["bags"][0]["models"]["tiny"]["scores"]["iou"]["building"]
    cells = re.findall(r"<td>([^<]*)</td>", dict(rows)["drive_00"])
    assert cells[2] == f"{100 * iou:.1f}"


def test_names_are_text_and_failed_bags_are_named(fleets, bags, tiny_onnx: Path, tmp_path: Path) -> None:
    odd = 'a<b>&"#%20 ?'
    bags.write(tmp_path / "night" / odd, bags.frames(2), bags.labels(2))
    broken = bags.write(tmp_path / "night" / "broken", bags.frames(1))
    next(broken.glob("*.mcap")).write_bytes(b"nothing")
    out = tmp_path / "out"
    assert main(fleets.arguments([tmp_path / "night"], tiny_onnx, out)) == 1
    text = (out / "report.html").read_text()
    assert odd not in text
    (link, *_) = _Page(body(text)).links
    assert (out / unquote(link)).is_file()
    (failed,) = (row for row in fleets.summary(out)["bags"] if row["status"] == "failed")
    assert "broken failed: " in body(text)
    assert "not an MCAP file" in failed["why"]


def test_without_ground_truth_confidence_ranks_and_two_models_stand_beside_each_other(
    fleets, tiny_onnx: Path, blind_onnx: Path, tmp_path: Path
) -> None:
    folder, out = fleets.write(tmp_path / "night", [2, 2], truth=False), tmp_path / "out"
    assert main(fleets.arguments([folder], tiny_onnx, out, "--compare", str(blind_onnx))) == 0
    content, text = fleets.summary(out), body((out / "report.html").read_text())
    first = {row["name"]: row["models"]["tiny"]["confidence"]["mean"] for row in content["bags"]}
    assert content["models"][0]["worst_bags"] == sorted(first, key=first.__getitem__)
    assert {one["of"] for one in content["models"][1]["worst_frames"]} == {"confidence"}
    assert "Lowest mean confidence first" in text
    assert "Worst frames of tiny" in text
    assert "Worst frames of blind" in text
    assert f"agree on {100 * content['agreement']['mean']:.1f} %" in text


def test_without_the_packages_for_pages_there_are_figures_and_a_word(
    fleets, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder, out = fleets.write(tmp_path / "night", [2]), tmp_path / "out"
    with monkeypatch.context() as patch:
        for module in ("fleet.fleet", "one_bag"):
            patch.setattr(f"dannet_ros.replay.{module}.page_missing", lambda: "jinja2 is needed")
        assert main(fleets.arguments([folder], tiny_onnx, out)) == 0
    assert "no report.html will be written: jinja2 is needed" in capsys.readouterr().err
    assert fleets.summary(out)["bags_evaluated"] == 1
    assert not list(out.glob("**/report.html"))
