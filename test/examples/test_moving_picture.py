"""The README's moving picture: made of a demo's folder, the same bytes each time, and never with a frame missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dannet_core.classes import CLASS_COLORS
from dannet_core.pixels import write_png

ROOT = Path(__file__).parents[2]


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """Three flat frames of 96 x 64: grey 60, labelled road, then sky, then car."""
    folder = tmp_path / "demo output"
    (folder / "labels").mkdir(parents=True)
    (folder / "drive/frames").mkdir(parents=True)
    (folder / "drive/drive.json").write_text(json.dumps({"fps": 8.0, "stamps_ns": [1, 2, 3]}))
    for index, train_id in enumerate((0, 10, 13)):
        write_png(folder / f"drive/frames/{index:06d}.png", np.full((64, 96, 3), 60, np.uint8))
        write_png(folder / f"labels/{index:06d}.png", np.full((64, 96), train_id, np.uint8))
    return folder


def draw(demo: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples/moving_picture.py"), "--demo", str(demo), "--out", str(out)],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_shows_each_frame_beside_its_labels_for_the_drives_time(demo: Path, tmp_path: Path) -> None:
    for name in ("one.webp", "two.webp"):
        done = draw(demo, tmp_path / name)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "one.webp").read_bytes() == (tmp_path / "two.webp").read_bytes()
    with Image.open(tmp_path / "one.webp") as film:
        assert film.n_frames == 3
        for index, train_id in enumerate((0, 10, 13)):
            film.seek(index)
            shown = np.asarray(film.convert("RGB"), dtype=float)
            assert film.info["duration"] == 125
            half = shown.shape[1] // 2
            assert np.abs(shown[:, : half - 8] - 60).max() < 12
            labelled = (60 + np.array(CLASS_COLORS[train_id])) / 2
            assert np.abs(shown[20:-20, half + 20 : -20].mean(axis=(0, 1)) - labelled).max() < 12


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda demo: (demo / "labels/000001.png").unlink(), "1 of 3 frames have no labels, the first 000001.png"),
        (lambda demo: (demo / "drive/drive.json").unlink(), "got no toy city's drive in it"),
        (lambda demo: write_png(demo / "labels/000002.png", np.zeros((8, 8), np.uint8)), "000002.png: expected 8-bit"),
    ],
)
def test_a_demo_that_is_not_whole_is_refused_in_one_line(demo: Path, tmp_path: Path, spoil, words: str) -> None:
    spoil(demo)
    done = draw(demo, tmp_path / "film.webp")
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "film.webp").exists()


def test_the_one_in_the_documents_is_small_and_moves() -> None:
    path = ROOT / "docs/images/demo.webp"
    assert path.stat().st_size <= 3_000_000
    with Image.open(path) as film:
        assert film.n_frames >= 50
