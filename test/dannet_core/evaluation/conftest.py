"""A small labelled night data set on disk, and a segmenter of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dannet_core.data.registry import open_data_set
from dannet_core.data.sample import DataSet
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.pixels import write_png


def write_night(root: Path, count: int = 3, size: tuple[int, int] = (80, 120), split: str = "val") -> Path:
    """Dark Zurich's layout: seeded pictures; labels in blocks of eight classes and some unlabelled pixels."""
    rng = np.random.default_rng(5)
    images, labels = root / "rgb_anon" / split / "night" / "GOPR0356", root / "gt" / split / "night" / "GOPR0356"
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        frame = f"GOPR0356_frame_{index:06d}"
        coarse = rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
        write_png(images / f"{frame}_rgb_anon.png", coarse.repeat(8, axis=0).repeat(8, axis=1))
        ids = np.array([0, 1, 2, 5, 8, 10, 13, 255], np.uint8)[rng.integers(0, 8, (size[0] // 8, size[1] // 8))]
        write_png(labels / f"{frame}_gt_labelTrainIds.png", ids.repeat(8, axis=0).repeat(8, axis=1))
    return root


@pytest.fixture
def night(tmp_path: Path) -> DataSet:
    return open_data_set("dark-zurich", write_night(tmp_path / "dark_zurich"))


@pytest.fixture
def segmenter(tiny_onnx: Path):
    with NightSegmenter.load(tiny_onnx) as opened:
        yield opened
