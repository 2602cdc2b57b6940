"""Start the night segmentation node, and RViz if wanted: ros2 launch dannet_ros night_seg.launch.py model:=FILE."""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription

CONFIG = Path(__file__).parent.parent / "config"
OUTPUTS = ("overlay", "color", "label", "relit", "confidence", "legend")
BOOLEAN = ["true", "false"]
# Fast DDS 3, from Kilted on, renamed it.
OLD_FAST_DDS = os.environ.get("ROS_DISTRO") in ("humble", "jazzy")
PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE" if OLD_FAST_DDS else "FASTDDS_DEFAULT_PROFILES_FILE"
ARGUMENTS = (
    DeclareLaunchArgument(
        "model",
        default_value="",
        description="Model file: .onnx, .safetensors or .engine. Required here or in params_file.",
    ),
    DeclareLaunchArgument(
        "engine_cache",
        default_value="",
        description="Folder that keeps TensorRT engines of an .onnx model. Empty: as params_file says.",
    ),
    DeclareLaunchArgument("image", default_value="image", description="Camera image topic, without /compressed."),
    DeclareLaunchArgument(
        "image_transport",
        default_value="",
        choices=["", "raw", "compressed"],
        description="raw, or compressed for JPEG and PNG on IMAGE/compressed. Empty: as params_file says.",
    ),
    DeclareLaunchArgument(
        "camera_info", default_value="", description="Camera info topic. Empty: camera_info beside the image topic."
    ),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its relative topics."),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(CONFIG / "night_seg.param.yaml"),
        description="Parameters of the node; model, engine_cache, image_transport and threads given here win over it.",
    ),
    DeclareLaunchArgument(
        "threads", default_value="", description="CPU threads of the model. Empty: as params_file says; 0: all cores."
    ),
    DeclareLaunchArgument(
        "use_sim_time", default_value="false", choices=BOOLEAN, description="Take the time from /clock, for bags."
    ),
    DeclareLaunchArgument(
        "rviz",
        default_value="false",
        choices=BOOLEAN,
        description="Also start RViz and, where it is installed, rqt_robot_monitor for the diagnostics.",
    ),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="Lowest severity that is logged.",
    ),
    DeclareLaunchArgument(
        "respawn", default_value="false", choices=BOOLEAN, description="Start the node again two seconds after it died."
    ),
)


def _nodes(context: LaunchContext) -> list[Node]:
    given = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    image = given["image"]
    camera_info = given["camera_info"] or "/".join([*image.split("/")[:-1], "camera_info"])
    parameters = {name: given[name] for name in ("model", "engine_cache", "image_transport") if given[name]}
    parameters |= {"threads": int(given["threads"])} if given["threads"] else {}
    environment = {PROFILE_VARIABLE: os.environ.get(PROFILE_VARIABLE, str(CONFIG / "fastdds.xml"))}
    # Pictures in memory pages of 2 MB.
    pages = {"GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")}
    segmentation = Node(
        package="dannet_ros",
        executable="night_seg",
        name="night_seg",
        namespace=given["namespace"],
        parameters=[given["params_file"], parameters | {"use_sim_time": given["use_sim_time"] == "true"}],
        remappings=[("image", image), ("camera_info", camera_info)],
        arguments=["--ros-args", "--log-level", given["log_level"]],
        additional_env=environment | pages,
        output="screen",
        respawn=given["respawn"] == "true",
        respawn_delay=2.0,
    )
    if given["rviz"] != "true":
        return [segmentation]
    return [segmentation, _rviz(given["namespace"], image, environment), *_robot_monitor()]


def _rviz(namespace: str, image: str, environment: dict[str, str]) -> Node:
    prefix = f"/{namespace.strip('/')}" if namespace.strip("/") else ""
    absolute = image if image.startswith("/") else f"{prefix}/{image}"
    remappings = [(f"/night_seg/{name}", f"{prefix}/night_seg/{name}") for name in OUTPUTS] if prefix else []
    return Node(
        package="rviz2",
        executable="rviz2",
        name="night_seg_rviz",
        arguments=["-d", str(CONFIG / "night_seg.rviz")],
        remappings=[("/image", absolute), *remappings],
        additional_env=environment,
        output="screen",
    )


def _robot_monitor() -> list[Node]:
    """RViz has no display for diagnostics."""
    try:
        get_package_prefix("rqt_robot_monitor")
    except PackageNotFoundError:
        return []
    return [Node(package="rqt_robot_monitor", executable="rqt_robot_monitor", name="night_seg_monitor")]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_nodes)])
