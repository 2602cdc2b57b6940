"""The launch files with the real launch system, where a ROS 2 installation brings it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

ROOT = Path(__file__).parents[2]
SHARED = {
    "model",
    "engine_cache",
    "image",
    "image_transport",
    "threads",
    "params_file",
    "use_sim_time",
    "log_level",
    "respawn",
}
ARGUMENTS = {
    "night_seg": SHARED | {"camera_info", "namespace", "rviz"},
    "night_seg_multi": SHARED | {"cameras"},
}
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
        pytest.skip("the executable night_seg is not installed: colcon build or pip install")
    return prefix


@pytest.mark.launch
@pytest.mark.ros
@needs_launch
@pytest.mark.parametrize("name", ARGUMENTS)
def test_launched_nodes_label_and_do_as_they_are_told(tiny_model: Path, name: str) -> None:
    """In a process of its own: launch insists on the main thread and on its own event loop."""
    require_installed_package()
    check = Path(__file__).with_name(f"launch_check_{name}.py")
    command = [sys.executable, "-m", "launch_testing.launch_test", str(check), f"model:={tiny_model}"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 3 tests" in done.stdout + done.stderr


def launch_module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "launch" / f"{name}.launch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.launch
@needs_launch
@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument_is_declared_and_described(name: str) -> None:
    description = launch_module(name).generate_launch_description()
    arguments = {argument.name: argument for argument in description.get_launch_arguments()}
    assert set(arguments) == ARGUMENTS[name]
    assert all(len(argument.description) > 10 for argument in arguments.values())


@pytest.mark.launch
@needs_launch
@pytest.mark.parametrize("cameras", ["", ",", "front,front", "front,re ar", "2nd"])
def test_wrong_camera_names_are_refused_in_one_line(cameras: str) -> None:
    with pytest.raises(ValueError, match="expected different namespaces"):
        launch_module("night_seg_multi").camera_names(cameras)


@pytest.mark.launch
@needs_launch
def test_camera_names_and_cores() -> None:
    module = launch_module("night_seg_multi")
    assert module.camera_names(" front, /car/rear/ ,left") == ["front", "car/rear", "left"]
    assert module.threads_each("3", 2) == "3"
    assert module.threads_each("", 2) == str(max(1, (os.cpu_count() or 1) // 2))
    assert module.threads_each("", 10_000) == "1"
