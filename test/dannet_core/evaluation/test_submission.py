import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from dannet_core.data.registry import open_data_set
from dannet_core.data.sample import Sample
from dannet_core.errors import DataSetError, ImageError, OutputError
from dannet_core.evaluation.submission import (
    CONFIDENCE,
    FOLDERS,
    INVALID,
    LABELS,
    validate_submission,
    write_submission,
)
from dannet_core.inference.presets import preset
from dannet_core.pixels import write_png

SIZE = (80, 120)
FRAMES = ["GOPR0356_frame_000000", "GOPR0356_frame_000001", "GOPR0356_frame_000002"]


def decode(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        return {
            name: cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED)
            for name in archive.namelist()
        }


def rewrite(path: Path, changes: dict[str, bytes | None]) -> None:
    """Replace, add or (None) leave out entries of a zip."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()} | changes
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            if content is not None:
                archive.writestr(name, content)


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


@pytest.fixture
def submission(segmenter, night, tmp_path) -> Path:
    return write_submission(segmenter, night.samples, tmp_path / "submission.zip", SIZE)


def test_three_flat_folders_hold_labels_invalid_labels_and_confidence(segmenter, night, tmp_path):
    segmenter.settings = preset("paper", min_confidence=0.5)
    before = segmenter.settings
    path = write_submission(segmenter, night.samples, tmp_path / "submission.zip", SIZE)
    assert segmenter.settings is before
    pictures = decode(path)
    assert sorted(pictures) == sorted(f"{folder}/{frame}.png" for folder in FOLDERS for frame in FRAMES)
    segmenter.settings = preset("paper")
    prediction = segmenter.segment(night[0].read_image())
    labels, invalid, confidence = (pictures[f"{folder}/{FRAMES[0]}.png"] for folder in (LABELS, INVALID, CONFIDENCE))
    np.testing.assert_array_equal(labels, prediction.labels)
    assert confidence.dtype == np.uint16
    np.testing.assert_allclose(confidence / 65535, prediction.confidence, atol=1e-5)
    np.testing.assert_array_equal(invalid == 255, prediction.confidence < 0.5)
    np.testing.assert_array_equal(invalid[invalid != 255], labels[invalid != 255])
    assert 0 < (invalid == 255).sum() < invalid.size
    validate_submission(path, FRAMES, SIZE)


def test_without_a_minimum_confidence_no_pixel_is_invalid(submission):
    pictures = decode(submission)
    np.testing.assert_array_equal(pictures[f"{INVALID}/{FRAMES[1]}.png"], pictures[f"{LABELS}/{FRAMES[1]}.png"])


def test_the_same_predictions_give_the_same_bytes(submission, segmenter, night, tmp_path):
    again = write_submission(segmenter, night.samples, tmp_path / "again.zip", SIZE)
    assert again.read_bytes() == submission.read_bytes()


def test_the_full_size_of_dark_zurich_is_the_default(segmenter, night, tmp_path):
    with pytest.raises(DataSetError, match=r"_rgb_anon\.png: got 120x80 pixels, expected 1920x1080"):
        write_submission(segmenter, night.samples, tmp_path / "submission.zip")
    assert [one.name for one in tmp_path.iterdir()] == ["dark_zurich"]


def test_an_interruption_leaves_no_zip_and_the_earlier_one_as_it_was(submission, segmenter, night, monkeypatch):
    earlier = submission.read_bytes()

    def interrupt(self: Sample) -> np.ndarray:
        if self.name == night[2].name:
            raise KeyboardInterrupt
        return np.zeros((*SIZE, 3), np.uint8)

    monkeypatch.setattr(Sample, "read_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_submission(segmenter, night.samples, submission, SIZE)
    assert submission.read_bytes() == earlier
    assert {one.name for one in submission.parent.iterdir()} == {"submission.zip", "dark_zurich"}


def test_doubles_no_pictures_and_damaged_pictures_are_refused(segmenter, night, tmp_path):
    path = tmp_path / "submission.zip"
    with pytest.raises(DataSetError, match=f"1 frame names twice, e.g. {FRAMES[0]}".replace(".", r"\.")):
        write_submission(segmenter, [night[0], *night.samples], path, SIZE)
    with pytest.raises(DataSetError, match="got no pictures"):
        write_submission(segmenter, [], path, SIZE)
    night[1].image_path.write_bytes(b"")
    with pytest.raises(ImageError, match=FRAMES[1]):
        write_submission(segmenter, night.samples, path, SIZE)
    with pytest.raises(OutputError, match="cannot write"):
        write_submission(segmenter, night.samples[:1], tmp_path / "absent" / "submission.zip", SIZE)
    assert not path.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({f"{LABELS}/{FRAMES[0]}.png": None}, f"1 missing files (first: {LABELS}/{FRAMES[0]}.png)"),
        ({"__MACOSX/x": b"", "labelTrainIds/a.txt": b""}, "2 unexpected files (first: __MACOSX/x)"),
        ({f"{LABELS}/{FRAMES[0]}.png": b"no png"}, "got no picture, expected grey uint8 of (80, 120)"),
        ({f"{LABELS}/{FRAMES[0]}.png": png(np.zeros((80, 121), np.uint8))}, "got uint8 of shape (80, 121)"),
        (
            {f"{CONFIDENCE}/{FRAMES[0]}.png": png(np.zeros(SIZE, np.uint8))},
            "got uint8 of shape (80, 120), expected grey",
        ),
        ({f"{LABELS}/{FRAMES[0]}.png": png(np.zeros((*SIZE, 3), np.uint8))}, "got uint8 of shape (80, 120, 3)"),
        ({f"{LABELS}/{FRAMES[0]}.png": png(np.full(SIZE, 255, np.uint8))}, "got 255, expected 0..18"),
        ({f"{INVALID}/{FRAMES[2]}.png": png(np.full(SIZE, 18, np.uint8))}, "1 files that differ from labelTrainIds"),
    ],
)
def test_validation_names_what_is_wrong(submission, changes, said):
    rewrite(submission, changes)
    with pytest.raises(DataSetError) as caught:
        validate_submission(submission, FRAMES, SIZE)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_frames_left_out_of_the_submission_are_counted(submission):
    with pytest.raises(DataSetError, match="3 missing files"):
        validate_submission(submission, [*FRAMES, "GOPR0356_frame_000003"], SIZE)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 not a zip"])
def test_what_is_no_zip_is_one_line(tmp_path, content):
    path = tmp_path / "submission.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OutputError, match=r"submission\.zip: not a usable zip"):
        validate_submission(path, FRAMES, SIZE)


def test_takes_the_unlabelled_test_split(segmenter, tmp_path, tiny_onnx):
    folder = tmp_path / "rgb_anon" / "test" / "night" / "GP010364"
    folder.mkdir(parents=True)
    write_png(folder / "GP010364_frame_000001_rgb_anon.png", np.full((1080, 1920, 3), 40, np.uint8))
    samples = open_data_set("dark-zurich", tmp_path, "test").samples
    path = write_submission(segmenter, samples, tmp_path / "submission.zip")
    assert decode(path)[f"{LABELS}/GP010364_frame_000001.png"].shape == (1080, 1920)
