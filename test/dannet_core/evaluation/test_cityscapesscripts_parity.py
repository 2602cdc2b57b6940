"""The scores equal those of the Cityscapes data set's own evaluator, on random and on real label maps."""

from __future__ import annotations

import importlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from dannet_core.classes import CLASS_NAMES, LABEL_ID_TO_TRAIN_ID
from dannet_core.data.registry import open_data_set
from dannet_core.data.sample import LABEL_IDS, read_labels
from dannet_core.evaluation.confusion import ConfusionMatrix

NAME = "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"
REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "nighttime_driving"
TRAIN_TO_LABEL_ID = np.zeros(256, np.uint8)
for _label_id, _train_id in LABEL_ID_TO_TRAIN_ID.items():
    TRAIN_TO_LABEL_ID[_train_id] = _label_id


@pytest.fixture(scope="module")
def evaluator():
    """The evaluator, told to score classes only and to print nothing."""
    try:
        module = importlib.import_module(NAME)
    except ImportError as error:
        pytest.skip(f"cityscapesscripts and pyquaternion are not installed: {error}")
    module.args.evalInstLevelScore = False
    module.args.JSONOutput = False
    module.args.quiet = True
    return module


def compare(evaluator, labels: list[Path], predictions: list[Path], encoding: str = LABEL_IDS) -> ConfusionMatrix:
    theirs = evaluator.evaluateImgLists(list(map(str, predictions)), list(map(str, labels)), evaluator.args)
    ours = ConfusionMatrix()
    for label, prediction in zip(labels, predictions, strict=True):
        ours.add(read_labels(label, encoding), read_labels(prediction, LABEL_IDS))
    expected = np.array([theirs["classScores"][name] for name in CLASS_NAMES])
    np.testing.assert_allclose(ours.iou, expected, rtol=0, atol=1e-9, equal_nan=True)
    assert ours.miou_cityscapes == pytest.approx(theirs["averageScoreClasses"], abs=1e-9)
    return ours


def write(path: Path, ids: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), ids)
    return path


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_maps_of_all_label_ids_unknown_predictions_included(evaluator, tmp_path, seed):
    rng = np.random.default_rng(seed)
    labels, predictions = [], []
    for index in range(3):
        ids = rng.integers(0, 34, (60, 90), dtype=np.uint8)
        taken = np.where(rng.random(ids.shape) < 0.6, ids, rng.integers(0, 34, ids.shape)).astype(np.uint8)
        labels.append(write(tmp_path / f"{index}_gtFine_labelIds.png", ids))
        predictions.append(write(tmp_path / f"{index}_pred.png", taken))
    ours = compare(evaluator, labels, predictions)
    assert 0.3 < ours.miou_cityscapes < 0.6
    assert ours.counts[:, 19].sum() > 0
    assert ours.miou_19 == pytest.approx(ours.miou_cityscapes, abs=1e-12)
    assert ours.miou_present == pytest.approx(ours.miou_cityscapes, abs=1e-12)


def test_maps_that_lack_classes(evaluator, tmp_path):
    rng = np.random.default_rng(3)
    some, other = np.array([0, 7, 8, 11, 26], np.uint8), np.array([7, 8, 22, 33], np.uint8)
    label = write(tmp_path / "a_gtFine_labelIds.png", some[rng.integers(0, 5, (60, 90))])
    prediction = write(tmp_path / "a_pred.png", other[rng.integers(0, 4, (60, 90))])
    ours = compare(evaluator, [label], [prediction])
    # Labelled: road, sidewalk, building, car; predicted besides: terrain, bicycle.
    assert ours.miou_present == pytest.approx(ours.miou_cityscapes * 6 / 4)
    assert ours.miou_19 == pytest.approx(ours.miou_cityscapes * 6 / 19)


@pytest.mark.parametrize("predicts_absent_classes", [False, True])
def test_the_real_nighttime_driving_labels(evaluator, tmp_path, predicts_absent_classes):
    if not REAL.is_dir():
        pytest.skip(f"no {REAL}")
    rng = np.random.default_rng(11)
    labels, predictions = [], []
    for sample in open_data_set("nighttime-driving", REAL, need_images=False, encoding="label_ids"):
        # A prediction that is right in places: the labels, shifted and with blocks of other classes.
        truth = sample.read_labels()[::6, ::6]
        taken = np.roll(truth, (3, 5), axis=(0, 1))
        for _ in range(12):
            row, column = rng.integers(0, truth.shape[0] - 40), rng.integers(0, truth.shape[1] - 40)
            taken[row : row + 40, column : column + 40] = rng.choice(
                [0, 2, 8, 9, 13, 17] if predicts_absent_classes else [0, 2, 8, 13]
            )
        ids = cv2.imread(str(sample.label_path), cv2.IMREAD_UNCHANGED)[::6, ::6]
        labels.append(write(tmp_path / sample.label_path.name, ids))
        predictions.append(write(tmp_path / "predictions" / sample.label_path.name, TRAIN_TO_LABEL_ID[taken]))
    ours = compare(evaluator, labels, predictions)
    absent = [CLASS_NAMES[i] for i in np.flatnonzero(~ours.present)]
    assert absent == ["terrain", "motorcycle"]
    assert ours.miou_19 == pytest.approx(ours.miou_present * 17 / 19)
    same = ours.miou_19 if predicts_absent_classes else ours.miou_present
    assert ours.miou_cityscapes == pytest.approx(same, abs=1e-12)
