"""Miniature data sets, written file by file where the published ones keep theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

WriteImage = Callable[..., Path]


@pytest.fixture
def write_image(tmp_path: Path) -> WriteImage:
    """Write a seeded colour picture below the test's folder: ``write_image("a/b.png", size=(64, 96))``."""

    def write(name: str, size: tuple[int, int] = (64, 96), seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        return save(tmp_path / name, rng.integers(0, 256, (*size, 3), dtype=np.uint8))

    return write


@pytest.fixture
def write_labels(tmp_path: Path) -> WriteImage:
    """Write a label map below the test's folder that holds ``ids`` in vertical stripes."""

    def write(name: str, ids: tuple[int, ...], size: tuple[int, int] = (64, 96)) -> Path:
        stripes = np.array(ids, np.uint8)[np.arange(size[1]) * len(ids) // size[1]]
        return save(tmp_path / name, np.repeat(stripes[None], size[0], axis=0))

    return write


def save(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)
    return path
