"""The zip that the Dark Zurich test server took: labels, labels with invalid pixels, confidence.

``labelTrainIds/FRAME.png`` (uint8 train ids 0..18), ``labelTrainIds_invalid/FRAME.png`` (the same, 255 = invalid) and
``confidence/FRAME.png`` (uint16, 0..65535 = 0..1), all 1920x1080 and flat, named after the frames. The server is gone
and has no known successor: this makes the format, no promise of a score.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from dannet_core.atomic_files import whole_file
from dannet_core.classes import IGNORE_ID, NUM_CLASSES
from dannet_core.data.registry import open_data_set
from dannet_core.data.sample import Problems, Sample
from dannet_core.errors import DataSetError, NotFiniteError, OutputError, SettingsError
from dannet_core.evaluation.report import prepare_folder
from dannet_core.inference.prediction import Prediction
from dannet_core.inference.segmenter import NightSegmenter

SIZE: Final = (1080, 1920)
"""Height and width in pixels of the Dark Zurich pictures."""
LABELS: Final = "labelTrainIds"
INVALID: Final = "labelTrainIds_invalid"
CONFIDENCE: Final = "confidence"
FOLDERS: Final = (LABELS, INVALID, CONFIDENCE)

Picture = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def submit_dark_zurich(segmenter: NightSegmenter, roots: Sequence[Path], folder: Path) -> str:
    """Label Dark Zurich's test pictures into ``folder/submission.zip`` and say what was written.

    Args:
        segmenter: its ``min_confidence`` says which pixels are invalid.
        roots: one folder, the root of Dark Zurich.
        folder: made if it is not there.

    Raises:
        SettingsError: more or fewer than one root.
        DataSetError, ImageError, OutputError: see `write_submission`.
    """
    if len(roots) != 1:
        raise SettingsError(f"submission: got {len(roots)} inputs, expected one, the root folder of Dark Zurich")
    samples = open_data_set("dark-zurich", roots[0], "test").samples
    path = write_submission(segmenter, samples, prepare_folder(folder) / "submission.zip")
    return f"wrote {path}: {len(samples)} frames of {SIZE[1]}x{SIZE[0]}, checked"


def write_submission(
    segmenter: NightSegmenter, samples: Sequence[Sample], path: str | Path, size: tuple[int, int] = SIZE
) -> Path:
    """Label pictures into a submission, behind a progress bar; the zip appears whole and validated, or not at all.

    Pixels below the segmenter's ``min_confidence`` are invalid; with 0 none is, and UIoU then equals IoU.

    Args:
        segmenter: its settings are put back as they were.
        samples: the test pictures, e.g. ``open_data_set("dark-zurich", root, "test")``.
        path: the zip.
        size: (height, width) every picture must have.

    Raises:
        DataSetError: two frames of one name, a picture of another size, or a result that does not validate.
        ImageError: a picture cannot be read.
        OutputError: the zip cannot be written.
        SettingsError: the model gives labels without scores.
    """
    frames = [sample.frame for sample in samples]
    doubles = sorted({frame for frame in frames if frames.count(frame) > 1})
    if doubles or not frames:
        what = f"{len(doubles)} frame names twice, e.g. {doubles[0]}" if doubles else "no pictures"
        raise DataSetError(f"{path}: got {what}, expected pictures whose names differ")
    if "confidence" in segmenter.metadata.absent:
        raise SettingsError(f"submission: has a confidence for every pixel: {segmenter.metadata.absent['confidence']}")
    settings = segmenter.settings
    segmenter.settings = dataclasses.replace(settings, min_confidence=0.0)
    try:
        with whole_file(path) as partial:
            with zipfile.ZipFile(partial, "w") as archive:
                for sample in tqdm(samples, desc="submission", unit="image", disable=None):
                    prediction = _segment(segmenter, sample, size)
                    for folder, picture in _pictures(prediction, settings.min_confidence).items():
                        archive.writestr(zipfile.ZipInfo(f"{folder}/{sample.frame}.png"), _encode(picture))
            validate_submission(partial, frames, size)
    finally:
        segmenter.settings = settings
    return Path(path)


def validate_submission(path: str | Path, expected_names: Sequence[str], size: tuple[int, int] = SIZE) -> None:
    """Check a submission completely: its entries, their format, their values.

    Args:
        path: the zip.
        expected_names: the frames, without folder and suffix.
        size: (height, width) every picture must have.

    Raises:
        DataSetError: what is wrong: how many entries of each kind, and the first.
        OutputError: there is no such zip, or it is damaged.
    """
    expected = {f"{folder}/{name}.png" for folder in FOLDERS for name in expected_names}
    problems = Problems(str(path))
    try:
        with zipfile.ZipFile(path) as archive:
            there = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
            for name in sorted(expected - set(there)):
                problems.add("missing files", name)
            for name in sorted(set(there) - expected):
                problems.add("unexpected files", name)
            for name in sorted({one for one in there if there.count(one) > 1}):
                problems.add("files twice", name)
            for frame in expected_names:
                if all(f"{folder}/{frame}.png" in there for folder in FOLDERS):
                    _check_frame(archive, frame, size, problems)
    except (OSError, zipfile.BadZipFile) as error:
        raise OutputError(f"{path}: not a usable zip: {error}") from error
    problems.raise_if_any()


def _segment(segmenter: NightSegmenter, sample: Sample, size: tuple[int, int]) -> Prediction:
    rgb = sample.read_image()
    if rgb.shape[:2] != size:
        height, width = rgb.shape[:2]
        raise DataSetError(f"{sample.image_path}: got {width}x{height} pixels, expected {size[1]}x{size[0]}")
    try:
        return segmenter.segment(rgb, with_relit=False)
    except NotFiniteError as error:
        raise NotFiniteError(f"{sample.image_path}: {error}") from error


def _pictures(prediction: Prediction, invalid_below: float) -> dict[str, Picture]:
    confidence = prediction.confidence
    invalid = prediction.labels.copy()
    invalid[confidence < invalid_below] = IGNORE_ID
    return {
        LABELS: prediction.labels,
        INVALID: invalid,
        CONFIDENCE: np.rint(confidence * np.iinfo(np.uint16).max).astype(np.uint16),
    }


def _encode(picture: Picture) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


def _check_frame(archive: zipfile.ZipFile, frame: str, size: tuple[int, int], problems: Problems) -> None:
    kinds = {LABELS: np.uint8, INVALID: np.uint8, CONFIDENCE: np.uint16}
    pictures = {}
    for folder, kind in kinds.items():
        name = f"{folder}/{frame}.png"
        picture = cv2.imdecode(np.frombuffer(archive.read(name), dtype=np.uint8), cv2.IMREAD_UNCHANGED)
        if picture is None or picture.shape != size or picture.dtype != kind:
            got = "no picture" if picture is None else f"{picture.dtype} of shape {picture.shape}"
            problems.add("files of the wrong format", f"{name}: got {got}, expected grey {np.dtype(kind)} of {size}")
            return
        pictures[folder] = picture
    labels, invalid = pictures[LABELS], pictures[INVALID]
    if labels.max() >= NUM_CLASSES:
        problems.add("label files with ids that are none", f"{LABELS}/{frame}.png: got {labels.max()}, expected 0..18")
    if ((invalid != labels) & (invalid != IGNORE_ID)).any():
        problems.add(f"files that differ from {LABELS} in more than 255", f"{INVALID}/{frame}.png")
