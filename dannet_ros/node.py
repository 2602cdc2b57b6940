"""`ros2 run dannet_ros night_seg`: the process around the lifecycle node."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from dannet_core.errors import DannetError, SettingsError, require
from dannet_core.terminal import give_back, output_may_go_unread, stop_signals

EXIT_FAILURE: Final = 2
_SPIN_S: Final = 0.2
_INSTALL_ROS: Final = "source a ROS 2 installation, or pip install 'dannet_ros[ros]'"


def main(argv: list[str] | None = None) -> int:
    """Run the node until SIGINT, SIGTERM, SIGHUP or the end of its ROS context.

    Args:
        argv: arguments without the program name, ROS arguments included; None = the process's.

    Returns:
        0 after a clean stop, 2 when the arguments are wrong, autostart failed, the model could not be opened again, the
        GPU is lost, or the worker hangs for good.
    """
    arguments = sys.argv[1:] if argv is None else argv
    stop = threading.Event()
    try:
        with output_may_go_unread(), _stop_on_signals(stop):
            rclpy = require("rclpy", "run the node", _INSTALL_ROS)
            _refuse_other_arguments(arguments)
            return _run(rclpy, arguments, stop)
    except DannetError as error:
        print(f"night_seg: {error}", file=sys.stderr)
        return EXIT_FAILURE


def _refuse_other_arguments(arguments: list[str]) -> None:
    from rclpy.utilities import remove_ros_args

    from dannet_ros.parameters import describe_all

    parser = argparse.ArgumentParser(
        prog="night_seg",
        usage="ros2 run dannet_ros night_seg --ros-args -p model:=FILE [-p NAME:=VALUE] [-r image:=/camera/image_raw]",
        description="Label night camera images. Parameters, with default and range:\n" + describe_all(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    with _one_line_errors():
        others = remove_ros_args(["night_seg", *arguments])[1:]
    parser.parse_args(others)


def _run(rclpy: Any, arguments: list[str], stop: threading.Event) -> int:
    from rclpy.signals import SignalHandlerOptions

    with _one_line_errors():
        # rclpy's own handlers pull the context from under a publishing worker: stop in order instead.
        rclpy.init(args=["night_seg", *arguments], signal_handler_options=SignalHandlerOptions.NO)
    try:
        return _serve(rclpy, stop)
    finally:
        rclpy.try_shutdown()


def _serve(rclpy: Any, stop: threading.Event) -> int:
    from rclpy.executors import ExternalShutdownException

    from dannet_ros.frame_executor import make_executor
    from dannet_ros.lifecycle_node import NightSegNode
    from dannet_ros.memory import Garbage, keep_freed_buffers

    keep_freed_buffers()
    # Fast DDS then copies pictures to where subscribers read them in a thread of its own, beside the next frame's work,
    # and a slow network does not hold up labels. Other middlewares do not look at it.
    os.environ.setdefault("RMW_FASTRTPS_PUBLICATION_MODE", "ASYNCHRONOUS")
    with _one_line_errors():  # e.g. security asked for and not there
        node = NightSegNode(stopping=stop)
    garbage = Garbage()
    node.on_model_changed = garbage.settle
    executor = make_executor(lambda: node.frame_in_work)
    executor.add_node(node)
    code = 0
    try:
        if node.get_parameter("autostart").value and not node.autostart() and not stop.is_set():
            node.get_logger().fatal(node.failure)
            code = EXIT_FAILURE
            return code
        while rclpy.ok() and not stop.is_set() and not node.gave_up:
            executor.spin_once(timeout_sec=_SPIN_S)
            garbage.tidy(node.frame_in_work)
        code = EXIT_FAILURE if node.gave_up else 0
    except ExternalShutdownException:
        pass
    finally:
        node.stop()
        executor.shutdown()
        node.destroy_node()
        if node.hung:
            # A thread stuck in a driver would also hang, or crash, the interpreter's own exit.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return code


@contextmanager
def _stop_on_signals(stop: threading.Event) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.signal(number, lambda *_: stop.set()) for number in stop_signals()}
    try:
        yield
    finally:
        give_back(old)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Every kind of bad ROS argument has an exception of its own; all of them are the caller's to correct."""
    try:
        yield
    except Exception as error:
        raise SettingsError(" ".join(str(error).split()) or type(error).__name__) from error


if __name__ == "__main__":
    sys.exit(main())
