"""A real but tiny ONNX model, and real DDS in a domain of this test process's own."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dannet_core.metadata import ModelMetadata

_RESERVED: list[Any] = []


def _reserve_domain() -> int:
    """A domain that no other test process of this machine is in: locked until this one ends."""
    wanted = [1 + (os.getpid() + offset) % 100 for offset in range(100)]
    for domain in wanted:
        file = (Path(tempfile.gettempdir()) / f"dannet_ros_test_domain_{domain}").open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
        else:
            _RESERVED.append(file)
            return domain
    return wanted[0]


# Before anything makes a ROS context; test machines run several of these at once.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(_reserve_domain())


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


class Rig:
    """The node, a camera and a listener on real DDS, spun by the test."""

    def __init__(self, name: str, parameters: dict[str, Any]) -> None:
        import rclpy
        from rclpy.parameter import Parameter
        from rclpy.qos import QoSProfile, ReliabilityPolicy

        from dannet_ros.frame_executor import make_executor
        from dannet_ros.lifecycle_node import NightSegNode

        self.sensor_qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        overrides = [Parameter(key, value=value) for key, value in parameters.items()]
        self.node = NightSegNode(parameter_overrides=overrides, cli_args=["--ros-args", "-r", f"__node:={name}"])
        self.other = rclpy.create_node("camera_and_listener")
        self.came: dict[str, list[Any]] = defaultdict(list)
        self._executor = make_executor()
        for node in (self.node, self.other):
            self._executor.add_node(node)

    def listen(self, *outputs: str) -> None:
        """Subscribe image outputs, and wait until both sides know: what is sent before a reader does is lost."""
        from sensor_msgs.msg import Image

        made = [
            self.other.create_subscription(Image, f"night_seg/{name}", self.came[name].append, 10) for name in outputs
        ]
        publishers = self.node._session.publishers if self.node._session else None
        if publishers is not None:
            self.until(lambda: publishers.wanted() >= set(outputs))
            self.until(lambda: all(subscription.get_publisher_count() > 0 for subscription in made))

    def camera(self, kind: Any, topic: str) -> Any:
        """A publisher on a camera topic, once it and the node have discovered each other: either may be first."""
        publisher = self.other.create_publisher(kind, topic, self.sensor_qos)
        self.until(lambda: publisher.get_subscription_count() > 0)
        heard = [s for s in self.node.subscriptions if s.topic_name == publisher.topic_name]
        self.until(lambda: all(subscription.get_publisher_count() > 0 for subscription in heard))
        return publisher

    def until(self, condition: Callable[[], bool], timeout_s: float = 200.0) -> None:
        """Spin until the condition holds; fails the test when it does not in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"did not happen within {timeout_s} s; counts {self.node.counts}"
            self._executor.spin_once(timeout_sec=0.02)

    def spin(self, seconds: float) -> None:
        """Spin for a while, for what must not happen."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.02)

    def settled(self) -> bool:
        """True when every received frame has its outcome."""
        counts = self.node.counts
        return counts["received"] == sum(count for outcome, count in counts.items() if outcome != "received")

    def close(self) -> None:
        self.node.stop()
        self._executor.shutdown()
        self.node.destroy_node()
        self.other.destroy_node()


@pytest.fixture(scope="session")
def ros() -> Iterator[Any]:
    rclpy = pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")
    rclpy.init()
    yield rclpy
    rclpy.try_shutdown()


@pytest.fixture
def make_rig(ros: Any, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rig]]:
    """Builds a rig on the tiny model; the node is configured and active unless ``start=False``."""
    monkeypatch.setattr("dannet_ros.session.STOP_TIMEOUT_S", 200.0)  # a worker that is only slow is not left behind
    rigs = []

    def make(start: bool = True, name: str = "night_seg", **parameters: Any) -> Rig:
        quick = {"model": str(tiny_model), "warm_up_height": 0, "warm_up_width": 0, "threads": 1}
        rig = Rig(name, quick | parameters)
        rigs.append(rig)
        assert not start or rig.node.autostart(), rig.node.failure
        return rig

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture(scope="session")
def night() -> np.ndarray:
    """A dark picture with lamps: 150 x 210 x 3 uint8 RGB."""
    generator = np.random.default_rng(3)
    picture = generator.normal(18, 6, (150, 210, 3))
    for y, x in generator.integers(10, 140, (12, 2)):
        picture[y - 6 : y + 6, x - 6 : x + 6] += (200, 150, 60)
    return np.clip(picture, 0, 255).astype(np.uint8)
