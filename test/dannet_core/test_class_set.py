"""Class sets: what YAML may say, what is refused, and that a model file carries its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dannet_core.class_set import CITYSCAPES, ClassSet, made_up_color, read_class_set, require_same_classes
from dannet_core.classes import CITYSCAPES_CLASS_SHARES, CLASS_COLORS, CLASS_NAMES, train_ids_from_label_ids
from dannet_core.errors import ModelFileError, SettingsError
from dannet_core.metadata import ModelMetadata

OFF_ROAD = """
name: off-road
classes:
  - {name: trail, color: [200, 180, 60], ids: [1, 2], static: true, share: 0.6}
  - {name: water, color: [20, 60, 200], ids: 7, share: 0.1}
  - {name: rest, ids: [40], static: true, share: 0.3}
ignore: [0]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "classes.yaml"
    path.write_text(text)
    return path


def test_the_built_in_set_is_what_the_constants_say():
    assert (CITYSCAPES.names, CITYSCAPES.colors, CITYSCAPES.shares) == (
        CLASS_NAMES,
        CLASS_COLORS,
        CITYSCAPES_CLASS_SHARES,
    )
    np.testing.assert_array_equal(CITYSCAPES.train_ids, train_ids_from_label_ids(np.arange(256, dtype=np.uint8)))
    assert CITYSCAPES.last_id(label_ids=True) == (33, "0..33 or 255")
    assert CITYSCAPES.last_id(label_ids=False) == (18, "0..18 or 255")
    assert CITYSCAPES.static == tuple(range(11))


def test_reads_names_colours_ids_static_classes_and_shares(tmp_path):
    classes = read_class_set(written(tmp_path, OFF_ROAD))
    assert (classes.name, classes.names, classes.static) == ("off-road", ("trail", "water", "rest"), (0, 2))
    assert classes.shares == (0.6, 0.1, 0.3)
    assert classes.colors == ((200, 180, 60), (20, 60, 200), made_up_color(2))
    assert [int(classes.train_ids[one]) for one in (1, 2, 7, 40, 0, 3, 255)] == [0, 0, 1, 2, 255, 255, 255]
    assert np.flatnonzero(classes.unknown_label_ids == 0).tolist() == [0, 1, 2, 7, 40, 255]
    assert classes.last_id(label_ids=True) == (None, "0, 1, 2, 7, 40 or 255, as off-road has them")
    np.testing.assert_array_equal(classes.colormap[[1, 255]], [[20, 60, 200], [0, 0, 0]])


def test_names_alone_are_enough_and_there_may_be_255(tmp_path):
    names = [f"class {index}" for index in range(255)]
    classes = read_class_set(written(tmp_path, "classes: [" + ", ".join(names) + "]"))
    assert (len(classes), classes.name, classes.shares) == (255, "classes", None)
    assert classes.known_shares == (1 / 255,) * 255
    np.testing.assert_array_equal(classes.train_ids, np.arange(256))
    assert len(set(classes.colors[:30])) == 30


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("classes: [one]", "got 1 classes, expected 2 to 255"),
        ("classes: [" + ", ".join(f"c{i}" for i in range(256)) + "]", "got 256 classes, expected 2 to 255"),
        ("classes: [a, a]", "got class 'a' twice"),
        ("classes: [a, unknown]", "got class 'unknown', which pixels without a label are called"),
        ("classes: [a, 3]", "class 1: got 3, expected a name, or a mapping with one"),
        ("classes: [a, {name: b, colour: [1, 2, 3]}]", "class 'b': unknown key 'colour', expected name, color, ids"),
        ("classes: [a, {name: b, color: [1, 2]}]", r"got a colour that is none, expected \[red, green, blue\]"),
        ("classes: [a, {name: b, color: [1, 2, 256]}]", "got a colour that is none"),
        ("classes: [a, {name: b, ids: [1.5]}]", r"class 'b': ids: got \[1.5\], expected a list of whole numbers"),
        ("classes: [a, {name: b, ids: [0]}]", "id 0 is both 'a' and 'b', expected one"),
        ("classes: [a, {name: b, ids: [255]}]", "class 'b': got id 255, expected 0 to 254"),
        ("classes: [a, {name: b, static: 1}]", "class 'b': static: got 1, expected true or false"),
        ("classes: [a, {name: b, share: 0.5}]", "got shares of 1 of 2 classes, expected all or none"),
        ("classes: [{name: a, share: 0}, {name: b, share: 1}]", "expected one of each class, above 0 and up to 1"),
        ("classes: [a, b]\nignored: [3]", "unknown key 'ignored', expected name, classes, ignore"),
        ("classes: [a, b]\nignore: [1]", "id 1 is both 'ignore' and 'b'"),
        ("names: [a, b]", "got no list 'classes'"),
        ("classes: [a, b", "not a YAML file"),
        ("- a\n- b", "got no list 'classes'"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_the_file(tmp_path, text, said):
    path = written(tmp_path, text)
    with pytest.raises(SettingsError, match=said) as caught:
        read_class_set(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.yaml: cannot read the class set: No such file"):
        read_class_set(tmp_path / "none.yaml")


def test_a_model_file_carries_its_classes_and_those_of_cityscapes_change_nothing(tmp_path):
    classes = read_class_set(written(tmp_path, OFF_ROAD))
    plain = ModelMetadata("lraspp", "mobilenet_v3_large")
    assert plain.classes is CITYSCAPES
    assert plain.with_classes(CITYSCAPES) == plain
    assert not {"dannet.class_details", "dannet.scores"} & plain.to_strings().keys()
    read_back = ModelMetadata.from_strings(plain.with_classes(classes).to_strings(), "x.onnx")
    assert read_back.classes == classes
    assert read_back.num_classes == 3
    assert plain.with_classes(classes, (0.2, 0.2, 0.6)).class_shares == (0.2, 0.2, 0.6)


def test_damaged_class_details_are_named():
    strings = ModelMetadata("lraspp", "mobilenet_v3_large").to_strings()
    for damage in ('{"colors": [[1, 2]]}', '{"ids": 3}', '{"static": [99]}', "[1]"):
        with pytest.raises(ModelFileError, match=r"x\.onnx: metadata 'class_details'"):
            ModelMetadata.from_strings(strings | {"dannet.class_details": damage}, "x.onnx")


def test_a_mismatch_names_both(tmp_path):
    classes = read_class_set(written(tmp_path, OFF_ROAD))
    message = (
        r"the model has the 19 classes of cityscapes \(road, sidewalk, building, wall, \.\.\.\), but drive has the 3 "
        r"classes of off-road \(trail, water, rest\), expected the same"
    )
    with pytest.raises(SettingsError, match=message):
        require_same_classes(CITYSCAPES, classes, "drive")
    require_same_classes(classes, ClassSet("other", classes.names, classes.colors, classes.label_ids), "drive")
