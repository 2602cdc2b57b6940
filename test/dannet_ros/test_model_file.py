from __future__ import annotations

from pathlib import Path

import pytest

from dannet_ros.model_file import ModelFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"first")
    return path


def test_untouched_file_is_no_problem(path: Path) -> None:
    assert ModelFile(path).problem() == ""


def test_deleted_file_is_named(path: Path) -> None:
    model = ModelFile(path)
    path.unlink()
    assert f"is gone: {path}" in model.problem()


def test_file_replaced_by_one_of_the_same_size_is_noticed(path: Path) -> None:
    model = ModelFile(path)
    other = path.with_name("other.onnx")
    other.write_bytes(b"other")
    other.replace(path)
    assert "was replaced" in model.problem()


def test_a_path_that_cannot_be_one_is_no_error() -> None:
    assert ModelFile(Path("\0" * 3)).problem() == ""
    assert ModelFile(Path("x" * 5000)).problem() == ""
