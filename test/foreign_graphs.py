"""Segmentation graphs as other projects export them: three families with random weights, and tiny ones by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH = 64, 96
FAMILIES = ("lraspp", "fpn", "segformer")
KINDS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


def export_family(name: str, path: Path) -> Path:
    """Export one of `FAMILIES`; skips where its library is not installed."""
    torch = pytest.importorskip("torch", reason="torch exports the test model")
    torch.manual_seed(5)
    make: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
        "lraspp": _torchvision,
        "fpn": _segmentation_models,
        "segformer": _transformers,
    }
    net, how = make[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), (torch.rand(1, 3, HEIGHT, WIDTH),), str(path), dynamo=False, **how)
    return path


def _torchvision() -> tuple[Any, dict[str, Any]]:
    """Full-resolution scores, one of a dictionary's outputs."""
    models = pytest.importorskip("torchvision.models.segmentation", reason="pip install torchvision")
    net = models.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=19)
    return _spread(net), {"input_names": ["input"], "output_names": ["out"], "opset_version": 17}


def _segmentation_models() -> tuple[Any, dict[str, Any]]:
    """Pictures of any size, in batches, at an older operator set."""
    smp = pytest.importorskip("segmentation_models_pytorch", reason="pip install segmentation-models-pytorch")
    net = smp.FPN("mobilenet_v2", encoder_weights=None, classes=19, decoder_pyramid_channels=32)
    free = {"x": {0: "batch", 2: "height", 3: "width"}, "y": {0: "batch", 2: "height", 3: "width"}}
    return _spread(net), {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": free, "opset_version": 13}


def _transformers() -> tuple[Any, dict[str, Any]]:
    """Scores at stride 4 of a transformer."""
    transformers = pytest.importorskip("transformers", reason="pip install transformers")
    import torch

    class Logits(torch.nn.Module):
        def __init__(self, net: Any) -> None:
            super().__init__()
            self.net = net

        def forward(self, pixels: Any) -> Any:
            return self.net(pixels).logits

    sizes = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 40, 64], "decoder_hidden_size": 32}
    net = transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig(num_labels=19, **sizes))
    return Logits(_spread(net)), {"input_names": ["pixel_values"], "output_names": ["logits"], "opset_version": 17}


def _spread(net: Any) -> Any:
    """Batch norms that have seen pictures, so that the scores of random weights differ from class to class."""
    import torch

    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    with torch.no_grad():
        for _ in range(2):
            net.train()(torch.randn(2, 3, HEIGHT, WIDTH))
    return net.eval()


class TinyGraph:
    """A classifier of 8 x 8 averages, with what a test wants around it.

    Args:
        shape: of the input; strings are free dimensions.
        classes: of the scores.
        kind: of the input.
        opset: operator set.
    """

    def __init__(
        self, shape: tuple[Any, ...] = (1, 3, HEIGHT, WIDTH), classes: int = 19, kind: str = "float32", opset: int = 17
    ) -> None:
        rng = np.random.default_rng(4)
        self.shape, self.classes, self.kind, self.opset = shape, classes, kind, opset
        self.nodes: list[Any] = []
        self.constants = {
            "kernel": rng.normal(0, 3, (classes, 3, 1, 1)).astype(np.float32),
            "bias": rng.normal(0, 1, classes).astype(np.float32),
        }
        self.last = "picture"
        self.names = ("picture", "scores")

    def add(self, operator: str, *more: str, first: bool = False, **attributes: Any) -> TinyGraph:
        """A node behind the last one."""
        output = f"t{len(self.nodes)}"
        inputs = [*more, self.last] if first else [self.last, *more]
        self.nodes.append(helper.make_node(operator, inputs, [output], name=f"node{len(self.nodes)}", **attributes))
        self.last = output
        return self

    def constant(self, name: str, values: Any, kind: Any = np.float32) -> TinyGraph:
        self.constants[name] = np.asarray(values, kind)
        return self

    def classify(self) -> TinyGraph:
        """Stride scores of 1 x classes x h x w."""
        return self.add("AveragePool", kernel_shape=[8, 8], strides=[8, 8]).add("Conv", "kernel", "bias")

    def enlarge(self, mode: str = "linear") -> TinyGraph:
        """To the input's resolution."""
        self.constant("scales", [1, 1, 8, 8])
        return self.add("Resize", "", "scales", mode=mode)

    def model(self, output: str = "float32", shape: list[Any] | None = None) -> Any:
        """The `ModelProto`; the output's shape is left open unless given."""
        self.nodes[-1].output[0] = self.names[1]
        kinds = KINDS | {"int64": TensorProto.INT64, "int32": TensorProto.INT32}
        graph = helper.make_graph(
            self.nodes,
            "theirs",
            [helper.make_tensor_value_info(self.names[0], kinds[self.kind], list(self.shape))],
            [helper.make_tensor_value_info(self.names[1], kinds[output], shape)],
            [numpy_helper.from_array(values, name) for name, values in self.constants.items()],
        )
        for node in graph.node:
            for ends in (node.input, node.output):
                for i, name in enumerate(ends):
                    ends[i] = self.names[0] if name == "picture" else name
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="their exporter")

    def save(self, path: Path, output: str = "float32", shape: list[Any] | None = None) -> Path:
        onnx.save(self.model(output, shape), str(path))
        return path
