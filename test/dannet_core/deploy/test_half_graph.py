from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from dannet_core.deploy.half_graph import to_half
from dannet_core.deploy.parity import LABEL_AGREEMENT
from dannet_core.errors import SettingsError
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.pixels import read_rgb


def agreement(demo: Path, halved: Path, rgb: np.ndarray) -> float:
    labels = []
    for path in (demo, halved):
        with NightSegmenter.load(path, threads=1) as segmenter:
            labels.append(segmenter.segment(rgb).labels)
    assert len(np.unique(labels[0])) > 3
    return float((labels[0] == labels[1]).mean())


def test_a_half_graph_computes_in_half_between_float_ends(demo, demo_fp16):
    halved = onnx.load(str(demo_fp16))
    onnx.checker.check_model(halved, full_check=True)
    kinds = {tensor.name: tensor.data_type for tensor in halved.graph.initializer}
    weights = [name for node in halved.graph.node if node.op_type == "Conv" for name in node.input[1:]]
    assert {kinds[name] for name in weights} == {TensorProto.FLOAT16}
    ends = [*halved.graph.input, *halved.graph.output]
    assert {end.type.tensor_type.elem_type for end in ends} == {TensorProto.FLOAT}
    # The two ends, and in and out of the linear attention, which half does not hold.
    assert Counter(node.op_type for node in halved.graph.node)["Cast"] == 2 + 16
    assert demo_fp16.stat().st_size < 0.55 * demo.stat().st_size


def test_the_demo_weights_keep_their_labels_in_half_precision_on_the_toy_night(demo, demo_fp16, toy_nights):
    assert agreement(demo, demo_fp16, toy_nights[1]) >= LABEL_AGREEMENT["fp16"]


def test_the_demo_weights_keep_their_labels_in_half_precision_on_a_real_night(demo, demo_fp16, real_night_frame):
    assert agreement(demo, demo_fp16, read_rgb(real_night_frame)) >= LABEL_AGREEMENT["fp16"]


def test_a_weight_that_half_cannot_hold_is_named(demo):
    model = onnx.load(str(demo))
    weight = next(tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1e9, weight.name))
    with pytest.raises(SettingsError, match=rf"weight '{weight.name}' exceeds fp16's largest number 65504: use fp32"):
        to_half(model)
