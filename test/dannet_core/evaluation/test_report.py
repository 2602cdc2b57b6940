import json
import re
from pathlib import Path

import numpy as np
import pytest

from dannet_core.classes import CLASS_NAMES
from dannet_core.errors import OutputError
from dannet_core.evaluation import report
from dannet_core.evaluation.confusion import ConfusionMatrix
from dannet_core.evaluation.evaluate import evaluate
from dannet_core.evaluation.report import describe_model, named, prepare_folder, table, write_report
from dannet_core.evaluation.scores import scores
from dannet_core.evaluation.std_sweep import StdSweep, best_std, sweep_series
from dannet_core.evaluation.worst_images import error_picture
from dannet_core.inference.backends import open_backend
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.pixels import read_rgb
from dannet_core.report.figures import confusion_figure, save_figure, sweep_figure


@pytest.fixture
def evaluated(tiny_onnx, night):
    sweep = StdSweep((0.0, 0.16))
    with NightSegmenter(sweep.watch(open_backend(tiny_onnx, backend="onnxruntime"))) as segmenter:
        return evaluate(segmenter, night, sweep=sweep, worst=2), describe_model(segmenter, tiny_onnx)


def before_the_code(page: Path) -> str:
    """A page up to plotly.js, which holds all sorts of texts."""
    return page.read_text(encoding="utf-8").partition("<script>")[0]


def test_one_data_set_gives_flat_metrics_a_table_and_figures(evaluated, tmp_path):
    result, model = evaluated
    path = write_report(tmp_path / "out", [result], model)
    content = json.loads(path.read_text())
    assert path == tmp_path / "out" / "metrics.json"
    assert content["miou_present"] == result.confusion.miou_present
    assert content["miou_19"] == pytest.approx(content["miou_present"] * 7 / 19)
    assert list(content["iou"]) == list(CLASS_NAMES)
    assert content["iou"]["road"] == result.confusion.iou[0]
    assert content["images"] == len(content["per_image"]) == 3
    assert "wall" in content["classes_absent"]
    assert content["confusion_matrix"]["pixels"] == result.confusion.counts.tolist()
    assert [one["std"] for one in content["std_sweep"]] == [0.0, 0.16]
    assert content["model"]["metadata"]["arch"] == "lraspp"
    assert content["model"]["settings"]["reweight_std"] == 0.16
    assert content["model"]["backend"] == "onnxruntime"
    files = {one.name for one in path.parent.iterdir()}
    assert files == {
        "metrics.json", "report.html", "report.md", "confusion_matrix.png", "std_sweep.png", "worst_1.png",
        "worst_2.png",
    }  # fmt: skip
    assert read_rgb(path.parent / "worst_1.png").shape[1] == 5 * 480 + 4 * 6
    text = (path.parent / "report.md").read_text()
    assert "Untrained weights: these figures mean nothing." in text
    assert f"**{100 * result.confusion.miou_present:.2f}**" in text
    for name in files - {"metrics.json", "report.html", "report.md"}:
        assert f"]({name})" in text
    page = before_the_code(path.parent / "report.html")
    assert "Untrained weights: these figures mean nothing." in page
    assert f"<td>{100 * result.confusion.miou_present:.2f} %</td>" in page
    assert page.count('<figure class="chart"') == 3  # confusion, sweep, images
    assert page.count('src="data:image/') == 2 * 5
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []


def test_several_data_sets_are_compared_and_have_a_folder_each(evaluated, tmp_path):
    result, model = evaluated
    path = write_report(tmp_path, [result, result, result], model)
    content = json.loads(path.read_text())["data_sets"]
    assert list(content) == ["dark-zurich", "dark-zurich-val", "dark-zurich-2"]
    for name, metrics in content.items():
        assert json.loads((tmp_path / name / "metrics.json").read_text()) == metrics
    assert "| | dark-zurich | dark-zurich-val | dark-zurich-2 |" in (tmp_path / "report.md").read_text()
    page = before_the_code(tmp_path / "report.html")
    links = re.findall(r'href="([^"]+)"', page)
    assert links == [f"{name}/report.html" for name in content]
    assert all((tmp_path / link).is_file() for link in links)
    assert "plotly.js v" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_second_report_in_the_same_folder_leaves_no_figures_of_the_first(evaluated, tmp_path):
    result, model = evaluated
    write_report(tmp_path, [result], model)
    result.sweep, result.worst = {}, type(result.worst)(0)
    (tmp_path / "mine.png").write_bytes(b"kept")
    write_report(tmp_path, [result], model)
    names = {one.name for one in tmp_path.iterdir() if one.is_file()}
    assert names == {"metrics.json", "report.html", "report.md", "confusion_matrix.png", "mine.png"}


