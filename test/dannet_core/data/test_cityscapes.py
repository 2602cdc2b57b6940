from pathlib import Path

import pytest

from dannet_core.data.registry import open_data_set
from dannet_core.errors import DataSetError

IMAGES, LABELS = "leftImg8bit/val", "gtFine/val"


@pytest.fixture
def city(write_image, write_labels, tmp_path):
    """Three labelled pictures of two towns."""
    for name in ("ulm/ulm_000000_000019", "ulm/ulm_000001_000019", "bonn/bonn_000000_000019"):
        write_image(f"{IMAGES}/{name}_leftImg8bit.png")
        write_labels(f"{LABELS}/{name}_gtFine_labelIds.png", (7, 8, 11))
    return tmp_path


def test_samples_are_paired_named_and_in_order(city):
    data_set = open_data_set("cityscapes", city, "val")
    assert [sample.name for sample in data_set] == [
        "bonn/bonn_000000_000019", "ulm/ulm_000000_000019", "ulm/ulm_000001_000019",
    ]  # fmt: skip
    assert data_set.labelled
    assert data_set.label_folder == city / LABELS
    assert set(data_set[0].read_labels().ravel()) == {0, 1, 2}
    assert str(data_set) == f"cityscapes val in {city}"


def test_the_split_to_evaluate_on_is_the_default(city):
    assert open_data_set("cityscapes", city).split == "val"


def test_jpeg_images_and_foreign_leftovers_are_fine(city, write_image):
    png = city / IMAGES / "ulm" / "ulm_000000_000019_leftImg8bit.png"
    png.unlink()
    write_image(f"{IMAGES}/ulm/ulm_000000_000019_leftImg8bit.jpg")
    png.with_name(f"._{png.name}").write_bytes(b"Mac OS X")
    png.with_name("notes.txt").write_text("hello")
    assert len(open_data_set("cityscapes", city, "val")) == 3


def test_label_ids_are_preferred_and_train_ids_used_where_only_they_are_complete(city, write_labels):
    names = [sample.name for sample in open_data_set("cityscapes", city, "val")]
    for name in names:
        write_labels(f"{LABELS}/{name}_gtFine_labelTrainIds.png", (0, 255))
    assert open_data_set("cityscapes", city, "val")[0].encoding == "label_ids"
    assert open_data_set("cityscapes", city, "val", encoding="train_ids")[0].encoding == "train_ids"
    (city / LABELS / f"{names[1]}_gtFine_labelIds.png").unlink()
    samples = open_data_set("cityscapes", city, "val")
    assert {sample.encoding for sample in samples} == {"train_ids"}
    with pytest.raises(DataSetError, match="1 of 3 images without a label"):
        open_data_set("cityscapes", city, "val", encoding="label_ids")


def test_everything_wrong_is_named_at_once_with_counts_and_the_first_file(city, write_image, write_labels):
    (city / LABELS / "bonn/bonn_000000_000019_gtFine_labelIds.png").unlink()
    write_labels(f"{LABELS}/ulm/ulm_000009_000019_gtFine_labelIds.png", (7,))
    write_labels(f"{LABELS}/ulm/ulm_000000_000019_gtFine_labelIds.png", (7,), size=(64, 90))
    damaged = city / IMAGES / "ulm/ulm_000001_000019_leftImg8bit.png"
    damaged.write_bytes(damaged.read_bytes()[:500])
    with pytest.raises(DataSetError) as caught:
        open_data_set("cityscapes", city, "val")
    message = str(caught.value)
    assert "\n" not in message
    assert f"cityscapes val in {city}: 1 of 3 images without a label (first: " in message
    assert f"expected {city / LABELS / 'bonn/bonn_000000_000019_gtFine_labelIds.png'}" in message
    assert "1 of 3 labels without an image" in message
    assert "1 labels of another size than their image" in message
    assert "labelIds.png is 90x64" in message
    assert "1 unreadable files" in message
    assert "cut off before its end" in message


