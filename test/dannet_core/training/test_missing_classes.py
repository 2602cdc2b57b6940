import shutil

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dannet_core.classes import CLASS_NAMES  # noqa: E402 - after the skip
from dannet_core.data.class_shares import count_class_shares  # noqa: E402
from dannet_core.data.registry import open_data_set  # noqa: E402
from dannet_core.errors import DannetError, SettingsError  # noqa: E402
from dannet_core.formats.label_palette import LABEL_IDS  # noqa: E402
from dannet_core.formats.label_png import read_label_png  # noqa: E402
from dannet_core.networks.weights import load_metadata, load_weights, save_weights  # noqa: E402
from dannet_core.pixels import read_rgb  # noqa: E402
from dannet_core.training.missing_classes import LEAST_SHARE, SOURCE, fill_in  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402
from dannet_core.training.start_labels import FOLDER, certain_labels  # noqa: E402

BUILDING, SKY = CLASS_NAMES.index("building"), CLASS_NAMES.index("sky")
BUILDING_ID = 11
CERTAIN = 0.1


@pytest.fixture
def start(tiny_run, tmp_path):
    """A model of six steps, which takes what it is least sure of for a building."""
    path = run_training(tiny_run(run_dir=tmp_path / "pre", optimiser__steps=6, optimiser__lr=0.05), "pretrain")
    net = load_weights(path)
    with torch.no_grad():
        net.segmentation.high_classifier.bias[BUILDING] += 1.5
    return save_weights(net, path, load_metadata(path))


@pytest.fixture
def without_buildings(toy_root, tmp_path):
    """The toy city's labelled pictures, whose makers labelled no building."""
    root = tmp_path / "without_buildings"
    shutil.copytree(toy_root / "cityscapes", root)
    for path in (root / "gtFine").rglob("*_labelIds.png"):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        labels[labels == BUILDING_ID] = 0
        cv2.imwrite(str(path), labels)
    for cache in root.rglob("*.json"):
        cache.unlink()
    return root


def test_only_unlabelled_pixels_and_missing_classes_are_filled_in():
    labels = np.array([[255, 255, 255, BUILDING]], np.uint8)
    known = np.array([[SKY, BUILDING, 255, SKY]], np.uint8)
    filled = fill_in(labels, known, [SKY])
    assert filled.tolist() == [[SKY, 255, 255, BUILDING]]
    assert filled.dtype == np.uint8


def test_a_class_that_no_label_has_is_labelled_as_the_start_is_certain(tiny_run, without_buildings, start, capsys):
    changes = {"init": start, "data__source": without_buildings, "beyond__missing_classes": True}
    changes |= {"beyond__certain_start": CERTAIN, "optimiser__steps": 2}
    config = tiny_run(**changes)
    run_training(config, "train")
    folder, net = config.run_dir / FOLDER / SOURCE, load_weights(start)
    pictures = sorted((without_buildings / "leftImg8bit/train").rglob("*.png"))
    assert len(list(folder.rglob("*.png"))) == len(pictures)
    buildings = 0
    for picture in pictures:
        city, name = picture.parent.name, picture.stem.removesuffix("_leftImg8bit")
        own = read_label_png(without_buildings / "gtFine/train" / city / f"{name}_gtFine_labelIds.png", LABEL_IDS)
        filled = read_label_png(folder / city / f"{name}_labelTrainIds.png", "train_ids")
        known = certain_labels(net, read_rgb(picture), CERTAIN, torch.device("cpu"), config.model.input_size)
        np.testing.assert_array_equal(filled == BUILDING, (own == 255) & (known == BUILDING))
        np.testing.assert_array_equal(filled[own != 255], own[own != 255])
        buildings += int((filled == BUILDING).sum())
    assert buildings > 0
    own_shares = count_class_shares(open_data_set("cityscapes", without_buildings, "train")).shares
    assert load_metadata(config.run_dir / "last.safetensors").class_shares == pytest.approx(own_shares)
    missing, _, filled_in = capsys.readouterr().out.partition("in no label of cityscapes train in ")[2].partition(";")
    assert "building" in missing
    assert "sky" not in missing
    share = buildings / (len(pictures) * own.size)
    assert share > LEAST_SHARE
    assert f"share of all pixels: building ({share:.2%})" in filled_in


