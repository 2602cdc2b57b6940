"""The demo's arithmetic, and the demo itself with a tiny drive on real DDS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dannet_core.metadata import ModelMetadata

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples"))

import demo_summary  # noqa: E402 - found through the line above


def test_agreement_counts_right_and_wrong_pixels() -> None:
    truth = np.array([[0, 0, 1, 255], [1, 1, 2, 2]], dtype=np.uint8)
    labels = np.array([[0, 1, 1, 5], [1, 1, 2, 255]], dtype=np.uint8)
    agreement = demo_summary.Agreement()
    agreement.add(labels, truth)
    assert agreement.pixel_accuracy == pytest.approx(5 / 7)
    assert agreement.class_iou == pytest.approx({"road": 1 / 2, "sidewalk": 3 / 4, "building": 1 / 1})
    assert agreement.miou == pytest.approx(0.75)


def test_agreement_of_nothing_is_zero() -> None:
    assert demo_summary.Agreement().miou == 0.0
    assert demo_summary.Agreement().pixel_accuracy == 0.0


def test_class_shares_are_named_and_sorted() -> None:
    counts = np.zeros(256, dtype=np.int64)
    counts[[0, 10, 255]] = 1, 2, 1
    shares = demo_summary.class_shares(counts)
    assert list(shares.items()) == [("sky", 0.5), ("road", 0.25), ("unlabelled", 0.25)]


def test_percentiles_of_a_known_ramp() -> None:
    assert demo_summary.percentiles(np.arange(101)) == (50.0, 95.0, 99.0)


def test_stage_latencies_are_read_from_the_diagnostics() -> None:
    report = {"infer ms p50/p95/p99": "10.0 / 12.5 / 20.1", "age ms p50/p95/p99": "1e9 / 1e9 / 1e9", "state": "active"}
    assert demo_summary.stage_latencies(report) == {"infer": (10.0, 12.5, 20.1)}


@pytest.mark.parametrize(
    ("received", "words"),
    [
        ([], "no label was received for 3 frames"),
        ([1, 7], "1 labels carry a stamp that no frame had, e.g. 7"),
        ([1, 2, 2], "1 frames were labelled twice"),
        ([1, 3], None),
    ],
)
def test_only_labels_of_sent_frames_are_a_success(received: list[int], words: str | None) -> None:
    reason = demo_summary.why_it_failed([1, 2, 3], received)
    assert reason is None if words is None else words in str(reason)


def write_model(path: Path) -> Path:
    """A graph in the shape `export` writes: labels from the brightness of 8 x 8 blocks."""
    onnx = pytest.importorskip("onnx", reason="onnx builds the test model")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(3)
    weights = numpy_helper.from_array(rng.normal(0, 1, (19, 3, 1, 1)).astype(np.float32), "weights")
    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["pooled", "weights"], ["stride_logits"]),
        helper.make_node("Identity", ["image"], ["relit"]),
    ]
    picture = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 96, 160])
    logits = helper.make_tensor_value_info("stride_logits", TensorProto.FLOAT, [1, 19, 12, 20])
    relit = helper.make_tensor_value_info("relit", TensorProto.FLOAT, [1, 3, 96, 160])
    graph = helper.make_graph(nodes, "demo", [picture], [logits, relit], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    metadata = ModelMetadata(arch="lraspp", backbone="mobilenet_v3_large", source="untrained test graph")
    helper.set_model_props(model, metadata.to_strings())
    onnx.save(model, str(path))
    return path


def demo(folder: Path, *more: str) -> subprocess.Popen[str]:
    words = ["--out", str(folder / "out"), "--size", "96", "160", "--fps", "10", "--pictures", "2", *more]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "demo.py"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=folder,
    )


def children_of(folder: Path) -> list[str]:
    """Command lines of processes that work in the demo's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(str(folder).encode() in word for word in words):
            found.append(b" ".join(words).decode())
    return found


@pytest.mark.ros
@pytest.mark.slow
def test_demo_runs_from_drive_to_pictures(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="rclpy and a DDS carry the messages")
    model = write_model(tmp_path / "tiny.onnx")
    process = demo(tmp_path, "--model", str(model), "--seconds", "1.5")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    assert "NOT TRAINED" in output
    summary: dict[str, Any] = json.loads((tmp_path / "out" / "summary.json").read_text())
    frames = summary["frames"]
    assert frames["sent"] == 15
    assert 1 <= frames["labels_received"] <= 15
    assert frames["processed"] + frames["dropped"] + frames["lost"] == 15
    assert set(summary["latency_ms"]) >= {"infer", "total", "end to end"}
    assert sum(summary["class_shares"].values()) == pytest.approx(1.0)
    labels = sorted((tmp_path / "out" / "labels").glob("*.png"))
    assert len(labels) == frames["labels_received"]
    assert cv2.imread(str(labels[0]), cv2.IMREAD_UNCHANGED).shape == (96, 160)
    pictures = list((tmp_path / "out" / "overlays").glob("*.png"))
    assert 1 <= len(pictures) <= 2
    assert cv2.imread(str(pictures[0])).shape == (96, 320, 3)
    assert cv2.imread(str(tmp_path / "out" / "contact_sheet.png")) is not None
    assert cv2.VideoCapture(str(tmp_path / "out" / "demo.mp4")).read()[0]
    assert children_of(tmp_path / "out") == []


@pytest.mark.ros
@pytest.mark.slow
def test_a_video_of_ones_own_is_shown_instead(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="rclpy and a DDS carry the messages")
    model = write_model(tmp_path / "tiny.onnx")
    writer = cv2.VideoWriter(str(tmp_path / "own.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (168, 104))
    for index in range(60):
        writer.write(np.full((104, 168, 3), 4 * index, np.uint8))
    writer.release()
    process = demo(tmp_path, "--model", str(model), "--video", str(tmp_path / "own.avi"), "--seconds", "1")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    assert "own.avi: 10 frames of 168x104 at 10 Hz" in output
    summary: dict[str, Any] = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["frames"]["sent"] == 10
    assert summary["agreement"] is None
    frames = sorted((tmp_path / "out" / "drive" / "frames").glob("*.png"))
    # Every third of 30 a second.
    assert [round(float(cv2.imread(str(one)).mean()) / 12) for one in frames] == list(range(10))
    assert cv2.imread(str(next((tmp_path / "out" / "labels").glob("*.png"))), cv2.IMREAD_UNCHANGED).shape == (104, 168)


@pytest.mark.ros
@pytest.mark.slow
def test_interrupted_demo_takes_its_processes_with_it(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="rclpy and a DDS carry the messages")
    model = write_model(tmp_path / "tiny.onnx")
    process = demo(tmp_path, "--model", str(model), "--seconds", "6")
    deadline = time.monotonic() + 300
    while not any("play" in line.split() for line in children_of(tmp_path)) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "demo: interrupted"
    assert children_of(tmp_path) == []


def test_demo_names_a_missing_model(tmp_path: Path) -> None:
    process = demo(tmp_path, "--model", str(tmp_path / "none.onnx"))
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert len(errors.strip().splitlines()) == 1
    assert "none.onnx: no such model file" in errors


def test_demo_names_a_missing_video_and_one_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    for name, said in (("none.mp4", "no such video file"), ("text.mp4", "not a readable video")):
        process = demo(tmp_path, "--video", str(tmp_path / name))
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 2
        assert f"demo: {tmp_path / name}: {said}" in errors
