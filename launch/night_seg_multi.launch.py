"""One night_seg a camera, each in the camera's namespace, all on one model file:

ros2 launch dannet_ros night_seg_multi.launch.py model:=FILE cameras:=front,left,rear image:=image_raw
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription

HERE = Path(__file__).parent
PASSED_ON = ("model", "engine_cache", "image_transport", "params_file", "use_sim_time", "log_level", "respawn")
BOOLEAN = ["true", "false"]
ARGUMENTS = (
    DeclareLaunchArgument("cameras", description="Namespaces of the cameras, comma-separated, e.g. front,left,rear."),
    DeclareLaunchArgument(
        "image",
        default_value="image_raw",
        description="Image topic below each camera's namespace, without /compressed.",
    ),
    DeclareLaunchArgument(
        "threads",
        default_value="",
        description="CPU threads of each camera's model. Empty: the cores shared out evenly, at least one each.",
    ),
    DeclareLaunchArgument(
        "model",
        default_value="",
        description="Model file they all open: .onnx, .safetensors or .engine. Required here or in params_file.",
    ),
    DeclareLaunchArgument(
        "engine_cache",
        default_value="",
        description="Folder that keeps TensorRT engines of an .onnx model, for all. Empty: as params_file says.",
    ),
    DeclareLaunchArgument(
        "image_transport",
        default_value="",
        choices=["", "raw", "compressed"],
        description="raw, or compressed for JPEG and PNG on IMAGE/compressed. Empty: as params_file says.",
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(HERE.parent / "config" / "night_seg.param.yaml"),
        description="Parameters of the nodes; a key /front/night_seg in it holds those of one camera.",
    ),
    DeclareLaunchArgument(
        "use_sim_time", default_value="false", choices=BOOLEAN, description="Take the time from /clock, for bags."
    ),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="Lowest severity that is logged.",
    ),
    DeclareLaunchArgument(
        "respawn", default_value="false", choices=BOOLEAN, description="Start a node again two seconds after it died."
    ),
)


def camera_names(text: str) -> list[str]:
    """The namespaces without slashes at their ends."""
    names = [name.strip().strip("/") for name in text.split(",") if name.strip()]
    wrong = [name for name in names if not re.fullmatch(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*", name)]
    if not names or wrong or len(set(names)) < len(names):
        raise ValueError(f"cameras: got '{text}', expected different namespaces, comma-separated, e.g. front,left,rear")
    return names


def threads_each(given: str, cameras: int) -> str:
    """What is given, or the cores shared out."""
    return given or str(max(1, (os.cpu_count() or 1) // cameras))


def _nodes(context: LaunchContext) -> list[GroupAction]:
    given = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    cameras = camera_names(given["cameras"])
    shared = {name: given[name] for name in PASSED_ON} | {"threads": threads_each(given["threads"], len(cameras))}
    source = PythonLaunchDescriptionSource(str(HERE / "night_seg.launch.py"))
    groups = []
    for camera in cameras:
        image = f"/{camera}/{given['image'].strip('/')}"
        arguments = shared | {"namespace": camera, "image": image, "camera_info": "", "rviz": "false"}
        groups.append(GroupAction([IncludeLaunchDescription(source, launch_arguments=arguments.items())], scoped=True))
    return groups


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_nodes)])