def test_a_class_of_a_few_pixels_is_rather_a_mistake(tiny_run, without_buildings, start, monkeypatch, capsys):
    monkeypatch.setattr("dannet_core.training.missing_classes.LEAST_SHARE", 0.9)
    changes = {"init": start, "data__source": without_buildings, "beyond__missing_classes": True}
    config = tiny_run(beyond__certain_start=CERTAIN, optimiser__steps=1, **changes)
    run_training(config, "train")
    folder = config.run_dir / FOLDER / SOURCE
    for path in (without_buildings / "gtFine/train").rglob("*_labelIds.png"):
        name = path.name.replace("_gtFine_labelIds", "_labelTrainIds")
        as_it_was = read_label_png(path, LABEL_IDS)
        np.testing.assert_array_equal(read_label_png(folder / path.parent.name / name, "train_ids"), as_it_was)
    assert "share of all pixels: none, since none has 90.0%" in capsys.readouterr().out


def test_a_resumed_run_has_its_labels_and_needs_the_model_no_more(tiny_run, without_buildings, start):
    changes = {"init": start, "data__source": without_buildings, "beyond__missing_classes": True}
    changes |= {"beyond__certain_start": CERTAIN}
    config = tiny_run(**changes)
    before = load_weights(run_training(config, "train")).state_dict()
    (config.run_dir / "checkpoints" / "step_00000004.pt").unlink()  # as if killed after step 2
    start.unlink()
    again = run_training(tiny_run(resume=True, **changes), "train")
    torch.testing.assert_close(load_weights(again).state_dict(), before, rtol=0, atol=0)
    next((config.run_dir / FOLDER / SOURCE).rglob("*.png")).unlink()
    with pytest.raises(DannetError, match=r"the labels that this run began with are gone: start anew"):
        run_training(tiny_run(resume=True, **changes), "train")


def test_a_larger_teacher_labels_them_in_the_place_of_the_start(tiny_run, without_buildings, start, tmp_path):
    larger = tmp_path / "larger.safetensors"
    net = load_weights(start)
    with torch.no_grad():
        net.segmentation.high_classifier.bias[BUILDING] += 1000  # whatever it sees
    save_weights(net, larger, load_metadata(start))
    changes = {"init": start, "data__source": without_buildings, "beyond__missing_classes": True}
    config = tiny_run(beyond__larger_teacher=larger, optimiser__steps=1, **changes)
    run_training(config, "train")
    maps = [read_label_png(path, "train_ids") for path in (config.run_dir / FOLDER / SOURCE).rglob("*.png")]
    assert maps
    assert all((labels != 255).all() for labels in maps)


def test_a_run_that_does_not_ask_keeps_its_labels(tiny_run, without_buildings, start):
    config = tiny_run(init=start, data__source=without_buildings, optimiser__steps=1)
    run_training(config, "train")
    assert not (config.run_dir / FOLDER).exists()


def test_it_needs_a_model_that_knows_them(tiny_run, without_buildings):
    config = tiny_run(data__source=without_buildings, beyond__missing_classes=True)
    with pytest.raises(SettingsError, match=r"beyond.missing_classes needs init") as caught:
        run_training(config, "train")
    assert "\n" not in str(caught.value)
    assert not config.run_dir.exists()


def test_a_folder_that_holds_a_run_keeps_its_labels(tiny_run, without_buildings, start):
    changes = {"init": start, "data__source": without_buildings, "optimiser__steps": 1}
    config = tiny_run(watch__checkpoint_every=1, **changes)
    run_training(config, "train")
    with pytest.raises(SettingsError, match="holds a run already"):
        run_training(tiny_run(beyond__missing_classes=True, **changes), "train")
    assert not (config.run_dir / FOLDER).exists()
