from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dannet_ros.camera_input import InputFacts
from dannet_ros.conversions import to_image
from dannet_ros.diagnostics import NOTHING_COUNTED, Counted, Health, findings, values
from dannet_ros.frame_statistics import OUTCOMES, Spread
from dannet_ros.parameters import NodeParameters
from dannet_ros.session import Session

pytestmark = pytest.mark.ros

HEALTHY = Health(
    state="active",
    failure="",
    opening_s=0.0,
    opening="",
    input=InputFacts("/front/image", publishers=1, reliability="reliable"),
    received=10,
    counts=dict.fromkeys(OUTCOMES, 0) | {"processed": 10},
    in_work=0,
    silence_s=0.01,
    lost=0,
    lost_ago_s=None,
    repeated=0,
    time_jumps=0,
    clock_stands=False,
    busy_s=0.02,
    spreads={"total": Spread(20.0, 30.0, 40.0)},
    limits=NodeParameters(slow_frame_ms=50.0, hang_ms=2000.0, bright_above=90.0),
    last_problem="",
    intensity=40.0,
    changed_share=None,
    model="m.onnx",
    model_file_problem="",
    facts=None,
)


def test_healthy_node_has_no_findings_and_shows_its_figures() -> None:
    assert findings(HEALTHY, NOTHING_COUNTED) == []
    assert values(HEALTHY)["total ms p50/p95/p99"] == "20.0 / 30.0 / 40.0"
    assert values(HEALTHY)["processed"] == "10"


@pytest.mark.parametrize(
    ("changes", "level", "text"),
    [
        ({"received": 0, "input": InputFacts("/a")}, DiagnosticStatus.WARN, "on /a: the topic has no publisher"),
        (
            {"received": 0, "input": InputFacts("/a", others=("/b", "/c"))},
            DiagnosticStatus.WARN,
            "no publisher; pictures are published on /b, /c",
        ),
        (
            {"silence_s": 9.0},
            DiagnosticStatus.WARN,
            "no image for 9 s on /front/image: 1 publisher(s), nothing arrives",
        ),
        ({"received": 0, "input": InputFacts("/a", 1, problem="QoS")}, DiagnosticStatus.WARN, "on /a: QoS"),
        ({"input": InputFacts("/a", 2, problem="QoS")}, DiagnosticStatus.WARN, "publisher on /a cannot be heard: QoS"),
        ({"busy_s": 7.2}, DiagnosticStatus.ERROR, "worker busy for 7.2 s"),
        ({"clock_stands": True}, DiagnosticStatus.WARN, "nothing publishes /clock"),
        ({"spreads": {"receive": Spread(-5e3, 0, 0)}}, DiagnosticStatus.WARN, "5000 ms ahead of the node's clock"),
        ({"time_jumps": 1}, DiagnosticStatus.WARN, "time jumped back"),
        ({"repeated": 1}, DiagnosticStatus.WARN, "stamps stand still"),
        (
            {"counts": {"out_of_order": 3}, "input": InputFacts("/a", 2)},
            DiagnosticStatus.WARN,
            "3 frame(s) out of order: 2 publish on /a",
        ),
        ({"intensity": 120.0}, DiagnosticStatus.WARN, "mean 120, bright_above is 90"),
        ({"model_file_problem": "the model file is gone"}, DiagnosticStatus.WARN, "the model file is gone"),
        ({"state": "configuring", "opening_s": 61.0}, DiagnosticStatus.OK, "opening the model for 61 s"),
        ({"lost": 4, "lost_ago_s": 3.0}, DiagnosticStatus.WARN, "4 frame(s) lost before they arrived"),
        ({"limits": NodeParameters(slow_frame_ms=25.0)}, DiagnosticStatus.WARN, "slow: p95 30 ms"),
        (
            {"counts": {"failed": 1}, "last_problem": "no memory"},
            DiagnosticStatus.ERROR,
            "1 frame(s) failed: no memory",
        ),
        ({"counts": {"malformed": 3}, "last_problem": "step"}, DiagnosticStatus.WARN, "3 malformed frame(s): step"),
        ({"counts": {"stale": 2}}, DiagnosticStatus.WARN, "2 frame(s) older than max_age_ms before"),
        ({"counts": {"late": 2}}, DiagnosticStatus.WARN, "the model is too slow"),
        ({"state": "unconfigured", "failure": "model: not set"}, DiagnosticStatus.ERROR, "model: not set"),
    ],
)
def test_each_trouble_is_named(changes: dict[str, Any], level: bytes, text: str) -> None:
    found = findings(HEALTHY._replace(**changes), NOTHING_COUNTED)
    assert [finding.level for finding in found] == [level]
    assert text in found[0].text


def test_losses_name_the_profile_and_are_forgotten() -> None:
    lossy = HEALTHY._replace(lost=4, lost_ago_s=3.0)
    assert "fastdds.xml" in findings(lossy, NOTHING_COUNTED)[0].text
    assert findings(lossy._replace(lost_ago_s=60.0), NOTHING_COUNTED) == []