def test_undefined_scores_are_null_and_a_dash():
    confusion = ConfusionMatrix()
    confusion.add(np.zeros((4, 5), np.uint8), np.ones((4, 5), np.uint8))
    found = scores(confusion)
    assert found["iou"]["road"] == 0.0
    assert found["iou"]["sidewalk"] == 0.0
    assert found["iou"]["building"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    empty = scores(ConfusionMatrix())
    assert empty["miou_present"] is None
    assert empty["pixel_accuracy"] is None


def test_the_table_has_a_dash_for_classes_that_are_not_labelled(evaluated):
    result, _ = evaluated
    lines = table(named([result])).splitlines()
    assert lines[0] == "| | dark-zurich |"
    assert "| wall | - |" in lines
    assert len(lines) == 2 + 19 + 4


def test_a_folder_that_cannot_be_written_to_is_found_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the report there"):
        prepare_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="cannot write the report there"):
        prepare_folder(tmp_path / "file" / "below")
    assert list(prepare_folder(tmp_path / "new" / "folder").iterdir()) == []


def test_without_the_report_packages_the_scores_and_the_worst_images_are_written(evaluated, tmp_path, monkeypatch):
    result, model = evaluated
    for missing in ("page_missing", "figures_missing"):
        monkeypatch.setattr(report, missing, lambda: "x is needed: pip install x")
    assert report.left_out() == [
        "no report.html will be written: x is needed: pip install x",
        "no figures of charts will be written: x is needed: pip install x",
    ]
    path = write_report(tmp_path / "out", [result], model)
    assert json.loads(path.read_text())["miou_present"] == result.confusion.miou_present
    assert {one.name for one in path.parent.iterdir()} == {"metrics.json", "report.md", "worst_1.png", "worst_2.png"}
    text = path.with_name("report.md").read_text()
    assert "confusion_matrix.png" not in text
    assert "Best std of the re-weighting here" in text


def test_the_confusion_figure_is_blue_where_the_pixels_are():
    counts = np.zeros((3, 4), np.int64)
    counts[0, 0], counts[0, 2], counts[2, 3] = 90, 10, 7
    (axes,) = confusion_figure(counts, ["road", "$sky$", "car"]).axes
    (shown,) = axes.images
    np.testing.assert_allclose(shown.get_array(), [[0.9, 0, 0.1, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    assert (shown.get_clim(), shown.get_cmap().name) == ((0, 1), "Blues")
    assert [(text.get_position(), text.get_text()) for text in axes.texts] == [
        ((0, 0), "90"), ((2, 0), "10"), ((3, 2), "100"),
    ]  # fmt: skip
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["road", r"\$sky\$", "car", "unknown"]


def test_the_sweep_figure_and_the_best_std(tmp_path):
    def scoring(hits: int) -> ConfusionMatrix:
        counts = np.zeros((19, 20), np.int64)
        counts[0, 0], counts[0, 1] = hits, 100 - hits
        return ConfusionMatrix(counts)

    sweep = {0.0: scoring(40), 0.1: scoring(60), 0.2: scoring(60)}
    assert best_std(sweep) == 0.1
    figure = sweep_figure(list(sweep), sweep_series(sweep), best_std(sweep))
    present, every = figure.axes[0].lines
    assert present.get_xdata() == pytest.approx([0.0, 0.1, 0.2])
    assert present.get_ydata() == pytest.approx([100 * one.miou_present for one in sweep.values()])
    assert every.get_ydata() == pytest.approx([100 * one.miou_all for one in sweep.values()])
    assert "std 0.1" in figure.axes[0].get_title()
    for name, start in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        assert save_figure(tmp_path / name, figure).read_bytes().startswith(start)
    assert save_figure(tmp_path / "one.png", sweep_figure([0.16], {"a": [0.5]}, 0.16)).is_file()
    with pytest.raises(OutputError, match="cannot write"):
        save_figure(tmp_path / "nowhere" / "a.png", figure)


def test_the_error_picture_is_red_green_and_black():
    labels, predictions = np.array([[0, 1, 255]], np.uint8), np.array([[0, 2, 255]], np.uint8)
    right, wrong, unlabelled = error_picture(labels, predictions)[0].astype(int)
    assert right[1] > right[0]
    assert wrong[0] > 200 > wrong[1]
    assert unlabelled.tolist() == [0, 0, 0]