def test_linked_towns_are_read_and_links_to_nowhere_are_named(city, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk")
    for kind in (IMAGES, LABELS):
        (city / kind / "ulm").rename(disk / kind.replace("/", "_"))
        (city / kind / "ulm").symlink_to(disk / kind.replace("/", "_"))
        (city / kind / "loop").symlink_to(city / kind)
    assert len(open_data_set("cityscapes", city, "val")) == 3
    for kind in (IMAGES, LABELS):
        (city / kind / "essen").symlink_to(disk / "unmounted" / kind)
    with pytest.raises(DataSetError, match=r"2 broken links or unreadable folders \(first: .*essen: broken link to"):
        open_data_set("cityscapes", city, "val")


def test_labels_are_found_whatever_the_case_of_their_suffix(city):
    label = city / LABELS / "ulm/ulm_000000_000019_gtFine_labelIds.png"
    label.rename(label.with_suffix(".PNG"))
    assert len(open_data_set("cityscapes", city, "val")) == 3


def test_labels_in_colour_are_refused(city, write_image):
    write_image(f"{LABELS}/ulm/ulm_000000_000019_gtFine_labelIds.png")
    with pytest.raises(DataSetError, match=r"1 unusable label files .*labels in colour"):
        open_data_set("cityscapes", city, "val")


def test_a_split_without_labels_needs_none(city, write_image):
    write_image("leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png")
    data_set = open_data_set("cityscapes", city, "test")
    assert not data_set.labelled
    assert data_set[0].label_path is None


def test_wrong_folders_names_and_splits_are_one_line_with_the_fix(city, tmp_path):
    (tmp_path / "outer" / "inner" / IMAGES).mkdir(parents=True)
    cases = {
        ("cityscapes", tmp_path / "absent", "val"): "no such folder",
        ("cityscapes", city, "train"): "got a folder without 'leftImg8bit/train', expected it inside",
        ("cityscapes", city / "gtFine", "val"): f"did you mean {city}?",
        ("cityscapes", tmp_path / "outer", "val"): f"did you mean {tmp_path / 'outer' / 'inner'}?",
        ("cityscapes", city, "vall"): "got split 'vall', expected one of train, val, test",
        ("citiscapes", city, "val"): "got 'citiscapes', expected one of cityscapes, dark-zurich",
    }
    for arguments, said in cases.items():
        with pytest.raises(DataSetError) as caught:
            open_data_set(*arguments)
        assert said in str(caught.value)
    with pytest.raises(DataSetError, match="encoding: got 'ids', expected one of label_ids, train_ids"):
        open_data_set("cityscapes", city, "val", encoding="ids")


def test_empty_folders_say_what_names_are_expected(tmp_path, write_image):
    (tmp_path / IMAGES).mkdir(parents=True)
    with pytest.raises(DataSetError, match=r"no image, expected names like NAME_leftImg8bit\.png"):
        open_data_set("cityscapes", tmp_path, "val")
    write_image(f"{IMAGES}/ulm/a_leftImg8bit.png")
    with pytest.raises(DataSetError, match="folder without labels, expected 'gtFine/val' inside"):
        open_data_set("cityscapes", tmp_path, "val")
    (tmp_path / LABELS).mkdir(parents=True)
    with pytest.raises(
        DataSetError, match=r"no label, expected names like NAME_gtFine_labelIds\.png or NAME_gtFine_la"
    ):
        open_data_set("cityscapes", tmp_path, "val")


def test_reads_the_real_photographs_laid_out_as_cityscapes():
    root = Path(__file__).resolve().parents[4] / "shared" / "data" / "camvid_night" / "cityscapes"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    assert len(open_data_set("cityscapes", root, "train")) == 204
    val = open_data_set("cityscapes", root, "val")
    assert len(val) == 34
    assert set(val[0].read_labels().ravel()) <= {0, 1, 2, 4, 5, 7, 8, 10, 11, 13, 18, 255}
