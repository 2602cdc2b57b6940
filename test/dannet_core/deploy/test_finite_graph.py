"""Graphs that divide by zero in the dark or overflow in half: refused by every step that makes or takes one."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from dannet_core.cli.main import main
from dannet_core.deploy.checked_export import export_checked
from dannet_core.deploy.engine_build import BuildOptions, build_engine
from dannet_core.deploy.finite_graph import hard_frames, require_finite_graph
from dannet_core.deploy.onnx_export import GraphOptions, export_onnx
from dannet_core.deploy.parity import check_parity, require_half_range
from dannet_core.deploy.quantize import QuantizeSettings, quantize
from dannet_core.errors import DannetError, NotFiniteError
from dannet_core.inference.preprocess import preprocess
from dannet_core.metadata import ModelMetadata
from dannet_core.pixels import write_png

IN_THE_DARK = r"gives NaN or infinity on a black picture, first in node 'attention/Div' \(Div\): guard the division"

pytestmark = pytest.mark.slow


class Dimmer(nn.Module):
    """Scores times light / light, as a linear attention without a guard divides: 0/0 where the picture is black."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Batch norms have moved the features: only where all of them are as on black is nothing above the threshold.
        light = torch.relu(x - self.dark).amax(dim=(1, 2, 3), keepdim=True)
        return self.classifier(x) * (light / light)


@pytest.fixture
def blind_net(light_net):
    """The light network with such a division in front of its scores."""
    net = copy.deepcopy(light_net)
    seen: list[torch.Tensor] = []
    hook = net.segmentation.low_classifier.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    black = torch.from_numpy(hard_frames((100, 132))[0].image)
    with torch.no_grad():
        net.at_stride(black)
    hook.remove()
    dimmer = Dimmer(net.segmentation.low_classifier)
    dimmer.register_buffer("dark", seen[0] + 1e-3)
    net.segmentation.low_classifier = dimmer
    return net.eval()


def bright(size: tuple[int, int] = (64, 96)) -> np.ndarray:
    return preprocess(np.random.default_rng(5).integers(100, 255, (*size, 3), dtype=np.uint8), size)


@pytest.fixture
def half_onnx(tmp_path) -> Path:
    """In half the first product is beyond 65504; computed in float32, as ONNX Runtime does, nothing shows."""
    nodes = [
        helper.make_node("Cast", ["image"], ["half"], to=TensorProto.FLOAT16, name="in"),
        helper.make_node("AveragePool", ["half"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8], name="pool"),
        helper.make_node("Conv", ["pooled", "large"], ["sums"], name="sums"),
        helper.make_node("Conv", ["sums", "small"], ["scores"], name="scores"),
        helper.make_node("Cast", ["scores"], ["stride_logits"], to=TensorProto.FLOAT, name="out"),
        helper.make_node("Identity", ["image"], ["relit"], name="relit"),
    ]
    weights = {"large": np.full((4, 3, 1, 1), 2e4, np.float16), "small": np.full((19, 4, 1, 1), 1e-4, np.float16)}
    shapes = {"stride_logits": [1, 19, 8, 12], "relit": [1, 3, 64, 96]}
    graph = helper.make_graph(
        nodes,
        "half",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 64, 96])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    metadata = ModelMetadata("lraspp", "mobilenet_v3_large", input_size=(64, 96), precision="fp16")
    helper.set_model_props(model, metadata.to_strings())
    onnx.save(model, str(tmp_path / "half.onnx"))
    return tmp_path / "half.onnx"


def test_a_sound_graph_passes(tiny_onnx, demo_fp16):
    for path in (tiny_onnx, demo_fp16):
        require_finite_graph(path.read_bytes(), str(path))


def test_the_first_node_is_named_on_a_picture_nobody_gave(blind_onnx):
    with pytest.raises(NotFiniteError, match=r"blind\.onnx: " + IN_THE_DARK):
        require_finite_graph(blind_onnx.read_bytes(), str(blind_onnx), [bright()])


def test_a_frame_of_the_callers_is_named_by_its_number(blind_onnx):
    dark = preprocess(np.full((64, 96, 3), 3, np.uint8), (64, 96))
    with pytest.raises(NotFiniteError, match=r"on frame 2, first in node 'attention/Div' \(Div\)"):
        require_finite_graph(blind_onnx.read_bytes(), str(blind_onnx), [bright(), dark])


