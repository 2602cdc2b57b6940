"""What a foreign graph may want in front and give behind: each adopted, its labels those of plain ONNX Runtime."""

from __future__ import annotations

import json

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from foreign_graphs import HEIGHT, WIDTH, TinyGraph
from onnx import TensorProto, helper

from dannet_core import NightSegmenter
from dannet_core.cli.main import main
from dannet_core.deploy.adopt import AdoptOptions, adopt
from dannet_core.deploy.adopt.picture_input import PictureOptions
from dannet_core.deploy.engine_build import BuildOptions, build_engine
from dannet_core.errors import ModelFileError, NotFiniteError, SettingsError
from dannet_core.inference.presets import preset

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def picture(seed: int, size=(HEIGHT, WIDTH)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    blocks = cv2.resize(rng.integers(0, 255, (8, 12, 3)).astype(np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC)
    return cv2.subtract(blocks, rng.integers(0, 30, blocks.shape).astype(np.uint8))


def plain(path, batch: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


def normalized(rgb: np.ndarray, divisor=255.0, mean=IMAGENET["mean"], std=IMAGENET["std"], bgr=False) -> np.ndarray:
    """As other programs do it: 1 x 3 x H x W float32."""
    values = rgb[..., ::-1] if bgr else rgb
    values = (values.astype(np.float32) / np.float32(divisor) - np.float32(mean)) / np.float32(std)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def adopted(path, tmp_path, *, options: AdoptOptions | None = None, **picture_options):
    """The adopted file and the report."""
    options = options or AdoptOptions(PictureOptions(**picture_options))
    out = tmp_path / "ours.onnx"
    return out, adopt(path, out, options)


def labels(out, rgb: np.ndarray) -> np.ndarray:
    with NightSegmenter.load(out) as segmenter:
        return segmenter.segment(rgb).labels


def assert_same_labels(out, theirs) -> None:
    """``theirs``: gives scores of 1 x 19 x H x W for an RGB picture."""
    for seed in (1, 2):
        expected = theirs(picture(seed))[0].argmax(axis=0)
        assert len(np.unique(expected)) > 3
        np.testing.assert_array_equal(labels(out, picture(seed)), expected)


def test_bgr_pixels_of_0_to_255_with_mean_and_std_given(tmp_path):
    path = TinyGraph().classify().enlarge().save(tmp_path / "theirs.onnx")
    mean, std = (103.5, 116.3, 123.7), (57.4, 57.1, 58.4)
    out, report = adopted(path, tmp_path, mean=mean, std=std, color="bgr")
    assert report.said == (
        "mean, std, range: 103.5/116.3/123.7, 57.4/57.1/58.4, pixels 0..255, given",
        "colour order: BGR, given",
    )
    assert report.label_agreement == 1.0
    assert_same_labels(out, lambda rgb: plain(path, normalized(rgb, 1.0, mean, std, bgr=True)))
    operators = [node.op_type for node in onnx.load(str(out)).graph.node]
    assert operators[:6] == ["Mul", "Add", "Floor", "Gather", "Sub", "Div"]


def test_imagenet_in_another_writing_adds_no_arithmetic(tmp_path):
    path = TinyGraph().classify().enlarge().save(tmp_path / "theirs.onnx")
    out, _ = adopted(path, tmp_path, mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395), color="bgr")
    assert onnx.load(str(out)).graph.node[0].op_type == "Gather"
    with NightSegmenter.load(out) as segmenter:
        ours = segmenter.segment(picture(1)).labels
    theirs = plain(path, normalized(picture(1), 1.0, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395), bgr=True))
    assert (ours == theirs[0].argmax(axis=0)).mean() > 0.999


def test_bytes_with_channels_last_build_an_engine_too(tmp_path):
    graph = TinyGraph((1, HEIGHT, WIDTH, 3), kind="uint8").constant("shift", [127.5] * 3).constant("unit", [64.0])
    graph.add("Cast", to=TensorProto.FLOAT).add("Sub", "shift").add("Div", "unit").add("Transpose", perm=[0, 3, 1, 2])
    path = graph.classify().enlarge().save(tmp_path / "theirs.onnx")
    out, report = adopted(path, tmp_path)
    assert report.said[0] == (
        "mean, std, range: pixels 0..255 as they are, recognised: the graph begins with Sub 127.5/127.5/127.5, Div 64"
    )
    assert_same_labels(out, lambda rgb: plain(path, rgb[None]))
    # TensorRT has no bytes inside a network: the cast that comes first takes floats as well.
    assert TensorProto.UINT8 not in [a.i for n in onnx.load(str(out)).graph.node for a in n.attribute if a.name == "to"]
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
    assert build_engine(out, tmp_path / "net.engine", BuildOptions(flavour="tensorrt_rtx")).built


def test_bytes_that_are_computed_with_stay_bytes(tmp_path):
    graph = TinyGraph(kind="uint8").constant("floor", np.full((1, 3, 1, 1), 9), np.uint8).add("Max", "floor")
    path = graph.add("Cast", to=TensorProto.FLOAT).classify().enlarge().save(tmp_path / "theirs.onnx")
    out, report = adopted(path, tmp_path)
    assert report.said[0] == "mean, std, range: pixels 0..255 as they are, the input's type is uint8"
    assert_same_labels(out, lambda rgb: plain(path, rgb.transpose(2, 0, 1)[None]))


def test_half_at_both_ends(tmp_path):
    graph = TinyGraph(kind="float16")
    graph.constants = {name: values.astype(np.float16) for name, values in graph.constants.items()}
    path = graph.classify().enlarge().save(tmp_path / "theirs.onnx", output="float16")
    out, report = adopted(path, tmp_path)
    assert report.metadata.precision == "fp16"
    ours, theirs = labels(out, picture(1)), plain(path, normalized(picture(1)).astype(np.float16))[0].argmax(axis=0)
    assert (ours == theirs).mean() > 0.999


@pytest.mark.parametrize(("shape", "layout"), [((3, HEIGHT, WIDTH), "chw"), ((HEIGHT, WIDTH, 3), "hwc")])
def test_a_picture_without_a_batch(tmp_path, shape, layout):
    graph = TinyGraph(shape).constant("full", [1, *shape], np.int64).add("Reshape", "full")
    if layout == "hwc":
        graph.add("Transpose", perm=[0, 3, 1, 2])
    path = graph.classify().enlarge().save(tmp_path / "theirs.onnx")
    out, _ = adopted(path, tmp_path)
    axes = (2, 0, 1) if layout == "chw" else (0, 1, 2)

    def theirs(rgb):
        return plain(path, np.ascontiguousarray(normalized(rgb)[0].transpose(1, 2, 0).transpose(axes)))

    assert_same_labels(out, theirs)


def test_any_size_is_fixed_by_the_option(tmp_path):
    path = TinyGraph(("n", 3, "h", "w")).classify().enlarge().save(tmp_path / "theirs.onnx", shape=["n", 19, "h", "w"])
    with pytest.raises(
        SettingsError, match=r"input_size: input 'picture' of .* is \? x 3 x \? x \?, of any size: give"
    ):
        adopted(path, tmp_path)
    out, report = adopted(path, tmp_path, size=(72, 104))
    assert report.metadata.input_size == (72, 104)
    rgb = picture(3, (72, 104))
    np.testing.assert_array_equal(labels(out, rgb), plain(path, normalized(rgb))[0].argmax(axis=0))


@pytest.mark.parametrize("align_corners", [False, True])
def test_stride_scores_are_enlarged_as_said(tmp_path, align_corners):
    torch = pytest.importorskip("torch", reason="torch is the reference")
    path = TinyGraph().classify().save(tmp_path / "theirs.onnx")
    out, report = adopted(path, tmp_path, options=AdoptOptions(align_corners=align_corners))
    assert report.scores == ((HEIGHT // 8, WIDTH // 8), 8)
    assert report.said[-1].startswith(f"upsampling from stride 8: align_corners={align_corners}, ")
    scores = torch.from_numpy(plain(path, normalized(picture(1))))
    for size in ((HEIGHT, WIDTH), (150, 210)):
        enlarged = torch.nn.functional.interpolate(scores, size=size, mode="bilinear", align_corners=align_corners)
        rgb = picture(1)
        with NightSegmenter.load(out) as segmenter:
            backend = segmenter._backend
            logits = backend.infer(normalized(rgb), with_relit=False).logits
        np.testing.assert_allclose(logits, scores[0].numpy(), atol=1e-5)
        from dannet_core.inference.postprocess import upsample_labels

        ours = upsample_labels(np.ascontiguousarray(logits.transpose(1, 2, 0)), size, report.metadata.align_corners)
        assert (ours == enlarged[0].argmax(dim=0).numpy()).mean() > 0.9999


@pytest.mark.parametrize(("how", "align_corners"), [("half_pixel", False), ("align_corners", True)])
def test_scores_in_front_of_the_last_resize_where_wanted(tmp_path, how, align_corners):
    graph = TinyGraph().classify().constant("to", [1, 19, HEIGHT, WIDTH], np.int64)
    graph.add("Resize", "", "", "to", mode="linear", coordinate_transformation_mode=how)
    path = graph.add("ArgMax", axis=1, keepdims=0).save(tmp_path / "theirs.onnx", output="int64")
    out, report = adopted(path, tmp_path, options=AdoptOptions(before_resize=True))
    assert report.scores == ((HEIGHT // 8, WIDTH // 8), 8)
    assert report.said[-1] == f"scores: those in front of Resize 'node2', align_corners={align_corners} as there"
    assert report.metadata.align_corners is align_corners
    assert "Resize" not in [node.op_type for node in onnx.load(str(out)).graph.node]
    for seed in (1, 2):
        assert (labels(out, picture(seed)) == plain(path, normalized(picture(seed)))[0]).mean() > 0.999


def test_scores_with_classes_last(tmp_path):
    path = TinyGraph().classify().enlarge().add("Transpose", perm=[0, 2, 3, 1]).save(tmp_path / "theirs.onnx")
    out, _ = adopted(path, tmp_path)
    assert_same_labels(out, lambda rgb: plain(path, normalized(rgb)).transpose(0, 3, 1, 2))


def test_scores_in_front_of_an_argmax_and_a_softmax_are_taken(tmp_path):
    graph = TinyGraph().classify().enlarge().add("Softmax", axis=1).add("ArgMax", axis=1, keepdims=0)
    path = graph.add("Cast", to=TensorProto.INT32).save(tmp_path / "theirs.onnx", output="int32")
    out, report = adopted(path, tmp_path)
    assert report.said[2:] == (
        "labels: the graph ends in ArgMax 'node4': what goes into it is taken as the scores",
        "scores: the graph ends in Softmax: what goes into it is taken",
    )
    for seed in (1, 2):
        np.testing.assert_array_equal(labels(out, picture(seed)), plain(path, normalized(picture(seed)))[0])
    with NightSegmenter.load(out) as segmenter:
        ours = segmenter.segment(picture(1)).confidence
    scores = TinyGraph().classify().enlarge().save(tmp_path / "scores.onnx")
    exponents = np.exp(plain(scores, normalized(picture(1)))[0])
    np.testing.assert_allclose(ours, (exponents / exponents.sum(axis=0)).max(axis=0), atol=1e-4)


def test_a_softmax_over_something_else_is_left_alone(tmp_path):
    path = TinyGraph().classify().enlarge().add("Softmax", axis=3).save(tmp_path / "theirs.onnx")
    out, report = adopted(path, tmp_path)
    assert len(report.said) == 2
    assert_same_labels(out, lambda rgb: plain(path, normalized(rgb)))


def test_an_argmax_over_something_else_gives_no_labels_of_ours(tmp_path):
    path = TinyGraph().classify().enlarge().add("ArgMax", axis=3, keepdims=0).save(tmp_path / "theirs.onnx", "int64")
    with pytest.raises(ModelFileError, match="gives labels of 1 x 19 x 64 for an input of 64 x 96, expected one for"):
        adopted(path, tmp_path)


def test_likelihoods_become_scores_of_the_same_confidence(tmp_path):
    graph = TinyGraph().classify().add("Softmax", axis=1).enlarge("nearest")
    path = graph.save(tmp_path / "theirs.onnx")
    out, report = adopted(path, tmp_path)
    assert report.said[-1] == "scores: likelihoods, as they sum to 1: their logarithms are taken"
    likelihoods = plain(path, normalized(picture(1)))[0]
    with NightSegmenter.load(out) as segmenter:
        prediction = segmenter.segment(picture(1))
    np.testing.assert_array_equal(prediction.labels, likelihoods.argmax(axis=0))
    np.testing.assert_allclose(prediction.confidence, likelihoods.max(axis=0), atol=1e-4)


def labels_only(opset: int = 17, table=None, **graph) -> TinyGraph:
    """Labels that a table has changed, so that no scores belong to them."""
    made = TinyGraph(opset=opset, **graph).classify()
    scale = ["scales"] if opset < 11 else ["region" if opset < 13 else "", "scales"]
    made.constant("region", np.zeros(0)).constant("scales", [1, 1, 8, 8]).add("Resize", *scale, mode="nearest")
    made.constant("table", np.arange(19)[::-1] if table is None else table, np.int64)
    return made.add("ArgMax", axis=1, keepdims=1).add("Gather", "table", first=True)


@pytest.mark.parametrize("opset", [10, 12, 17])
def test_labels_alone_stay_as_they_are_and_have_no_confidence(tmp_path, opset, capsys):
    path = labels_only(opset).save(tmp_path / "theirs.onnx", output="int64")
    out, report = adopted(path, tmp_path)
    assert report.metadata.scores == "one_hot"
    for seed in (1, 2):
        np.testing.assert_array_equal(labels(out, picture(seed)), plain(path, normalized(picture(seed)))[0, 0])
    reason = r"the model gives labels without scores \(adopted\)"
    with NightSegmenter.load(out) as segmenter:
        with pytest.raises(SettingsError, match="^confidence: " + reason):
            _ = segmenter.segment(picture(1)).confidence
        with pytest.raises(SettingsError, match="^outputs: got 'confidence_bytes': " + reason):
            segmenter.segment(picture(1), outputs=("color", "confidence_bytes"))
        with pytest.raises(SettingsError, match=r"^min_confidence: got 0\.5, expected 0: " + reason):
            segmenter.settings = preset("paper", min_confidence=0.5)
    with pytest.raises(SettingsError, match=r"^min_confidence: got 0\.5"):
        NightSegmenter.load(out, preset("paper", min_confidence=0.5))
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture(1))
    wanted = ["predict", str(tmp_path / "a.png"), "--model", str(out), "--out", str(tmp_path / "o"), "--confidence"]
    assert main(wanted) == 2
    said = "dannet predict: confidence: the model gives labels without scores (adopted): leave --confidence out\n"
    assert capsys.readouterr().err == said
    q = str(tmp_path / "q.onnx")
    assert (
        main(
            ["quantize", "--model", str(out), "--frames", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--out", q]
        )
        == 2
    )
    assert "nothing to measure: the model gives labels without scores" in capsys.readouterr().err


def test_a_label_beyond_the_classes_fails_its_frame(tmp_path):
    """Where the first pixel is pure green, as in no picture that is tried, the graph adds 40 to its labels."""
    graph = labels_only()
    last, graph.last = graph.last, "picture"
    graph.constant("red", [0, 0, 0, 0], np.int64).constant("green", [0, 1, 0, 0], np.int64)
    graph.constant("red_end", [1, 1, 1, 1], np.int64).constant("green_end", [1, 2, 1, 1], np.int64)
    red, graph.last = graph.add("Slice", "red", "red_end").last, "picture"
    graph.add("Slice", "green", "green_end").add("Sub", red).constant("much", [4.0]).add("Greater", "much")
    graph.add("Cast", to=TensorProto.INT64).constant("forty", [40], np.int64).add("Mul", "forty").add("Add", last)
    out, _ = adopted(graph.save(tmp_path / "theirs.onnx", output="int64"), tmp_path)
    strange = picture(1)
    strange[0, 0] = (0, 255, 0)
    with NightSegmenter.load(out) as segmenter, pytest.raises(NotFiniteError, match="the graph gave labels beyond its"):
        segmenter.segment(strange)


def test_an_engine_of_labels_alone_is_built(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
    path = labels_only().save(tmp_path / "theirs.onnx", output="int64")
    out, _ = adopted(path, tmp_path)
    assert (
        build_engine(out, tmp_path / "net.engine", BuildOptions(flavour="tensorrt_rtx")).info.metadata.scores
        == "one_hot"
    )


def test_more_classes_in_another_order_by_a_class_map(tmp_path):
    path = TinyGraph(classes=21).classify().enlarge().save(tmp_path / "theirs.onnx")
    order = [5, 17, *range(5), *range(6, 17), 18]  # theirs 1..19; 0 and 20 are left out
    entries = ("0:255", *(f"{theirs}:{train_id}" for theirs, train_id in enumerate(order, 1)), "20:255")
    out, report = adopted(path, tmp_path, options=AdoptOptions(class_map=entries))
    assert report.said[-1].startswith("classes left out: 0, 20: where they win (")
    theirs = plain(path, normalized(picture(1)))[0]
    sources = [1 + order.index(train_id) for train_id in range(19)]
    np.testing.assert_array_equal(labels(out, picture(1)), theirs[sources].argmax(axis=0))
    assert report.label_agreement == 1.0


@pytest.mark.parametrize("count", [2, 30])
def test_the_classes_of_a_set_of_its_own(tmp_path, count):
    (tmp_path / "set.yaml").write_text("classes: [" + ", ".join(f"thing {i}" for i in range(count)) + "]")
    path = TinyGraph(classes=count).classify().enlarge().save(tmp_path / "theirs.onnx")
    out = tmp_path / "ours.onnx"
    assert main(["adopt", str(path), "--out", str(out), "--classes", str(tmp_path / "set.yaml")]) == 0
    theirs = plain(path, normalized(picture(1)))[0]
    np.testing.assert_array_equal(labels(out, picture(1)), theirs.argmax(axis=0))
    with NightSegmenter.load(out) as segmenter:
        assert segmenter.metadata.classes.names == tuple(f"thing {i}" for i in range(count))
    with pytest.raises(ModelFileError, match=f"scores of {count} classes, expected 19, --classes names other classes"):
        adopt(path, tmp_path / "again.onnx")


def test_labels_alone_in_another_order_by_a_class_map(tmp_path):
    path = labels_only().save(tmp_path / "theirs.onnx", output="int64")
    out, _ = adopted(path, tmp_path, options=AdoptOptions(class_map=(",".join(f"{i}:{18 - i}" for i in range(19)),)))
    np.testing.assert_array_equal(labels(out, picture(1)), 18 - plain(path, normalized(picture(1)))[0, 0])


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("pixel_range", [1, 255])
def test_a_graph_that_normalizes_itself_is_recognised(tmp_path, color, pixel_range):
    step = 1 if color == "rgb" else -1
    mean, std = (pixel_range * np.array(IMAGENET[name])[::step] for name in ("mean", "std"))
    graph = TinyGraph().constant("m", mean[None, :, None, None]).constant("f", 1 / std[None, :, None, None])
    path = graph.add("Sub", "m").add("Mul", "f").classify().enlarge().save(tmp_path / "theirs.onnx")
    out, report = adopted(path, tmp_path)
    begins = "recognised: the graph begins with Sub "
    assert report.said[0].startswith(
        f"mean, std, range: {'pixels 0..255 as they are' if pixel_range == 255 else '0/0/0'}"
    )
    assert all(begins in line for line in report.said)
    assert report.said[1].startswith(f"colour order: {color.upper()}, ")
    divisor, none = 255 / pixel_range, ((0, 0, 0), (1, 1, 1))
    assert_same_labels(out, lambda rgb: plain(path, normalized(rgb, divisor, *none, bgr=color == "bgr")))


def test_a_mean_taken_off_alone_shows_bytes(tmp_path):
    """As Caffe's networks have it, blue first."""
    graph = TinyGraph().constant("m", np.array([103.94, 116.78, 123.68])[None, :, None, None]).add("Sub", "m")
    graph.constant("f", [0.02]).add("AveragePool", kernel_shape=[1, 1]).add("Mul", "f")
    path = graph.classify().enlarge().save(tmp_path / "theirs.onnx")
    out, report = adopted(path, tmp_path, color="bgr")
    assert report.said[0].startswith(
        "mean, std, range: pixels 0..255 as they are, recognised: the graph begins with Sub"
    )
    assert_same_labels(out, lambda rgb: plain(path, normalized(rgb, 1.0, (0, 0, 0), (1, 1, 1), bgr=True)))


def test_a_shift_that_no_picture_needs_is_not_taken_for_a_normalization(tmp_path):
    path = TinyGraph().constant("s", [1.7]).add("Add", "s").classify().enlarge().save(tmp_path / "theirs.onnx")
    out, report = adopted(path, tmp_path)
    assert "the default" in report.said[0]
    assert_same_labels(out, lambda rgb: plain(path, normalized(rgb)))


def test_transformers_say_it_in_a_file_beside_it(tmp_path):
    path = TinyGraph().classify().enlarge().save(tmp_path / "theirs.onnx")
    config = {"do_rescale": True, "rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5, 0.25, 0.5]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    out, report = adopted(path, tmp_path)
    where = "recognised by preprocessor_config.json beside it"
    assert report.said == (
        f"mean, std, range: 0.5/0.5/0.5, 0.5/0.25/0.5, pixels 0..1, {where}",
        f"colour order: RGB, {where}",
    )
    assert_same_labels(out, lambda rgb: plain(path, normalized(rgb, 255, [0.5] * 3, [0.5, 0.25, 0.5])))


def test_mmdeploy_says_it_in_a_file_beside_it_and_options_win(tmp_path):
    path = TinyGraph().classify().enlarge().save(tmp_path / "theirs.onnx")
    normalize = {"type": "Normalize", "mean": [110.0, 120.0, 130.0], "std": [50.0, 60.0, 70.0], "to_rgb": False}
    tasks = [{"type": "Task", "transforms": [{"type": "Resize"}, normalize]}, {"type": "Task"}]
    (tmp_path / "pipeline.json").write_text(json.dumps({"pipeline": {"tasks": tasks}}))
    out, report = adopted(path, tmp_path)
    assert report.said[1] == "colour order: BGR, recognised by pipeline.json beside it"
    assert_same_labels(out, lambda rgb: plain(path, normalized(rgb, 1, (110, 120, 130), (50, 60, 70), bgr=True)))
    out, report = adopted(path, tmp_path, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert report.said[0] == "mean, std, range: 0.5/0.5/0.5, 0.5/0.5/0.5, pixels 0..1, given"
    assert_same_labels(out, lambda rgb: plain(path, normalized(rgb, 255, [0.5] * 3, [0.5] * 3)))


def test_what_is_a_default_is_named_as_one(tmp_path, capsys):
    path = TinyGraph().classify().enlarge().save(tmp_path / "theirs.onnx")
    assert main(["adopt", str(path), "--out", str(tmp_path / "ours.onnx")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "mean, std, range: ImageNet's of pixels 0..1 taken, the default: a wrong choice costs labels"
    )
    assert lines[1].startswith(
        "colour order: RGB taken, the default: a wrong choice costs labels: give --color bgr where"
    )
    assert lines[2].endswith("fp32, scores of 64 x 96 (stride 1), labels agree on 100.0000% of pixels of 5 pictures")
    assert len(lines) == 3


def test_their_names_may_be_ours_even_in_a_body(tmp_path):
    """Input ``image``, output ``relit``, and inside, also read by the body of an If, ``stride_logits``."""
    graph = TinyGraph()
    graph.names = ("image", "relit")
    graph.classify()
    graph.nodes[-1].output[0] = graph.last = "stride_logits"
    body = helper.make_graph(
        [helper.make_node("Identity", ["stride_logits"], ["out"])],
        "body",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 19, HEIGHT // 8, WIDTH // 8])],
    )
    graph.constant("yes", True, np.bool_)
    graph.nodes.append(helper.make_node("If", ["yes"], ["chosen"], then_branch=body, else_branch=body))
    graph.last = "chosen"
    path = graph.enlarge().save(tmp_path / "theirs.onnx")
    out, _ = adopted(path, tmp_path)
    assert_same_labels(out, lambda rgb: plain(path, normalized(rgb)))


def test_weights_beside_the_file_are_taken_in(tmp_path):
    model = TinyGraph().classify().enlarge().model()
    path = tmp_path / "theirs.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="theirs.bin", size_threshold=64)
    expected = plain(path, normalized(picture(1)))[0].argmax(axis=0)
    out, _ = adopted(path, tmp_path)
    (tmp_path / "theirs.bin").unlink()
    np.testing.assert_array_equal(labels(out, picture(1)), expected)


def test_one_of_several_outputs_by_name(tmp_path):
    model = TinyGraph().classify().enlarge().model()
    model.graph.output.append(helper.make_tensor_value_info("t0", TensorProto.FLOAT, None))
    path = tmp_path / "theirs.onnx"
    onnx.save(model, str(path))
    with pytest.raises(
        SettingsError, match=r"output: .* has 'scores' .*, 't0' .*, expected one: name it with --output"
    ):
        adopted(path, tmp_path)
    out, _ = adopted(path, tmp_path, options=AdoptOptions(output="scores"))
    with NightSegmenter.load(out) as segmenter:
        assert segmenter.segment(picture(1)).labels.shape == (HEIGHT, WIDTH)
