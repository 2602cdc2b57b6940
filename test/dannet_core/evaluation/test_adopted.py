"""Scores of other projects' graphs: without a relit picture, and without a confidence where there are no scores."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx builds the test models")

from foreign_graphs import TinyGraph

from dannet_core import NightSegmenter
from dannet_core.deploy.adopt import adopt
from dannet_core.errors import SettingsError
from dannet_core.evaluation.evaluate import evaluate
from dannet_core.evaluation.report import describe_model, write_report
from dannet_core.evaluation.submission import write_submission
from dannet_core.pixels import read_rgb


def adopted(tmp_path, with_scores: bool):
    graph = TinyGraph().classify().enlarge("nearest")
    if not with_scores:
        graph.add("ArgMax", axis=1).constant("table", np.arange(19)[::-1], np.int64).add("Gather", "table", first=True)
    path = graph.save(tmp_path / "theirs.onnx", output="float32" if with_scores else "int64")
    adopt(path, tmp_path / "ours.onnx")
    return tmp_path / "ours.onnx"


@pytest.mark.parametrize("with_scores", [True, False])
def test_a_report_has_panels_without_the_relit_picture(night, tmp_path, with_scores):
    path = adopted(tmp_path, with_scores)
    with NightSegmenter.load(path) as segmenter:
        result = evaluate(segmenter, night, worst=2)
        report = write_report(tmp_path / "out", [result], describe_model(segmenter, path))
        for sample, score in zip(night.samples, result.images, strict=True):
            truth = sample.read_labels()
            right = (segmenter.segment(sample.read_image()).labels == truth)[truth != 255].mean()
            assert score.pixel_accuracy == pytest.approx(right)
    assert read_rgb(report.parent / "worst_1.png").shape[1] == 4 * 480 + 3 * 6


def test_a_submission_needs_scores(night, tmp_path):
    said = r"submission: has a confidence for every pixel: the model gives labels without scores \(adopted\)"
    path = adopted(tmp_path, with_scores=False)
    with NightSegmenter.load(path) as segmenter, pytest.raises(SettingsError, match=said):
        write_submission(segmenter, night.samples, tmp_path / "submission.zip", (80, 120))
    assert not (tmp_path / "submission.zip").exists()
