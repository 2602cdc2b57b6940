"""Other projects' graphs on the node, over real DDS: their labels, and no topic that they cannot fill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")
pytest.importorskip("onnx", reason="onnx builds the test models")

from foreign_graphs import TinyGraph
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dannet_core import NightSegmenter
from dannet_core.deploy.adopt import adopt
from dannet_ros.conversions import to_image

pytestmark = pytest.mark.ros


def topics(rig: Any) -> set[str]:
    """What the node publishes, as the graph shows it."""
    names = rig.other.get_publisher_names_and_types_by_node("night_seg", "/")
    return {name.removeprefix("/night_seg/") for name, _ in names}


@pytest.fixture(scope="module")
def labels_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph of labels without scores."""
    folder = tmp_path_factory.mktemp("labels")
    graph = TinyGraph().classify().enlarge("nearest").constant("table", np.arange(19)[::-1], np.int64)
    path = graph.add("ArgMax", axis=1).add("Gather", "table", first=True).save(folder / "theirs.onnx", output="int64")
    adopt(path, folder / "ours.onnx")
    return folder / "ours.onnx"


def test_labels_go_out_and_there_is_no_relit_topic(
    adopted_model: Path, make_rig: Callable[..., Any], night: np.ndarray
) -> None:
    rig = make_rig(model=str(adopted_model))
    rig.until(lambda: "label" in topics(rig))
    assert {"color", "overlay", "confidence", "legend"} <= topics(rig)
    assert "relit" not in topics(rig)
    rig.listen("label", "confidence")
    camera = rig.camera(Image, "image")
    camera.publish(to_image(night, "rgb8", Header(frame_id="camera")))
    rig.until(lambda: len(rig.came["label"]) == len(rig.came["confidence"]) == 1)
    with NightSegmenter.load(adopted_model) as segmenter:
        expected = segmenter.segment(night).labels
    (message,) = rig.came["label"]
    assert message.header.frame_id == "camera"
    np.testing.assert_array_equal(np.frombuffer(message.data, np.uint8).reshape(night.shape[:2]), expected)
    rig.until(rig.settled)
    assert {name: count for name, count in rig.node.counts.items() if count} == {"received": 1, "processed": 1}


def test_labels_without_scores_have_no_confidence_topic_and_no_min_confidence(
    labels_model: Path, make_rig: Callable[..., Any], night: np.ndarray
) -> None:
    rig = make_rig(model=str(labels_model))
    rig.until(lambda: "label" in topics(rig))
    assert not {"relit", "confidence"} & topics(rig)
    rig.listen("label", "color")
    rig.node._on_image(to_image(night, "rgb8", Header()))
    rig.until(lambda: len(rig.came["label"]) == len(rig.came["color"]) == 1)
    (result,) = rig.node.set_parameters([Parameter("min_confidence", value=0.5)])
    reason = "the model gives labels without scores (adopted)"
    assert (result.successful, result.reason) == (
        False,
        f"parameter min_confidence: got 0.5, expected 0: {reason}",
    )
    (result,) = rig.node.set_parameters([Parameter("outputs", value=["confidence"])])
    assert (result.successful, result.reason) == (
        False,
        f"parameter outputs: got confidence alone, expected others too: {reason}",
    )


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (
            {"outputs": ["relit"]},
            "parameter outputs: got relit alone, expected others too: the model has no",
        ),
        (
            {"min_confidence": 0.5},
            "min_confidence: got 0.5, expected 0: the model gives labels without scores",
        ),
    ],
)
def test_configure_refuses_what_the_model_cannot_give(
    labels_model: Path, make_rig: Callable[..., Any], parameters: dict[str, Any], said: str
) -> None:
    rig = make_rig(start=False, model=str(labels_model), **parameters)
    assert not rig.node.autostart()
    assert rig.node.failure.startswith(said)
    assert rig.node.counts == {}


def test_the_topic_comes_back_with_a_model_that_relights(
    adopted_model: Path, tiny_model: Path, make_rig: Callable[..., Any], night: np.ndarray
) -> None:
    rig = make_rig(model=str(adopted_model))
    rig.node.trigger_deactivate()
    rig.node.trigger_cleanup()
    rig.node.set_parameters([Parameter("model", value=str(tiny_model))])
    assert rig.node.autostart(), rig.node.failure
    rig.until(lambda: "relit" in topics(rig))
    rig.listen("relit")
    rig.node._on_image(to_image(night, "rgb8", Header()))
    rig.until(lambda: len(rig.came["relit"]) == 1)
