"""evaluate_bag with other projects' graphs, those that give labels without scores among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
pytest.importorskip("onnx", reason="onnx builds the test models")

from foreign_graphs import TinyGraph

from dannet_core import NightSegmenter
from dannet_core.deploy.adopt import adopt
from dannet_core.evaluation.confusion import ConfusionMatrix
from dannet_ros.replay.__main__ import main
from dannet_ros.replay.frame_scores import digest

COUNT = 3


def evaluate(bag: Path, model: Path, out: Path) -> dict[str, Any]:
    assert main(["evaluate_bag", str(bag), "--model", str(model), "--out", str(out)]) == 0
    return json.loads((out / "metrics.json").read_text())


def test_scores_are_those_of_its_labels(bags, adopted_model: Path, tmp_path: Path) -> None:
    pictures, truths = bags.frames(COUNT), bags.labels(COUNT)
    content = evaluate(bags.write(tmp_path / "drive", pictures, truths), adopted_model, tmp_path / "out")
    confusion = ConfusionMatrix()
    with NightSegmenter.load(adopted_model) as segmenter:
        for picture, truth in zip(pictures, truths, strict=True):
            confusion.add(truth, segmenter.segment(picture).labels)
    (model,) = content["models"]
    assert model["scores"]["miou_present"] == pytest.approx(confusion.miou_present)
    assert 0 < model["confidence"]["mean"] <= 1
    assert (content["complete"], model["model"]["metadata"]["arch"]) == (True, "adopted")


@pytest.mark.parametrize("labelled", [True, False])
def test_without_scores_there_is_no_confidence(bags, tmp_path: Path, capsys, labelled: bool) -> None:
    graph = TinyGraph().classify().enlarge("nearest").constant("table", np.arange(19)[::-1], np.int64)
    path = graph.add("ArgMax", axis=1).add("Gather", "table", first=True).save(tmp_path / "theirs.onnx", output="int64")
    adopt(path, tmp_path / "ours.onnx")
    pictures = bags.frames(COUNT)
    bag = bags.write(tmp_path / "drive", pictures, bags.labels(COUNT) if labelled else ())
    content = evaluate(bag, tmp_path / "ours.onnx", tmp_path / "out")
    (model,) = content["models"]
    assert model["confidence"] is None
    assert [frame["models"]["ours"]["confidence"] for frame in content["frames"]] == [None] * COUNT
    with NightSegmenter.load(tmp_path / "ours.onnx") as segmenter:
        expected = [digest(segmenter.segment(picture).labels) for picture in pictures]
    assert [frame["models"]["ours"]["labels"] for frame in content["frames"]] == expected
    assert len(model["worst_frames"]) == (COUNT if labelled else 0)
    assert "confidence -, flicker" in capsys.readouterr().out
    assert "mean confidence" not in next((tmp_path / "out").glob("*.html")).read_text()