def test_an_overflow_that_a_float_runtime_hides_is_found_in_a_half_graph(half_onnx):
    message = r"on a black picture, first in node 'sums' \(Conv\): half precision overflows there: use fp32"
    with pytest.raises(NotFiniteError, match=message):
        require_finite_graph(half_onnx.read_bytes(), str(half_onnx))


@pytest.mark.parametrize("output", ["logits", "labels"])
def test_export_refuses_what_gives_nan_on_black_and_writes_nothing(blind_net, light_metadata, frames, tmp_path, output):
    with pytest.raises(NotFiniteError, match=r"net\.onnx: gives NaN or infinity on a black picture, first in node '"):
        export_checked(blind_net, light_metadata, frames, tmp_path / "net.onnx", options=GraphOptions(output))
    assert list(tmp_path.iterdir()) == []


def test_the_parity_check_names_the_node_of_the_graph_and_the_network_itself(
    light_net, blind_net, light_metadata, frames, tmp_path
):
    path = export_onnx(blind_net, light_metadata, (100, 132), tmp_path / "net.onnx")
    black = hard_frames((100, 132))[0].image
    with pytest.raises(NotFiniteError, match="the network itself gives NaN or infinity on frame 2"):
        check_parity(blind_net, path, [frames[0], black])
    with pytest.raises(
        NotFiniteError, match=r"net\.onnx: gives NaN or infinity on frame 1, first in node '.*' \(Div\)"
    ):
        check_parity(light_net, path, [black])


def test_a_layer_that_gives_nan_is_no_half_either(light_net, frames):
    net = copy.deepcopy(light_net)
    with torch.no_grad():
        net.segmentation.low_classifier.bias[3] = torch.nan
    with pytest.raises(DannetError, match="puts out inf, expected at most 32752 in fp16: export in fp32"):
        require_half_range(net, frames)


def test_quantize_refuses_the_float_graph_and_writes_nothing(blind_onnx, tmp_path):
    with pytest.raises(NotFiniteError, match=IN_THE_DARK):
        quantize(blind_onnx, tmp_path / "int8.onnx", [bright(), bright()], QuantizeSettings(method="minmax"))
    assert list(tmp_path.iterdir()) == []


def test_quantize_refuses_what_overflows_once_it_is_half(tiny_onnx, tmp_path):
    model = onnx.load(str(tiny_onnx))
    (kernel,) = (tensor for tensor in model.graph.initializer if tensor.name == "kernel")
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * 5000, "kernel"))
    onnx.save(model, str(tmp_path / "large.onnx"))
    settings = QuantizeSettings(method="minmax", min_agreement=0.0)
    with pytest.raises(
        NotFiniteError, match=r"int8\.onnx: gives NaN or infinity on .*: half precision overflows there"
    ):
        quantize(tmp_path / "large.onnx", tmp_path / "int8.onnx", [bright(), bright()], settings)
    assert [path.name for path in tmp_path.iterdir()] == ["large.onnx"]


def test_build_engine_refuses_both_kinds_and_leaves_no_engine(blind_onnx, half_onnx, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
    for model, message in ((blind_onnx, IN_THE_DARK), (half_onnx, "half precision overflows there")):
        with pytest.raises(NotFiniteError, match=message):
            build_engine(model, tmp_path / "net.engine", BuildOptions(flavour="tensorrt_rtx"))
    assert not (tmp_path / "net.engine").exists()


def test_an_engine_that_is_there_is_tried_on_the_frames_somebody_names(tiny_onnx, tmp_path, capsys):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
    write_png(tmp_path / "a.png", np.full((64, 96, 3), 90, np.uint8))
    arguments = ["build_engine", "--model", str(tiny_onnx), "--out", str(tmp_path / "net.engine")]
    assert main([*arguments, "--flavour", "tensorrt_rtx", "--frames", str(tmp_path / "a.png")]) == 0
    assert main([*arguments, "--flavour", "tensorrt_rtx", "--frames", str(tmp_path / "b.png")]) == 2
    assert "b.png: no such file or folder" in capsys.readouterr().err
