"""A real but tiny ONNX model, and real DDS in a domain of this test process's own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dannet_core.metadata import ModelMetadata

# Before anything makes a ROS context; test machines run several of these at once.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)


def write_tiny_model(path: Path, height: int = 64, width: int = 96, seed: int = 7) -> Path:
    """A graph in the shape `export` writes: brightness-driven labels at stride 8, and the picture itself as relit."""
    onnx = pytest.importorskip("onnx", reason="onnx builds the test model")
    pytest.importorskip("onnxruntime", reason="onnxruntime runs the test model")
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(seed)
    weights = numpy_helper.from_array(generator.normal(0, 1, (19, 3, 1, 1)).astype(np.float32), "weights")
    bias = numpy_helper.from_array(generator.normal(0, 1, 19).astype(np.float32), "bias")
    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["pooled", "weights", "bias"], ["stride_logits"]),
        helper.make_node("Identity", ["image"], ["relit"]),
    ]
    picture = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height, width])
    logits = helper.make_tensor_value_info("stride_logits", TensorProto.FLOAT, [1, 19, height // 8, width // 8])
    relit = helper.make_tensor_value_info("relit", TensorProto.FLOAT, [1, 3, height, width])
    graph = helper.make_graph(nodes, "tiny", [picture], [logits, relit], [weights, bias])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    metadata = ModelMetadata(arch="lraspp", backbone="mobilenet_v3_large", source="test graph")
    helper.set_model_props(model, metadata.to_strings())
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")
