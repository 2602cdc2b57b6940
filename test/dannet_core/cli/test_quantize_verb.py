from __future__ import annotations

import re

import numpy as np
import pytest

from dannet_core.cli.main import main
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.pixels import write_png


@pytest.fixture
def pictures(night_rgb, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(8):
        write_png(folder / f"{i}.png", np.roll(night_rgb, 20 * i, axis=1))
    return folder


def test_a_model_is_quantized_on_the_pictures_of_a_folder(tiny_onnx, pictures, tmp_path, capsys, night_rgb):
    out = tmp_path / "int8.onnx"
    arguments = ["--model", str(tiny_onnx), "--out", str(out), "--frames", str(pictures)]
    assert main(["quantize", *arguments, "--max_frames", "8", "--method", "minmax", "--min_agreement", "0.5"]) == 0
    said = capsys.readouterr().out
    assert "1 of 1 convolutions in int8" in said
    assert "on 2 held-out frames" in said
    assert float(re.search(r"([\d.]+)% of the labels stay", said).group(1)) > 90
    with NightSegmenter.load(out) as int8, NightSegmenter.load(tiny_onnx) as single:
        assert int8.metadata == single.metadata.replace(precision="int8")
        assert (int8.segment(night_rgb).labels == single.segment(night_rgb).labels).mean() > 0.9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "no image or video"),
        (["--percentile", "101"], "percentile"),
        (["--rest", "int4"], "rest"),
        (["--dataset", "dark-zurich"], "dataset, root: got dark-zurich and None, expected both or neither"),
    ],
)
def test_mistakes_are_one_line(tiny_onnx, tmp_path, capsys, options, said):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "x.onnx"
    arguments = ["--model", str(tiny_onnx), "--out", str(out), "--frames", str(tmp_path / "empty")]
    assert main(["quantize", *arguments, *options]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("dannet quantize: ")
    assert said in error
    assert len(error.splitlines()) == 1
    assert not out.exists()
