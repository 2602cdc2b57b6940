"""What goes wrong with the node running, and the way back: on_error, repeated cycles, processes that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions, GetState
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dannet_core.errors import BackendError
from dannet_ros.conversions import to_image

pytestmark = pytest.mark.ros
ROOT = Path(__file__).parents[2]


def state(rig: Any) -> str:
    return str(rig.node._state_machine.current_state[1])


def send_and_settle(rig: Any, picture: np.ndarray, frames: int = 1) -> None:
    for _ in range(frames):
        rig.node._on_image(to_image(picture, "rgb8", Header()))
        rig.until(lambda: not rig.node.counts or rig.settled())


def is_labelled(rig: Any, picture: np.ndarray) -> None:
    came = len(rig.came["label"])
    publishers = rig.node._session.publishers
    rig.until(lambda: publishers.wanted() == {"label"})
    send_and_settle(rig, picture)
    rig.until(lambda: len(rig.came["label"]) > came)


def break_backend(rig: Any) -> threading.Event:
    """While the returned event is set the opened model fails, as with a poisoned driver context; a new one does not."""
    worker, broken = rig.node._session.worker, threading.Event()
    label = worker._label
    broken.set()

    def fail(*_: Any) -> Any:
        raise BackendError("CUDA error 700: an illegal memory access was encountered")

    def label_badly(segmenter: Any, *frame: Any) -> None:
        backend = segmenter._backend
        infer, backend.infer = backend.infer, fail if broken.is_set() else backend.infer
        label(segmenter, *frame)
        backend.infer = infer

    worker._label = label_badly
    return broken


@pytest.mark.parametrize("transition", ["activate", "deactivate", "cleanup"])
def test_error_in_a_transition_leads_back_to_unconfigured(
    make_rig: Callable[..., Any], night: np.ndarray, monkeypatch: pytest.MonkeyPatch, transition: str
) -> None:
    rig = make_rig(start=False)
    broken = {"activate": "publishers", "deactivate": "pause", "cleanup": "close"}[transition]
    assert rig.node.trigger_configure().name == "SUCCESS"
    for step in {"activate": [], "deactivate": ["activate"], "cleanup": []}[transition]:
        assert getattr(rig.node, f"trigger_{step}")().name == "SUCCESS"
    session = rig.node._session
    if transition == "activate":
        monkeypatch.setattr(session.publishers, "publish_classes", lambda _: 1 / 0)
    else:
        close = session.close
        monkeypatch.setattr(session, broken, lambda: close() and 1 / 0)
    assert getattr(rig.node, f"trigger_{transition}")().name == "ERROR"
    assert state(rig) == "unconfigured"
    assert rig.node.failure == f"on_{transition}: ZeroDivisionError: division by zero"
    assert rig.node.autostart(), rig.node.failure
    rig.listen("label")
    is_labelled(rig, night)


def test_failing_backend_is_closed_and_opened_again(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(max_failures=3)
    rig.listen("label")
    is_labelled(rig, night)
    broken = rig.node._session
    break_backend(rig)
    reports: list[Any] = []
    rig.other.create_subscription(DiagnosticArray, "/diagnostics", lambda m: reports.extend(m.status), 10)
    send_and_settle(rig, night, frames=3)
    rig.until(lambda: rig.node._session not in (None, broken))
    assert state(rig) == "active"
    assert not broken.worker._thread.is_alive(), "its thread, and with it its driver context, is gone"
    rig.until(lambda: any("3 frames in a row failed" in report.message for report in reports))
    is_labelled(rig, night)
    assert not rig.node.gave_up


def test_node_gives_up_when_the_model_cannot_be_opened_again(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(max_failures=2)
    rig.listen("label")
    break_backend(rig)
    rig.node._session.worker.facts = None
    rig.node._parameters_given._problems["model"] = "parameter model: no GPU left"
    send_and_settle(rig, night, frames=2)
    rig.until(lambda: rig.node.gave_up)
    assert state(rig) == "unconfigured"
    assert rig.node._health().failure == "parameter model: no GPU left"


def test_being_stopped_while_the_model_is_opened_again_is_not_giving_up(
    make_rig: Callable[..., Any], night: np.ndarray
) -> None:
    rig = make_rig(max_failures=2)
    rig.listen("label")
    break_backend(rig)
    rig.node._start = lambda: rig.node.stopping.set() or "stopped while the model was being opened"
    send_and_settle(rig, night, frames=2)
    rig.until(rig.node.stopping.is_set)
    rig.spin(0.3)
    assert not rig.node.gave_up, "SIGINT then ends the process with 0, as ever"


def test_without_autostart_the_way_back_is_left_to_the_lifecycle_manager(
    make_rig: Callable[..., Any], night: np.ndarray
) -> None:
    rig = make_rig(max_failures=2, autostart=False)
    rig.listen("label")
    break_backend(rig)
    send_and_settle(rig, night, frames=2)
    rig.until(lambda: state(rig) == "unconfigured")
    assert "2 frames in a row failed, the last: CUDA error 700" in rig.node._health().failure
    assert rig.node.autostart()
    is_labelled(rig, night)


def test_a_network_that_gives_nan_publishes_nothing_and_says_so(
    make_rig: Callable[..., Any], night: np.ndarray, blind_onnx: Path
) -> None:
    rig = make_rig(model=str(blind_onnx), min_confidence=0.3, warm_up_height=150, warm_up_width=210)
    rig.listen("label", "color", "overlay", "relit", "confidence")
    reports: list[Any] = []
    rig.other.create_subscription(DiagnosticArray, "/diagnostics", lambda m: reports.extend(m.status), 10)
    dark = np.zeros_like(night)
    send_and_settle(rig, dark, frames=2)
    rig.until(lambda: any("values are NaN or infinite" in str(report) for report in reports))
    assert (rig.node.counts["failed"], rig.node.counts["processed"]) == (2, 0)
    assert not any(rig.came.values())
    is_labelled_all(rig, night)
    assert (rig.node.counts["failed"], rig.node.counts["processed"]) == (2, 1)


def is_labelled_all(rig: Any, picture: np.ndarray) -> None:
    send_and_settle(rig, picture)
    rig.until(lambda: len(rig.came) == 5 and all(len(came) == 1 for came in rig.came.values()))


def test_a_relit_picture_of_nan_publishes_no_label_either(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig()
    rig.listen("label", "relit")
    worker = rig.node._session.worker
    label = worker._label

    def label_with_a_hole(segmenter: Any, *frame: Any) -> None:
        infer = segmenter._backend.infer

        def broken(image: Any, with_relit: bool) -> Any:
            output = infer(image, with_relit)
            return output._replace(relit=np.full_like(output.relit, np.nan))

        segmenter._backend.infer = broken
        label(segmenter, *frame)
        segmenter._backend.infer = infer

    worker._label = label_with_a_hole
    send_and_settle(rig, night)
    assert rig.node.counts["failed"] == 1
    worker._label = label
    send_and_settle(rig, night)
    rig.until(lambda: len(rig.came["relit"]) == 1)
    assert len(rig.came["label"]) == 1, "that of the second frame only"


def test_frames_of_nan_in_a_row_open_the_model_again(
    make_rig: Callable[..., Any], night: np.ndarray, blind_onnx: Path
) -> None:
    rig = make_rig(model=str(blind_onnx), max_failures=3)
    rig.listen("label")
    first = rig.node._session
    send_and_settle(rig, np.zeros_like(night), frames=3)
    rig.until(lambda: rig.node._session not in (None, first))


def test_one_good_frame_between_failures_keeps_the_model(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(max_failures=2)
    rig.listen("label")
    session, broken = rig.node._session, break_backend(rig)
    for _ in range(3):
        send_and_settle(rig, night)
        broken.clear()
        send_and_settle(rig, night)
        broken.set()
    rig.spin(0.3)
    assert rig.node._session is session
    assert rig.node.counts["failed"] == 3


def test_hang_is_reported_before_the_next_period(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(hang_ms=50.0, diagnostics_period_s=60.0)
    rig.node._timer.cancel()  # on a slow machine the next period may come before the test is over
    rig.listen("label")
    reports: list[Any] = []
    rig.other.create_subscription(DiagnosticArray, "/diagnostics", lambda m: reports.extend(m.status), 10)
    rig.until(lambda: rig.node._diagnostics._publisher.get_subscription_count() > 0)
    release, worker = threading.Event(), rig.node._session.worker
    label = worker._label
    worker._label = lambda *frame: (release.wait(300), label(*frame))
    rig.node._on_image(to_image(night, "rgb8", Header()))
    rig.until(lambda: reports)
    assert reports[0].level == DiagnosticStatus.ERROR
    assert "worker busy for" in reports[0].message
    release.set()
    rig.until(lambda: len(reports) == 2)
    assert reports[1].level != DiagnosticStatus.ERROR


def test_hang_for_good_makes_the_node_give_up(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(hang_ms=20.0, max_hang_s=0.1)
    release, worker = threading.Event(), rig.node._session.worker
    worker._label = lambda *_: release.wait(300)
    rig.node._on_image(to_image(night, "rgb8", Header()))
    rig.until(lambda: rig.node.gave_up)
    release.set()


def open_things() -> tuple[int, int]:
    """Threads and file descriptors of this process."""
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def test_hundred_cycles_leave_no_threads_and_files_behind(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(start=False)
    rig.listen("label")

    def cycle() -> None:
        assert rig.node.trigger_configure().name == "SUCCESS"
        assert rig.node.trigger_activate().name == "SUCCESS"
        is_labelled(rig, night)
        assert rig.node.trigger_deactivate().name == "SUCCESS"
        assert rig.node.trigger_cleanup().name == "SUCCESS"

    for _ in range(2):
        cycle()
    before = open_things()
    for _ in range(100):
        cycle()
    assert open_things() == before
    assert len(rig.node._managed_entities) == 0
    assert len(rig.node.default_callback_group.entities) < 500, "rclpy adds 25 for each configure"


def test_plain_lifecycle_services(make_rig: Callable[..., Any]) -> None:
    """What `ros2 lifecycle get`, `list` and `set` call."""
    rig = make_rig()

    def call(kind: Any, name: str, request: Any) -> Any:
        client = rig.other.create_client(kind, f"/night_seg/{name}")
        rig.until(client.service_is_ready)
        future = client.call_async(request)
        rig.until(future.done)
        return future.result()

    def label() -> str:
        return str(call(GetState, "get_state", GetState.Request()).current_state.label)

    assert label() == "active"
    offered = call(GetAvailableTransitions, "get_available_transitions", GetAvailableTransitions.Request())
    assert {t.transition.label for t in offered.available_transitions} == {"deactivate", "shutdown"}
    for transition, reached in (("deactivate", "inactive"), ("cleanup", "unconfigured"), ("configure", "inactive")):
        request = ChangeState.Request(transition=Transition(label=transition))
        assert call(ChangeState, "change_state", request).success
        assert label() == reached
    rig.node.set_parameters([Parameter("overlay_alpha", value=0.25)])
    assert not call(ChangeState, "change_state", ChangeState.Request(transition=Transition(label="nonsense"))).success
    assert label() == "inactive"


def test_subscribers_and_publishers_may_come_and_go(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig()
    before = None
    for number in range(30):
        camera = rig.camera(Image, "image")
        labels: list[Any] = []
        listener = rig.other.create_subscription(Image, "night_seg/label", labels.append, 1)
        rig.until(lambda: rig.node._session.publishers.wanted() == {"label"})
        camera.publish(to_image(night, "rgb8", Header(frame_id=str(number))))
        rig.until(lambda labels=labels: labels)
        assert labels[0].header.frame_id == str(number)
        rig.other.destroy_subscription(listener)
        rig.other.destroy_publisher(camera)
        rig.until(lambda: not rig.node._session.publishers.wanted())
        before = before or open_things()
    assert open_things() == before


def start_node(model: Path, *words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    arguments = ["-p", f"model:={model}", "-p", "warm_up_height:=0", "-p", "warm_up_width:=0", "-p", "threads:=1"]
    command = [sys.executable, "-m", "dannet_ros.node", "--ros-args", *arguments, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_killed_node_is_replaced_by_a_new_one_for_the_same_camera(
    ros: Any, tiny_model: Path, night: np.ndarray
) -> None:
    """SIGKILL leaves no chance to clean up; what a respawning launch starts next must find DDS usable."""
    node = ros.create_node("respawn_test_camera")
    labels: list[Any] = []
    camera = node.create_publisher(Image, "killed/image", 1)
    node.create_subscription(Image, "killed/night_seg/label", labels.append, 1)
    executor = ros.executors.SingleThreadedExecutor()
    executor.add_node(node)
    processes = []
    try:
        for life in range(2):
            process = start_node(tiny_model, "-r", "__ns:=/killed")
            processes.append(process)
            deadline = time.monotonic() + 300
            while not any(message.header.frame_id == str(life) for message in labels):
                assert time.monotonic() < deadline
                camera.publish(to_image(night, "rgb8", Header(frame_id=str(life))))
                executor.spin_once(timeout_sec=0.03)
            process.send_signal(signal.SIGKILL)
            assert process.wait(300) == -signal.SIGKILL
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        executor.shutdown()
        node.destroy_node()
