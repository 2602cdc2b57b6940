"""The table of topics against the running node, and the viewers' configurations against the table."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from dannet_ros.frame_statistics import STAGES
from dannet_ros.outgoing import OUTPUTS
from dannet_ros.parameters import OUTPUT_NAMES, specs
from dannet_ros.topics import TOPICS, TopicSpec

pytestmark = pytest.mark.ros
CONFIG = Path(__file__).parents[2] / "config"
EVERY_NODE = {"/rosout", "/parameter_events", "/night_seg/transition_event", "/clock"}


def resolved(spec: TopicSpec) -> str:
    return "/" + spec.name.replace("~", "night_seg").lstrip("/")


def present() -> list[TopicSpec]:
    return [spec for spec in TOPICS if not spec.optional or importlib.util.find_spec(spec.optional)]


TABLE = {resolved(spec): spec for spec in TOPICS}


def test_table_holds_exactly_what_the_node_publishes_and_subscribes(make_rig: Callable[..., Any]) -> None:
    name = "node_of_the_table"  # its own: one of the usual name, killed in a test before, stays in the graph for 20 s
    rig = make_rig(name=name)
    ends = {
        "out": rig.node.get_publisher_names_and_types_by_node,
        "in": rig.node.get_subscriber_names_and_types_by_node,
    }
    for direction, look in ends.items():
        wanted = {(resolved(spec), spec.kind) for spec in present() if spec.direction == direction}

        def found(look: Any = look) -> set[tuple[str, str]]:
            ends = {(topic.replace(f"/{name}/", "/night_seg/"), kinds[0]) for topic, kinds in look(name, "/")}
            return {end for end in ends if end[0] not in EVERY_NODE}

        rig.until(lambda found=found, wanted=wanted: found() == wanted)


def test_qos_in_words_is_that_of_the_publishers(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    profiles = {publisher.topic_name: publisher.qos_profile for publisher in rig.node.publishers}
    for spec in present():
        if spec.direction == "out":
            profile = profiles[resolved(spec)]
            reliability = "reliable" if profile.reliability == ReliabilityPolicy.RELIABLE else "best effort"
            latched = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            durability = "transient local" if latched else "volatile"
            assert spec.qos == f"{reliability}, {durability}, depth {profile.depth}", spec.name


def test_outputs_of_table_parameter_and_code_agree() -> None:
    images = [spec.name.removeprefix("~/") for spec in TOPICS if spec.kind.endswith("/Image") and spec.name[0] == "~"]
    assert [name for name in images if name != "legend"] == list(OUTPUTS) == list(OUTPUT_NAMES)
    assert specs()["outputs"].choices == OUTPUT_NAMES


def test_rviz_shows_topics_the_node_publishes_with_displays_that_exist() -> None:
    config = yaml.safe_load((CONFIG / "night_seg.rviz").read_text())
    displays = {display["Name"]: display for display in config["Visualization Manager"]["Displays"]}
    assert {display["Class"] for display in displays.values()} == {"rviz_default_plugins/Image"}
    for display in displays.values():
        spec = TABLE[display["Topic"]["Value"]]
        assert spec.kind == "sensor_msgs/msg/Image"
        if spec.direction == "out":
            wanted = (display["Topic"]["Reliability Policy"], display["Topic"]["Durability Policy"])
            assert ", ".join(wanted).lower() in spec.qos
    shown = {name for name, display in displays.items() if display["Enabled"]}
    assert {"Camera image", "Overlay", "Legend", "Relit"} <= shown


def foxglove_leaves(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    else:
        assert node["direction"] in ("row", "column")
        assert 0 < node["splitPercentage"] < 100
        yield from foxglove_leaves(node["first"])
        yield from foxglove_leaves(node["second"])


def test_foxglove_layout_shows_topics_the_node_publishes() -> None:
    layout = json.loads((CONFIG / "night_seg.foxglove.json").read_text())
    panels = layout["configById"]
    assert sorted(foxglove_leaves(layout["layout"])) == sorted(panels)
    for name, panel in panels.items():
        if name.startswith("Image!"):
            assert TABLE[panel["imageMode"]["imageTopic"]].kind == "sensor_msgs/msg/Image"
        elif name.startswith("Diagnostic"):
            assert TABLE[panel["topicToRender"]].kind == "diagnostic_msgs/msg/DiagnosticArray"
            assert panel.get("selectedName") in (None, "/night_seg: night segmentation")  # as in test_diagnostics
        elif name.startswith("Parameters!"):
            assert re.search(r"night_seg\.(\w+)", panel["title"]).group(1) in specs()
        else:
            assert name.startswith("Plot!"), name


def test_foxglove_plots_the_stages_it_names() -> None:
    panels = json.loads((CONFIG / "night_seg.foxglove.json").read_text())["configById"]
    paths = [path for name, panel in panels.items() if name.startswith("Plot!") for path in panel["paths"]]
    assert len(paths) > 2
    for path in paths:
        topic, index = re.fullmatch(r"(/[\w/]+)\.data(?:\[(\d+)\])?", path["value"]).groups()
        kind = "std_msgs/msg/Float32" if index is None else "std_msgs/msg/Float32MultiArray"
        assert TABLE[topic].kind == kind
        assert path["label"] == ("total" if index is None else list(STAGES)[int(index)])