def test_worst_finding_comes_first_and_old_counts_are_not_repeated() -> None:
    bad = HEALTHY._replace(counts={"failed": 2, "malformed": 5}, limits=NodeParameters(slow_frame_ms=1.0))
    assert [f.level for f in findings(bad, NOTHING_COUNTED)] == [DiagnosticStatus.ERROR] + [DiagnosticStatus.WARN] * 2
    assert [f.level for f in findings(bad, Counted({"failed": 2, "malformed": 5}, 0, 0))] == [DiagnosticStatus.WARN]


def test_node_that_is_not_active_reports_nothing_wrong() -> None:
    assert findings(HEALTHY._replace(state="inactive", received=0, silence_s=60.0), NOTHING_COUNTED) == []


def test_report_arrives_while_the_worker_hangs(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(diagnostics_period_s=0.1)
    reports: list[Any] = []
    rig.other.create_subscription(DiagnosticArray, "/diagnostics", lambda m: reports.extend(m.status), 10)
    camera = rig.camera(Image, "image")
    rig.listen("label")
    release, worker = threading.Event(), rig.node._session.worker
    label = worker._label
    worker._label = lambda *frame: (release.wait(300), label(*frame))
    camera.publish(to_image(night, "rgb8", Header()))
    rig.until(lambda: any("worker busy for" in report.message for report in reports))
    hung = next(report for report in reports if "worker busy for" in report.message)
    assert hung.level == DiagnosticStatus.ERROR
    assert hung.name == "/night_seg: night segmentation"
    release.set()
    rig.until(lambda: len(rig.came["label"]) == 1)
    rig.until(lambda: reports[-1].level != DiagnosticStatus.ERROR)


def test_failing_backend_is_reported_and_survived(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(backend="onnxruntime")
    camera = rig.camera(Image, "image")
    rig.listen("label")
    worker = rig.node._session.worker
    label, kept = worker._label, []

    def lose_the_session(segmenter: Any, *frame: Any) -> None:
        kept.append((segmenter._backend, segmenter._backend._session))
        segmenter._backend.close()
        label(segmenter, *frame)

    worker._label = lose_the_session
    camera.publish(to_image(night, "rgb8", Header()))
    rig.until(lambda: rig.node.counts["failed"] == 1)
    assert "the backend is closed" in findings(rig.node._health(), NOTHING_COUNTED)[0].text
    worker._label = label
    kept[0][0]._session = kept[0][1]
    camera.publish(to_image(night, "rgb8", Header()))
    rig.until(lambda: len(rig.came["label"]) == 1)


def test_worker_left_behind_does_not_block_cleanup(
    make_rig: Callable[..., Any], night: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dannet_ros.session.STOP_TIMEOUT_S", 0.5)
    rig = make_rig()
    camera = rig.camera(Image, "image")
    rig.listen("label")
    release, worker = threading.Event(), rig.node._session.worker
    label = worker._label
    worker._label = lambda *frame: (release.wait(300), label(*frame))
    camera.publish(to_image(night, "rgb8", Header()))
    rig.until(lambda: worker.busy_s > 0)
    assert rig.node.trigger_deactivate().name == "SUCCESS"
    assert rig.node.trigger_cleanup().name == "SUCCESS"
    assert worker._thread.is_alive(), "it was not waited for"
    assert rig.node.hung
    assert rig.node.autostart(), "a new worker takes over"
    release.set()
    rig.until(lambda: not worker._thread.is_alive())
    rig.spin(0.2)
    assert not rig.came["label"], "what it was at is not published any more"
    camera.publish(to_image(night, "rgb8", Header()))
    rig.until(lambda: len(rig.came["label"]) == 1)


def test_reports_go_on_while_the_simulated_clock_stands_still(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(diagnostics_period_s=0.1, use_sim_time=True)
    reports: list[Any] = []
    rig.other.create_subscription(DiagnosticArray, "/diagnostics", lambda m: reports.extend(m.status), 10)
    rig.until(lambda: len(reports) > 2)
    assert "the topic has no publisher" in reports[-1].message


def test_reports_go_on_while_configure_waits_for_the_model(
    make_rig: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Building an engine may take an hour, and configure holds the executor thread for as long."""
    rig = make_rig(start=False, diagnostics_period_s=0.1)
    release, reports, open_model = threading.Event(), [], Session._open_model

    def report_and_release() -> None:
        reports.append([finding.text for finding in findings(rig.node._health(), NOTHING_COUNTED)])
        if len(reports) == 2:
            release.set()

    monkeypatch.setattr(rig.node._diagnostics, "report", report_and_release)
    monkeypatch.setattr(Session, "_open_model", lambda session: (release.wait(300), open_model(session))[1])
    assert rig.node.trigger_configure().name == "SUCCESS"
    assert reports[0][0].startswith("opening the model for ")


def test_configure_that_waits_gives_up_when_the_process_is_to_stop(
    make_rig: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dannet_ros.session.STOP_TIMEOUT_S", 0.5)
    rig = make_rig(start=False)
    release, open_model = threading.Event(), Session._open_model
    monkeypatch.setattr(Session, "_open_model", lambda session: (release.wait(300), open_model(session))[1])
    rig.node.stopping.set()
    assert rig.node.trigger_configure().name == "FAILURE"
    assert rig.node.failure == "stopped while the model was being opened"
    release.set()
