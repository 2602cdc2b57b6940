"""Graphs that torchvision, segmentation_models_pytorch and transformers export: adopted, they give their own labels."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from foreign_graphs import HEIGHT, WIDTH

from dannet_core import NightSegmenter
from dannet_core.cli.main import main
from dannet_core.deploy.engine_build import BuildOptions, build_engine
from dannet_core.errors import SettingsError
from dannet_core.inference.engine_file import Binding
from dannet_core.metadata import ModelMetadata
from dannet_core.pixels import write_png

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def street(seed: int) -> np.ndarray:
    """A picture of the network's size with edges, lamps and noise."""
    rng = np.random.default_rng(seed)
    blocks = cv2.resize(
        rng.integers(0, 200, (6, 9, 3)).astype(np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
    )
    return cv2.add(blocks, rng.integers(0, 30, blocks.shape).astype(np.uint8))


def their_labels(path, rgb: np.ndarray) -> np.ndarray:
    """Their own program: plain ONNX Runtime, normalised as their examples do, scores enlarged by OpenCV."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    picture = ((rgb / 255 - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)[None]
    (scores,) = session.run(None, {session.get_inputs()[0].name: picture})
    planes = [cv2.resize(plane, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) for plane in scores[0]]
    return np.argmax(planes, axis=0)


def test_labels_are_those_of_their_own_program(foreign_model, adopted_model):
    with NightSegmenter.load(adopted_model) as segmenter:
        for seed in (1, 2, 3):
            theirs = their_labels(foreign_model, street(seed))
            assert len(np.unique(theirs)) >= 3
            # Both programs round, and OpenCV enlarges in another order.
            assert (segmenter.segment(street(seed)).labels == theirs).mean() > 0.999


def test_the_file_describes_itself_and_keeps_their_nodes(foreign_model, adopted_model):
    with NightSegmenter.load(adopted_model) as segmenter:
        metadata = segmenter.metadata
    assert (metadata.arch, metadata.backbone, metadata.input_size) == ("adopted", foreign_model.stem, (HEIGHT, WIDTH))
    assert (metadata.relighting_width, metadata.align_corners, metadata.scores) == (0, False, "logits")
    assert metadata.source.startswith(f"adopted from {foreign_model.name}, written by pytorch")
    assert metadata.source.endswith(f"sha256 {hashlib.sha256(foreign_model.read_bytes()).hexdigest()[:12]}")
    assert set(metadata.absent) == {"relit"}
    theirs = [node.SerializeToString() for node in onnx.load(str(foreign_model)).graph.node]
    ours = [node.SerializeToString() for node in onnx.load(str(adopted_model)).graph.node]
    first = ours.index(theirs[0])
    assert ours[first : first + len(theirs)] == theirs
    assert len(ours) == len(theirs) + 2  # ImageNet's normalisation is ours: nothing but the two names is new


def test_predict_labels_and_refuses_the_relit_picture_in_one_line(adopted_model, tmp_path, capsys):
    write_png(tmp_path / "a.png", street(1))
    arguments = ["predict", str(tmp_path / "a.png"), "--model", str(adopted_model), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--confidence"]) == 0
    written = cv2.imread(str(tmp_path / "out" / "a_label.png"), cv2.IMREAD_UNCHANGED)
    with NightSegmenter.load(adopted_model) as segmenter:
        prediction = segmenter.segment(street(1))
        np.testing.assert_array_equal(written, prediction.labels)
        with pytest.raises(SettingsError, match=r"relit: the model has no relighting network \(adopted\)"):
            _ = prediction.relit
    capsys.readouterr()
    assert main([*arguments, "--relit"]) == 2
    said = "dannet predict: relit: the model has no relighting network (adopted): leave --relit out\n"
    assert capsys.readouterr().err == said


def test_an_engine_is_built_and_its_record_opens(adopted_model, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
    from dannet_core.inference.backends.tensorrt_network import check_bindings

    info = build_engine(adopted_model, tmp_path / "net.engine", BuildOptions(flavour="tensorrt_rtx")).info
    assert check_bindings(info, "net.engine") == (HEIGHT, WIDTH)
    assert info.inputs == {"image": Binding((1, 3, HEIGHT, WIDTH), "float32")}
    assert list(info.outputs) == ["stride_logits"]
    assert info.metadata.arch == "adopted"


@pytest.mark.slow
def test_quantize_takes_it(adopted_model, tmp_path, capsys):
    for seed in range(3):
        write_png(tmp_path / f"{seed}.png", street(seed))
    arguments = ["--model", str(adopted_model), "--out", str(tmp_path / "q.onnx"), "--frames", str(tmp_path)]
    assert main(["quantize", *arguments, "--min-agreement", "0"]) == 0, capsys.readouterr().err
    properties = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "q.onnx")).metadata_props}
    metadata = ModelMetadata.from_strings(properties, "q.onnx")
    assert (metadata.arch, metadata.precision, metadata.relighting_width) == ("adopted", "int8", 0)
    with NightSegmenter.load(tmp_path / "q.onnx") as segmenter:
        assert segmenter.segment(street(1)).labels.shape == (HEIGHT, WIDTH)


def test_re_weighting_changes_nothing_by_itself(adopted_model):
    with NightSegmenter.load(adopted_model) as segmenter:
        labels = []
        for reweight in ("probabilities", "logits", "none"):
            segmenter.settings = type(segmenter.settings)(reweight=reweight)
            labels.append(segmenter.segment(street(2)).labels)
    np.testing.assert_array_equal(labels[0], labels[2])
    np.testing.assert_array_equal(labels[1], labels[2])
