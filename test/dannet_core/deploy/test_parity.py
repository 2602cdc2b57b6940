from __future__ import annotations

import copy

import pytest
import torch

from dannet_core.deploy.checked_export import export_checked
from dannet_core.deploy.parity import (
    ParityReport,
    check_parity,
    largest_activation,
    require_half_range,
    require_parity,
)
from dannet_core.errors import DannetError, ModelFileError, SettingsError


def test_a_graph_of_other_weights_is_found_out(light_net, light_fp32, frames):
    net = copy.deepcopy(light_net)
    with torch.no_grad():
        net.segmentation.low_classifier.bias[3] += 5.0
    report = check_parity(net, light_fp32, frames)
    assert report.max_abs == pytest.approx(5.0, abs=1e-3)
    assert report.label_agreement < 0.9
    assert report.relit_max_abs < 1e-4
    with pytest.raises(DannetError, match=r"with PyTorch, expected at least 99\.99% in fp32"):
        require_parity(report)


@pytest.mark.parametrize(
    ("precision", "agreement", "accepted"),
    [("fp32", 0.9999, True), ("fp32", 0.9998, False), ("fp16", 0.995, True), ("fp16", float("nan"), False)],
)
def test_the_tolerance_follows_the_precision(precision, agreement, accepted):
    report = ParityReport(0.1, 0.01, agreement, 0.0, precision)
    if accepted:
        require_parity(report)
    else:
        with pytest.raises(DannetError, match="do not deploy this file"):
            require_parity(report)


def test_frames_and_eval_mode_are_needed(light_net, frames, tmp_path):
    with pytest.raises(SettingsError, match="got 0 frames"):
        check_parity(light_net, tmp_path / "net.onnx", [])
    with pytest.raises(ModelFileError, match=r"net\.onnx: not a usable ONNX file"):
        check_parity(light_net, tmp_path / "net.onnx", frames)


def test_a_layer_that_would_overflow_half_precision_is_named_and_nothing_is_written(
    light_net, light_metadata, frames, tmp_path
):
    _, value = largest_activation(light_net, frames)
    assert 1 < value < 1000
    require_half_range(light_net, frames)
    net = copy.deepcopy(light_net)
    with torch.no_grad():
        net.segmentation.low_classifier.bias[3] = 40_000.0
    assert largest_activation(net, frames)[0] == "segmentation.low_classifier"
    with pytest.raises(DannetError, match=r"layer 'segmentation\.low_classifier' puts out 4e\+04, .*export in fp32"):
        export_checked(net, light_metadata, frames, tmp_path / "net.onnx", "fp16")
    assert list(tmp_path.iterdir()) == []
