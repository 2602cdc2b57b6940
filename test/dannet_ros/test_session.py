"""Frames judged by their stamps, and what the session tells about them, over real DDS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

from builtin_interfaces.msg import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Float32, Float32MultiArray, Header

from dannet_core.class_set import CITYSCAPES
from dannet_core.inference.camera_image import CameraImage
from dannet_ros.conversions import to_image, to_rgb
from dannet_ros.diagnostics import NOTHING_COUNTED, findings, values
from dannet_ros.frame_statistics import STAGES
from dannet_ros.legend import legend
from dannet_ros.publishers import LATCHED_QOS

pytestmark = pytest.mark.ros


def header_ms(milliseconds: int) -> Any:
    return Header(stamp=Time(sec=milliseconds // 1000, nanosec=milliseconds % 1000 * 1_000_000))


def stamps_ms(messages: list[Any]) -> list[int]:
    return [m.header.stamp.sec * 1000 + m.header.stamp.nanosec // 1_000_000 for m in messages]


def send(rig: Any, picture: np.ndarray, *stamps: int) -> None:
    """One frame after the other, each waited for."""
    for stamp in stamps:
        rig.node._on_image(to_image(picture, "rgb8", header_ms(stamp)))
        rig.until(rig.settled)


def found(rig: Any, text: str) -> bool:
    """True when a finding says so; a slow machine may add one about silence."""
    return any(text in finding.text for finding in findings(rig.node._health(), NOTHING_COUNTED))


def set_node_clock(rig: Any) -> list[int]:
    """Milliseconds that stand until the test changes them, for the session of this configure."""
    clock_ms = [0]
    rig.node._session._pipeline._now_ns = lambda: clock_ms[0] * 1_000_000
    return clock_ms


def test_frame_too_old_on_arrival_never_reaches_the_worker(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(max_age_ms=100.0)
    rig.listen("label")
    set_node_clock(rig)[0] = 5000
    send(rig, night, 4899, 4901)
    assert rig.node._session.mailbox.received == 1
    rig.until(lambda: stamps_ms(rig.came["label"]) == [4901])
    assert {k: v for k, v in rig.node.counts.items() if v} == {"received": 2, "stale": 1, "processed": 1}


def test_frame_too_old_once_labelled_is_not_published(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(max_age_ms=100.0)
    rig.listen("label")
    clock_ms = set_node_clock(rig)
    worker, takes_ms = rig.node._session.worker, [150]
    label = worker._label

    def slow_label(segmenter: Any, *frame: Any) -> None:
        collect = type(segmenter).collect

        def slow() -> Any:
            clock_ms[0] += takes_ms[0]
            return collect(segmenter)

        segmenter.collect = slow
        label(segmenter, *frame)

    worker._label = slow_label
    clock_ms[0] = 1000
    send(rig, night, 1000)
    assert rig.node.counts["late"] == 1
    assert "infer" in rig.node._session.statistics.spreads(), "it shows which stage made it late"
    takes_ms[0] = 50
    clock_ms[0] = 2000
    send(rig, night, 2000)
    rig.until(lambda: stamps_ms(rig.came["label"]) == [2000])
    assert rig.node.counts["processed"] == 1


def test_late_frames_are_dropped_and_a_bag_that_starts_over_is_not(
    make_rig: Callable[..., Any], night: np.ndarray
) -> None:
    rig = make_rig()
    rig.listen("label")
    send(rig, night, 9000, 9033, 9010, 9066, 1000, 1033)
    rig.until(lambda: len(rig.came["label"]) == 5)
    assert stamps_ms(rig.came["label"]) == [9000, 9033, 9066, 1000, 1033]
    assert rig.node.counts["out_of_order"] == 1
    assert rig.node.counts["received"] == 6
    health = rig.node._health()
    assert health.time_jumps == 1
    texts = [finding.text for finding in findings(health, NOTHING_COUNTED)]
    assert any("1 frame(s) out of order" in text for text in texts)
    assert any("time jumped back" in text for text in texts)


def test_simulated_clock_rules_ages_and_may_jump_back(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(use_sim_time=True, max_age_ms=500.0)
    rig.listen("label")
    assert rig.node._health().clock_stands
    clock = rig.other.create_publisher(Clock, "/clock", 1)

    def set_clock(seconds: int) -> None:
        def is_set() -> bool:
            clock.publish(Clock(clock=Time(sec=seconds)))
            return bool(rig.node.get_clock().now().nanoseconds == seconds * 10**9)

        rig.until(is_set)

    set_clock(100)
    assert not rig.node._health().clock_stands
    send(rig, night, 99_000, 99_900)
    assert rig.node.counts["stale"] == 1
    set_clock(10)
    assert rig.node._health().time_jumps == 1
    send(rig, night, 9_900, 10_000)
    rig.until(lambda: stamps_ms(rig.came["label"]) == [99_900, 9_900, 10_000])


def test_latencies_are_published_by_stage_and_in_sum(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig()
    rig.listen("label")
    totals: list[Any] = []
    stages: list[Any] = []
    rig.other.create_subscription(Float32, "night_seg/latency_ms", totals.append, 10)
    rig.other.create_subscription(Float32MultiArray, "night_seg/stage_latency_ms", stages.append, 10)
    latency = rig.node._session.publishers
    rig.until(lambda: latency._latency.get_subscription_count() and latency._stages.get_subscription_count())
    set_node_clock(rig)[0] = 1250
    send(rig, night, 1000)
    rig.until(lambda: totals and stages)
    assert stages[0].layout.dim[0].label.split(",") == list(STAGES)
    by_stage = dict(zip(STAGES, stages[0].data, strict=True))
    assert by_stage["total"] == pytest.approx(totals[0].data)
    parts = sum(by_stage[s] for s in ("wait", "convert", "preprocess", "infer", "postprocess", "publish"))
    assert 0 < parts <= by_stage["total"] * 1.001
    assert by_stage["receive"] == by_stage["age"] == 250.0, "both from the stamp, by the node's clock"
    assert set(STAGES) == set(rig.node._session.statistics.spreads())


def test_figures_of_trust_are_reported(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig(stability=True, bright_above=100.0)
    rig.listen("label")
    send(rig, night, 1000, 1033)
    shown = values(rig.node._health())
    assert shown["labels changed %"] == "0.00"
    assert float(shown["picture mean 0..255"]) == pytest.approx(CameraImage.from_rgb(night).mean_intensity(), abs=0.06)
    send(rig, 255 - night, 1066)
    assert float(values(rig.node._health())["labels changed %"]) > 1
    assert found(rig, "the model is for night")


def test_model_file_taken_away_while_running_is_reported_and_survived(
    make_rig: Callable[..., Any], night: np.ndarray, tiny_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "own.onnx"
    path.write_bytes(tiny_model.read_bytes())
    rig = make_rig(model=str(path))
    rig.listen("label")
    send(rig, night, 1000)
    path.unlink()
    send(rig, night, 1033)
    rig.until(lambda: len(rig.came["label"]) == 2)
    assert found(rig, "the model file is gone")
    path.write_bytes(b"not a model")
    assert found(rig, "was replaced")
    for transition, result in (("deactivate", "SUCCESS"), ("cleanup", "SUCCESS"), ("configure", "FAILURE")):
        assert getattr(rig.node, f"trigger_{transition}")().name == result
    assert str(path) in rig.node.failure
    path.write_bytes(tiny_model.read_bytes())
    assert rig.node.autostart()


def test_legend_is_latched_for_late_viewers(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    rig.spin(0.1)
    came: list[Any] = []
    rig.other.create_subscription(Image, "night_seg/legend", came.append, LATCHED_QOS)
    rig.until(lambda: came)
    np.testing.assert_array_equal(to_rgb(came[0]), legend(CITYSCAPES))
