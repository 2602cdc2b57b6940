import json

import numpy as np
import pytest

from dannet_core.classes import CLASS_NAMES
from dannet_core.errors import OutputError
from dannet_core.evaluation.confusion import ConfusionMatrix
from dannet_core.evaluation.evaluate import evaluate
from dannet_core.evaluation.figures import draw_confusion, draw_sweep
from dannet_core.evaluation.report import describe_model, named, prepare_folder, scores, table, write_report
from dannet_core.evaluation.std_sweep import StdSweep, best_std
from dannet_core.evaluation.worst_images import error_picture
from dannet_core.inference.backends import open_backend
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.pixels import read_rgb


@pytest.fixture
def evaluated(tiny_onnx, night):
    sweep = StdSweep((0.0, 0.16))
    with NightSegmenter(sweep.watch(open_backend(tiny_onnx, backend="onnxruntime"))) as segmenter:
        return evaluate(segmenter, night, sweep=sweep, worst=2), describe_model(segmenter, tiny_onnx)


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
        "metrics.json", "report.md", "confusion_matrix.png", "std_sweep.png", "worst_1.png", "worst_2.png",
    }  # fmt: skip
    assert read_rgb(path.parent / "worst_1.png").shape[1] == 5 * 480 + 4 * 6
    text = (path.parent / "report.md").read_text()
    assert "Untrained weights: these figures mean nothing." in text
    assert f"**{100 * result.confusion.miou_present:.2f}**" in text
    for name in files - {"metrics.json", "report.md"}:
        assert f"]({name})" in text


def test_several_data_sets_are_compared_and_have_a_folder_each(evaluated, tmp_path):
    result, model = evaluated
    path = write_report(tmp_path, [result, result, result], model)
    content = json.loads(path.read_text())["data_sets"]
    assert list(content) == ["dark-zurich", "dark-zurich-val", "dark-zurich-2"]
    for name, metrics in content.items():
        assert json.loads((tmp_path / name / "metrics.json").read_text()) == metrics
    assert "| | dark-zurich | dark-zurich-val | dark-zurich-2 |" in (tmp_path / "report.md").read_text()


def test_a_second_report_in_the_same_folder_leaves_no_figures_of_the_first(evaluated, tmp_path):
    result, model = evaluated
    write_report(tmp_path, [result], model)
    result.sweep, result.worst = {}, type(result.worst)(0)
    (tmp_path / "mine.png").write_bytes(b"kept")
    write_report(tmp_path, [result], model)
    names = {one.name for one in tmp_path.iterdir() if one.is_file()}
    assert names == {"metrics.json", "report.md", "confusion_matrix.png", "mine.png"}


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


def test_the_confusion_figure_is_blue_where_the_pixels_are():
    counts = np.zeros((19, 20), np.int64)
    counts[0, 0], counts[0, 13], counts[5, 19] = 90, 10, 7
    picture = draw_confusion(counts)
    empty = draw_confusion(np.zeros((19, 20), np.int64))
    assert picture.shape == empty.shape
    # The last cells end 16 pixels from the border; each is 40 wide.
    top, left = picture.shape[0] - 16 - 19 * 40, picture.shape[1] - 16 - 20 * 40

    def shade(image: np.ndarray, row: int, column: int) -> int:
        return int(image[top + row * 40 + 3, left + column * 40 + 3, 0])

    assert shade(picture, 0, 0) < 40
    assert 200 < shade(picture, 0, 13) < shade(picture, 0, 12) == shade(empty, 0, 0)
    assert shade(picture, 5, 19) == 8


def test_the_sweep_figure_and_the_best_std():
    def scoring(hits: int) -> ConfusionMatrix:
        counts = np.zeros((19, 20), np.int64)
        counts[0, 0], counts[0, 1] = hits, 100 - hits
        return ConfusionMatrix(counts)

    sweep = {0.0: scoring(40), 0.1: scoring(60), 0.2: scoring(60)}
    assert best_std(sweep) == 0.1
    blue = (draw_sweep(sweep) == (31, 90, 170)).all(axis=2)
    rows = [np.flatnonzero(blue[58:, x]).mean() for x in (64, 64 + 360, 64 + 719)]
    assert rows[0] > rows[1]
    assert rows[1] == pytest.approx(rows[2], abs=3)
    assert draw_sweep({0.16: scoring(50)}).shape == draw_sweep(sweep).shape


def test_the_error_picture_is_red_green_and_black():
    labels, predictions = np.array([[0, 1, 255]], np.uint8), np.array([[0, 2, 255]], np.uint8)
    right, wrong, unlabelled = error_picture(labels, predictions)[0].astype(int)
    assert right[1] > right[0]
    assert wrong[0] > 200 > wrong[1]
    assert unlabelled.tolist() == [0, 0, 0]
