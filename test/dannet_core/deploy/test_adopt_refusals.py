"""Graphs that are not adopted: one line each that says what was got and what to do, and nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from foreign_graphs import HEIGHT, WIDTH, TinyGraph
from onnx import TensorProto, helper

from dannet_core.cli.main import main
from dannet_core.deploy.adopt import foreign

CASES: dict[str, tuple[Callable[[Path], object], tuple[str, ...], str]] = {}


def refused(said: str, *arguments: str) -> Callable[[Callable[[Path], object]], Callable[[Path], object]]:
    """Registers a graph, the arguments it is adopted with, and the message; ``{p}`` is its path."""

    def add(make: Callable[[Path], object]) -> Callable[[Path], object]:
        CASES[make.__name__] = (make, arguments, said)
        return make

    return add


def full(**options) -> TinyGraph:
    return TinyGraph(**options).classify().enlarge()


@refused("{p}: cannot read: No such file or directory: check the path")
def no_file(path):
    pass


@refused("{p}: not an ONNX file: ")
def another_file(path):
    path.write_bytes(b"PK\x03\x04" + bytes(range(200)))


@refused("{p}: not an ONNX file, or one without a single node: export the model to .onnx")
def an_empty_file(path):
    path.touch()


@refused("{p}: is a file of this package already: use it as it is")
def one_of_ours(path):
    model = full().model()
    helper.set_model_props(model, {"dannet.arch": json.dumps("pspnet")})
    onnx.save(model, str(path))


@refused("{p}: got operator set 6, expected 7 or later: export it again")
def an_ancient_one(path):
    TinyGraph(opset=6).classify().save(path)


@refused("{p}: ONNX Runtime cannot run it: ")
def an_unknown_operator(path):
    graph = full()
    graph.add("Frobnicate")
    graph.save(path)


@refused("{p}: ONNX Runtime cannot run it: ")
def operators_of_the_future(path):
    full(opset=99).save(path)


@refused("{p}: draws random numbers in node 'node2' (RandomUniformLike): export it in eval mode")
def a_graph_in_training_mode(path):
    TinyGraph().classify().add("RandomUniformLike").enlarge().save(path)


@refused("{p}: needs the inputs picture, mask, expected a picture alone: ", "--input", "picture")
def two_inputs_that_both_count(path):
    model = full().add("Add", "mask").model()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, HEIGHT, WIDTH]))
    onnx.save(model, str(path))


@refused("input: got 'pixels', expected one of 'picture' 1 x 3 x 64 x 96 of {p}", "--input", "pixels")
def an_input_of_another_name(path):
    full().save(path)


@refused("output: got 'logits', expected one of 'scores' 1 x 19 x ? x ? of {p}", "--output", "logits")
def an_output_of_another_name(path):
    full().save(path, shape=[1, 19, "h", "w"])


@refused(
    "{p}: input 'picture' is 1 x 3 float32, expected a picture: 1 x 3 x H x W or 1 x H x W x 3 of float32, float16,"
)
def no_picture_goes_in(path):
    TinyGraph((1, 3)).constant("w", np.ones((3, 19))).add("MatMul", "w").save(path)


@refused("{p}: input 'picture' is of unknown rank float32, expected a picture")
def an_input_of_unknown_rank(path):
    model = full().model()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(model, str(path))


@refused("{p}: input 'picture' is 1 x 1 x 64 x 96, expected one of 3 channels: ")
def a_grey_picture(path):
    TinyGraph((1, 1, HEIGHT, WIDTH)).add("AveragePool", kernel_shape=[8, 8], strides=[8, 8]).save(path)


@refused(
    "layout: input 'picture' is 1 x ? x ? x ?, which may be nchw or nhwc: give --layout", "--input-size", "64", "96"
)
def channels_anywhere(path):
    full(shape=(1, "a", "b", "c")).save(path)


@refused("layout: got nhwc, but input 'picture' is 1 x 3 x 64 x 96", "--layout", "nhwc")
def a_wrong_layout(path):
    full().save(path)


@refused("{p}: takes 4 pictures at once, expected 1: export it for a batch of one")
def a_batch(path):
    full(shape=(4, 3, HEIGHT, WIDTH)).save(path)


@refused(
    "input_size: got (72, 96), but input 'picture' is 1 x 3 x 64 x 96: leave --input-size out",
    "--input-size",
    "72",
    "96",
)
def another_size(path):
    full().save(path)


@refused("input_size: got (32, 32), expected height and width of 64 to 16384 pixels", "--input-size", "32", "32")
def a_size_too_small(path):
    full(shape=(1, 3, "h", "w")).save(path)


@refused("{p}: does not run on a picture of [1, 3, 72, 100]: ", "--input-size", "72", "100")
def a_size_it_does_not_run_at(path):
    graph = TinyGraph((1, 3, "h", "w")).constant("fixed", [1, 3, HEIGHT, WIDTH], np.int64).add("Reshape", "fixed")
    graph.classify().save(path)


@refused("{p}: output 'scores' is 1 x 21 x 64 x 96, scores of 21 classes, expected 19, --classes names other")
def twenty_one_classes(path):
    full(classes=21).save(path)


@refused("{p}: output 'scores' is 1 x 2 x 64 x 96, scores of 2 classes, expected 19, ")
def two_classes(path):
    full(classes=2).save(path)


@refused("{p}: output 'scores' is 1 x 19 x 10 x 10, expected scores at the input's 64 x 96, or at a whole stride of it")
def scores_of_another_size(path):
    graph = TinyGraph().classify().constant("to", [1, 19, 10, 10], np.int64)
    graph.add("Resize", "", "", "to", mode="nearest").save(path)


@refused("{p}: output 'scores' is 1 x 19, expected scores of 1 x 19 x h x w or 1 x h x w x 19, or labels of 1 x h x w")
def a_classifier_of_whole_pictures(path):
    TinyGraph().classify().add("GlobalAveragePool").add("Flatten").save(path)


@refused("{p}: gives labels 0 to ")
def labels_beyond_the_classes(path):
    graph = full(classes=40).add("ArgMax", axis=1).constant("one", [1], np.int64).add("Mul", "one")
    graph.save(path, output="int64")


@refused("before_resize: the graph ends in no bilinear Resize of scores, expected one: leave it out", "--before-resize")
def a_nearest_resize(path):
    TinyGraph().classify().enlarge("nearest").save(path)


@refused("class_map: got 'road', expected FROM:TO, as 1:0, or 0:255 to leave it out", "--class-map", "road")
def a_class_map_of_names(path):
    full().save(path)


@refused("class_map: got the train ids 0, 0, expected 0 to 18 once each", "--class-map", "0:0,1:0")
def a_class_map_that_is_short(path):
    full().save(path)


@refused("mean, std: got (0.5, 0.5, 0.5) and None, expected both or neither", "--mean", "0.5", "0.5", "0.5")
def a_mean_alone(path):
    full().save(path)


@refused("mean, std, pixel_range: input 'picture' takes bytes, got ", "--mean", *("1",) * 3, "--std", *("2",) * 3)
def a_mean_for_bytes(path):
    TinyGraph(kind="uint8").add("Cast", to=TensorProto.FLOAT).classify().save(path)


@refused("pixel_range: the graph begins with Mul 0.2, which fits neither 1 nor 255: say which it wants")
def a_scale_of_neither_range(path):
    TinyGraph().constant("f", [0.2]).add("Mul", "f").classify().save(path)


@refused("{p}: gives NaN or infinity on a black picture, first in node 'node2' (Div): guard the division there")
def nan_in_the_dark(path):
    graph = TinyGraph().constant("dark", [1.7]).add("Add", "dark").add("Relu")
    graph.add("Div", graph.last).classify().save(path)


@pytest.mark.parametrize("name", CASES)
def test_refused_in_one_line(name, tmp_path, capsys):
    make, arguments, said = CASES[name]
    path, folder = tmp_path / "theirs.onnx", tmp_path / "out"
    folder.mkdir()
    make(path)
    assert main(["adopt", str(path), "--out", str(folder / "ours.onnx"), *arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("dannet adopt: " + said.replace("{p}", str(path))), message
    assert message.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_weights_that_are_not_beside_it_are_named(tmp_path, capsys):
    path = tmp_path / "theirs.onnx"
    onnx.save(full().model(), str(path), save_as_external_data=True, location="theirs.bin", size_threshold=64)
    data = (tmp_path / "theirs.bin").read_bytes()
    (tmp_path / "theirs.bin").unlink()
    assert main(["adopt", str(path), "--out", str(tmp_path / "ours.onnx")]) == 2
    said = f"dannet adopt: {tmp_path / 'theirs.bin'}: cannot read: No such file or directory: put that file, with the"
    assert capsys.readouterr().err.startswith(said)
    (tmp_path / "theirs.bin").write_bytes(data[:40])
    assert main(["adopt", str(path), "--out", str(tmp_path / "ours.onnx")]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"dannet adopt: {path}: its weights in theirs.bin cannot be taken: ")
    assert message.count("\n") == 1


def test_what_does_not_fit_into_one_file_is_refused_before_it_is_read(tmp_path, capsys, monkeypatch):
    path = tmp_path / "theirs.onnx"
    onnx.save(full().model(), str(path), save_as_external_data=True, location="theirs.bin", size_threshold=64)
    monkeypatch.setattr(foreign, "MAX_BYTES", path.stat().st_size + 100)
    assert main(["adopt", str(path), "--out", str(tmp_path / "ours.onnx")]) == 2
    assert "GB, weights included, expected at most" in capsys.readouterr().err


def test_a_target_that_is_none(tmp_path, capsys):
    path = full().save(tmp_path / "theirs.onnx")
    for out, said in (
        ("ours.pt", "got suffix '.pt', expected '.onnx'"),
        ("no/ours.onnx", "no such folder: make it first"),
    ):
        assert main(["adopt", str(path), "--out", str(tmp_path / out)]) == 2
        assert said in capsys.readouterr().err


def test_a_graph_is_not_written_over_itself(tmp_path, capsys):
    path = full().save(tmp_path / "theirs.onnx")
    before = path.read_bytes()
    assert main(["adopt", str(path), "--out", str(tmp_path / "." / "theirs.onnx")]) == 2
    assert "is the graph to adopt, expected another name: it would be lost" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_file_beside_it_that_says_nothing_is_named(tmp_path, capsys):
    path = full().save(tmp_path / "theirs.onnx")
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5]}')
    assert main(["adopt", str(path), "--out", str(tmp_path / "ours.onnx")]) == 2
    said = f"dannet adopt: {tmp_path / 'preprocessor_config.json'}: lies beside the model and cannot be understood ("
    assert capsys.readouterr().err.startswith(said)
