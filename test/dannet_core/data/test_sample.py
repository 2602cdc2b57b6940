from pathlib import Path

import numpy as np
import pytest

from dannet_core.classes import LABEL_ID_TO_TRAIN_ID
from dannet_core.data.sample import LABEL_IDS, TRAIN_IDS, DataSet, Sample, check_labels, read_labels
from dannet_core.errors import DataSetError, ImageError


def test_label_ids_become_train_ids_and_what_is_not_evaluated_becomes_255(write_labels):
    path = write_labels("a_labelIds.png", tuple(range(34)), size=(64, 340))
    labels = read_labels(path, LABEL_IDS)
    assert labels.shape == (64, 340)
    assert labels.dtype == np.uint8
    expected = [LABEL_ID_TO_TRAIN_ID.get(label_id, 255) for label_id in range(34)]
    np.testing.assert_array_equal(labels[0, ::10], expected)


def test_train_ids_stay_as_they_are(write_labels):
    ids = (*range(19), 255)
    labels = read_labels(write_labels("a_labelTrainIds.png", ids, size=(64, 200)), TRAIN_IDS)
    np.testing.assert_array_equal(labels[10, ::10], ids)


@pytest.mark.parametrize(
    ("encoding", "ids", "said"),
    [
        (LABEL_IDS, (7, 34), "3072 pixels are no label ids: got id 34, expected label ids 0..33 or 255"),
        (LABEL_IDS, (7, 254), "3072 pixels are no label ids: got id 254, expected label ids 0..33 or 255"),
        (TRAIN_IDS, (0, 19), "3072 pixels are no train ids: got id 19, expected train ids 0..18 or 255"),
        (TRAIN_IDS, (0, 254), "3072 pixels are no train ids: got id 254, expected train ids 0..18 or 255"),
    ],
)
def test_an_id_that_the_encoding_does_not_have_is_named_with_its_file(write_labels, encoding, ids, said):
    path = write_labels("a.png", ids)
    with pytest.raises(DataSetError) as caught:
        read_labels(path, encoding)
    assert str(caught.value) == f"{path}: {said}"


def test_255_is_no_mistake_in_either_encoding(write_labels):
    path = write_labels("a.png", (255, 8))
    np.testing.assert_array_equal(np.unique(read_labels(path, LABEL_IDS)), [1, 255])
    np.testing.assert_array_equal(np.unique(read_labels(path, TRAIN_IDS)), [8, 255])


def test_colour_damaged_and_missing_label_files_are_named(write_image, write_labels, tmp_path):
    with pytest.raises(DataSetError, match=r"colour\.png: labels in colour, expected ids .*write the ids as 8-bit"):
        read_labels(write_image("colour.png"), TRAIN_IDS)
    path = write_labels("damaged.png", (0, 1))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataSetError, match=r"damaged\.png: damaged label file"):
        read_labels(path, TRAIN_IDS)
    with pytest.raises(DataSetError, match=r"absent\.png: no such label file"):
        read_labels(tmp_path / "absent.png", TRAIN_IDS)


def test_a_sample_reads_its_files_and_says_when_there_are_none(write_image, write_labels, tmp_path):
    sample = Sample("seq/frame", write_image("i.png"), write_labels("l.png", (7, 8)), LABEL_IDS)
    assert sample.frame == "frame"
    assert sample.read_image().shape == (64, 96, 3)
    np.testing.assert_array_equal(np.unique(sample.read_labels()), [0, 1])
    bare = Sample("frame", tmp_path / "absent.png")
    with pytest.raises(ImageError, match=r"absent\.png: no such image file"):
        bare.read_image()
    with pytest.raises(DataSetError, match="this split has no labels"):
        bare.read_labels()


def test_checking_names_how_many_label_files_are_unusable_and_the_first(write_labels):
    files = [write_labels("0.png", (0, 1)), write_labels("1.png", (0, 77)), write_labels("2.png", (0, 78))]
    samples = tuple(Sample(path.stem, Path("x.png"), path, TRAIN_IDS) for path in files)
    with pytest.raises(DataSetError) as caught:
        check_labels(DataSet("d", "val", Path("r"), samples))
    assert str(caught.value).startswith(f"d val in r: 2 unusable label files (first: {files[1]}: ")
    check_labels(DataSet("d", "val", Path("r"), samples[:1]))


def test_a_split_without_labels_cannot_be_checked_and_has_no_label_folder():
    data_set = DataSet("d", "test", Path("r"), (Sample("a", Path("a.png")),))
    assert not data_set.labelled
    with pytest.raises(DataSetError, match=r"a\.png: use a labelled split"):
        check_labels(data_set)
    with pytest.raises(DataSetError, match="no labels"):
        _ = data_set.label_folder
