import json

import pytest

from dannet_core.errors import ModelFileError
from dannet_core.metadata import ModelMetadata

FULL = ModelMetadata(
    "deeplabv2", "resnet50", relighting_width=32, aspp_branches=2, input_size=(540, 960), trained=True,
    source="a test", metrics={"miou": 0.5},
)  # fmt: skip


def test_survives_the_trip_through_strings():
    strings = FULL.to_strings()
    assert all(isinstance(value, str) for value in strings.values())
    assert ModelMetadata.from_strings(strings, "x.onnx") == FULL


def test_ignores_foreign_keys():
    assert ModelMetadata.from_strings({**FULL.to_strings(), "format": "pt"}, "x") == FULL


def test_says_when_a_file_is_not_ours():
    with pytest.raises(ModelFileError, match=r"x\.onnx: not a DANNet model"):
        ModelMetadata.from_strings({"producer": "other"}, "x.onnx")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format_version", 99, "metadata version 99, expected 1"),
        ("input_size", [540], "input_size"),
        ("input_size", [1, 1], "64 to 16384"),
        ("class_shares", [0.5], "one number a class"),
        ("class_names", "road", "2 to 255 names"),
        ("trained", "yes", "true or false"),
        ("aspp_branches", -1, "at least 0"),
        ("metrics", {"miou": "high"}, "numbers"),
        ("output", "probabilities", "logits or labels"),
        ("output", ["logits"], "logits or labels"),
        ("scores", "labels", "logits or one_hot"),
        ("surprise", 1, "unknown metadata key 'surprise'"),
    ],
)
def test_refuses_damaged_values_by_name(key, value, said):
    strings = FULL.to_strings() | {f"dannet.{key}": json.dumps(value)}
    with pytest.raises(ModelFileError, match=said):
        ModelMetadata.from_strings(strings, "x.onnx")


def test_refuses_a_header_without_backbone_and_one_nested_too_deep():
    strings = FULL.to_strings()
    del strings["dannet.backbone"]
    with pytest.raises(ModelFileError, match=r"no 'dannet\.backbone'"):
        ModelMetadata.from_strings(strings, "x.onnx")
    with pytest.raises(ModelFileError, match="damaged metadata"):
        ModelMetadata.from_strings(FULL.to_strings() | {"dannet.source": "[" * 100_000}, "x.onnx")


def test_refuses_values_that_are_not_json():
    with pytest.raises(ModelFileError, match="damaged metadata"):
        ModelMetadata.from_strings(FULL.to_strings() | {"dannet.arch": "{"}, "x.onnx")


def test_what_a_model_cannot_give_follows_from_its_record():
    assert FULL.absent == {}
    assert FULL.replace(relighting_width=0).absent == {"relit": "the model has no relighting network (deeplabv2)"}
    labels = ModelMetadata("adopted", "theirs", relighting_width=0, scores="one_hot")
    assert set(labels.absent) == {"relit", "confidence"}
    assert ModelMetadata.from_strings(labels.to_strings(), "x.onnx") == labels
