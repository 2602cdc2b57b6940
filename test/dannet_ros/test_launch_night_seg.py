"""The launch file with the real launch system, where a ROS 2 installation brings it, and the RViz configuration."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

from dannet_ros.publishers import OUTPUTS

ROOT = Path(__file__).parents[2]
CHECK = Path(__file__).with_name("launch_check_night_seg.py")
ARGUMENTS = {
    "model", "image", "image_transport", "camera_info", "namespace", "params_file", "use_sim_time", "rviz", "log_level",
    "respawn",
}  # fmt: skip
needs_launch = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("launch_testing", "launch_ros")),
    reason="launch_testing and launch_ros come with a ROS 2 installation (apt), not from PyPI",
)


def require_installed_package() -> Path:
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        prefix = Path(get_package_prefix("dannet_ros"))
    except (PackageNotFoundError, LookupError, OSError):
        pytest.skip("dannet_ros is not in the ament index: colcon build or pip install it and source the result")
    if not (prefix / "lib" / "dannet_ros" / "night_seg").exists():
        pytest.skip("the executable night_seg is not installed: colcon build or pip install (not --editable)")
    return prefix


@pytest.mark.launch
@pytest.mark.ros
@needs_launch
def test_launched_node_labels_and_obeys_lifecycle_services(tiny_model: Path) -> None:
    """In a process of its own: launch insists on the main thread and on its own event loop."""
    require_installed_package()
    command = [sys.executable, "-m", "launch_testing.launch_test", str(CHECK), f"model:={tiny_model}"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 3 tests" in done.stdout + done.stderr


@pytest.fixture
def description() -> Any:
    path = ROOT / "launch" / "night_seg.launch.py"
    spec = importlib.util.spec_from_file_location("night_seg_launch", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@pytest.mark.launch
@needs_launch
def test_every_argument_is_declared_and_described(description: Any) -> None:
    arguments = {argument.name: argument for argument in description.get_launch_arguments()}
    assert set(arguments) == ARGUMENTS
    assert all(len(argument.description) > 10 for argument in arguments.values())


@pytest.mark.ros
def test_rviz_shows_topics_the_node_publishes_with_displays_that_exist() -> None:
    config = yaml.safe_load((ROOT / "config" / "night_seg.rviz").read_text())
    displays = config["Visualization Manager"]["Displays"]
    assert {display["Class"] for display in displays} == {"rviz_default_plugins/Image"}
    topics = [display["Topic"]["Value"] for display in displays]
    assert topics[0] == "/image"
    assert {topic.removeprefix("/night_seg/") for topic in topics[1:]} == set(OUTPUTS)
