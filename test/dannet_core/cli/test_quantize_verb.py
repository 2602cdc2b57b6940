from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from dannet_core.cli.main import main
from dannet_core.deploy.calibration_frames import read_frames
from dannet_core.errors import ImageError
from dannet_core.inference.preprocess import preprocess
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.pixels import denormalize, read_rgb, write_png


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


def test_frames_of_videos_and_folders_are_evenly_picked(tiny_onnx, pictures, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "drive.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for index in range(24):
        writer.write(np.full((64, 96, 3), 10 * index, np.uint8))
    writer.release()
    frames = read_frames([tmp_path / "drive.avi", pictures], tiny_onnx, 5)
    assert [frame.shape for frame in frames] == [(1, 3, 64, 96)] * 5
    # 32 pictures, so the numbers 0, 8, 16 and 23 of the video (each frame 10 brighter) and the last of the folder.
    greys = [denormalize(frame[0]).mean() for frame in frames[:4]]
    assert greys == pytest.approx([0, 80, 160, 230], abs=4)
    last = preprocess(read_rgb(pictures / "7.png"), (64, 96))
    np.testing.assert_array_equal(frames[4], last)


def test_a_video_that_cannot_be_read_is_named(tiny_onnx, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(ImageError, match=r"broken\.mp4: not a readable video"):
        read_frames([tmp_path / "broken.mp4"], tiny_onnx, 5)


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
