"""Any picture a graph may want, any scores or labels it may give, together: its labels stay its own."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import onnxruntime
from foreign_graphs import TinyGraph
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from dannet_core import NightSegmenter
from dannet_core.deploy.adopt import AdoptOptions, adopt
from dannet_core.deploy.adopt.picture_input import PictureOptions
from dannet_core.pixels import normalize

EXAMPLES = int(os.environ.get("DANNET_ADOPT_EXAMPLES", "15"))
TRIPLES = st.tuples(*[st.floats(0.1, 0.9)] * 3)


@st.composite
def wishes(draw) -> dict:
    """What one graph wants and gives."""
    return {
        "size": (8 * draw(st.integers(8, 12)), 8 * draw(st.integers(8, 14))),
        "layout": draw(st.sampled_from(["nchw", "nhwc", "chw", "hwc"])),
        "kind": draw(st.sampled_from(["float32", "float32", "uint8"])),
        "color": draw(st.sampled_from(["rgb", "bgr"])),
        "pixel_range": draw(st.sampled_from([1.0, 255.0])),
        "mean": draw(TRIPLES),
        "std": draw(TRIPLES),
        "free_size": draw(st.booleans()),
        "gives": draw(st.sampled_from(["scores", "likelihoods", "stride", "labels", "flat labels", "classes last"])),
        "table": draw(st.booleans()),
        "order": draw(st.permutations(range(19))),
        "opset": draw(st.sampled_from([11, 13, 17, 18])),
        "seed": draw(st.integers(0, 1000)),
    }


def make(wish: dict) -> tuple[TinyGraph, str]:
    """The graph, and the type of its output."""
    height, width = wish["size"]
    fixed = {"n": 1, "c": 3, "h": height, "w": width}
    shape = fixed | {"h": "h", "w": "w"} if wish["free_size"] else fixed
    graph = TinyGraph(tuple(shape[axis] for axis in wish["layout"]), kind=wish["kind"], opset=wish["opset"])
    if wish["kind"] == "uint8":
        graph.add("Cast", to=TensorProto.FLOAT).constant("scale", [0.02]).add("Mul", "scale")
    if len(wish["layout"]) == 3:
        graph.constant("batch", [1, *(fixed[axis] for axis in wish["layout"])], np.int64).add("Reshape", "batch")
    if wish["layout"].endswith("hwc"):
        graph.add("Transpose", perm=[0, 3, 1, 2])
    return graph, end(graph.classify(), wish)


def end(graph: TinyGraph, wish: dict) -> str:
    """Put what makes the output behind the scores; returns its type."""
    if wish["gives"] == "stride":
        return "float32"
    graph.constant("region", np.zeros(0)).constant("scales", [1, 1, 8, 8])
    graph.add("Resize", "region", "scales", mode="nearest")
    if wish["gives"] == "likelihoods":
        graph.add("Softmax", axis=1)
    elif wish["gives"] == "classes last":
        graph.add("Transpose", perm=[0, 2, 3, 1])
    elif wish["gives"] != "scores":
        graph.add("ArgMax", axis=1, keepdims=int(wish["gives"] == "labels"))
        if wish["table"]:
            graph.constant("table", np.arange(19)[::-1], np.int64).add("Gather", "table", first=True)
        return "int64"
    return "float32"


def expected(path: Path, wish: dict, rgb: np.ndarray) -> np.ndarray:
    """Their classes, H x W, by plain ONNX Runtime and nearest enlargement by hand."""
    values = (rgb if wish["color"] == "rgb" else rgb[..., ::-1]).astype(np.float32)
    if wish["kind"] != "uint8":
        mean, std = (np.float32(wish[name]) for name in ("scaled_mean", "scaled_std"))
        values = (values / np.float32(255 / wish["pixel_range"]) - mean) / std
    batch = values.astype(wish["kind"]).transpose(["hwc".index(axis) for axis in wish["layout"].removeprefix("n")])
    batch = batch[None] if wish["layout"].startswith("n") else batch
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(batch)})
    if wish["gives"] in ("labels", "flat labels"):
        return output.reshape(wish["size"])
    axis = 3 if wish["gives"] == "classes last" else 1
    return np.moveaxis(output, axis, -1)[0].argmax(axis=-1)


@settings(max_examples=EXAMPLES, deadline=None, derandomize="DANNET_ADOPT_EXAMPLES" not in os.environ, database=None)
@given(wishes())
def test_labels_stay_their_own(wish):
    wish["scaled_mean"], wish["scaled_std"] = (
        tuple(float(np.float32(value * wish["pixel_range"])) for value in wish[name]) for name in ("mean", "std")
    )
    graph, output = make(wish)
    given_normalization = (wish["scaled_mean"], wish["scaled_std"], wish["pixel_range"])
    picture = PictureOptions(
        wish["size"], wish["layout"], wish["color"], *(given_normalization if wish["kind"] != "uint8" else ())
    )
    class_map = tuple(f"{theirs}:{ours}" for theirs, ours in enumerate(wish["order"]))
    with TemporaryDirectory() as folder:
        path = graph.save(Path(folder) / "theirs.onnx", output)
        report = adopt(path, Path(folder) / "ours.onnx", AdoptOptions(picture, class_map=class_map))
        assert report.label_agreement == 1.0
        rng = np.random.default_rng(wish["seed"])
        small = rng.integers(0, 255, (8, 12, 3)).astype(np.uint8)
        rgb = cv2.resize(small, wish["size"][::-1], interpolation=cv2.INTER_CUBIC)
        theirs = np.array(wish["order"])[expected(path, wish, rgb)]
        with NightSegmenter.load(Path(folder) / "ours.onnx") as segmenter:
            ours = segmenter.segment(rgb)
            assert ours.has("confidence") == (not (wish["table"] and "labels" in wish["gives"]))
            if wish["gives"] == "stride":
                logits = segmenter._backend.infer(normalize(rgb), with_relit=False).logits
                np.testing.assert_array_equal(logits.argmax(axis=0), theirs)
            else:
                np.testing.assert_array_equal(ours.labels, theirs)
