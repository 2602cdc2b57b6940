import dataclasses
import json
import re

import numpy as np
import pytest

from dannet_core.deploy.benchmark import Measurement, matmul_rate, medians, percentiles, seeded_pictures, with_rates
from dannet_core.deploy.benchmark_report import table, write_report
from dannet_core.metadata import ModelMetadata


def measurement(**changes) -> Measurement:
    known = Measurement(
        model="m.onnx",
        backend="onnxruntime",
        device="cpu",
        arch="refinenet",
        precision="fp32",
        input_size=(256, 512),
        camera_size=(1080, 1920),
        outputs=(),
        frames=10,
        latency_ms={"p50": 20.0, "p90": 30.0, "p99": 40.0, "min": 10.0, "max": 41.0},
        frames_per_s=48.765432,
        overlapped_frames_per_s=None,
        stages_ms={"preprocess": 1.0, "infer": 10.0, "postprocess": 2.0},
        memory_mib=100.0,
        memory_kind="process",
        flops=None,
        network_tflop_per_s=None,
        share_of_matmul=None,
        matmul_tflop_per_s=0.5,
        matmul_precision="fp32",
    )
    return dataclasses.replace(known, **changes)


def test_percentiles_are_values_that_occurred():
    assert percentiles([float(i) for i in range(100, 0, -1)]) == {
        "p50": 50.0,
        "p90": 90.0,
        "p99": 99.0,
        "min": 1.0,
        "max": 100.0,
    }
    assert percentiles([3.0, 1.0])["p99"] == 3.0


def test_stages_are_medians_in_the_order_they_ran():
    timings = [{"b": 1.0, "a": 5.0}, {"b": 3.0, "a": 5.0}, {"b": 9.0, "a": 8.0}]
    assert list(medians(timings).items()) == [("b", 3.0), ("a", 5.0)]


def test_pictures_are_dark_different_and_the_same_every_time():
    first, again = seeded_pictures((90, 160)), seeded_pictures((90, 160))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[0].shape == (90, 160, 3)
    assert not np.array_equal(first[0], first[1])
    assert 20 < np.mean(first) < 110


def test_the_share_of_the_matmul_rate_follows_from_flops_and_the_networks_own_time():
    pytest.importorskip("torch", reason="counting needs torch")
    metadata = ModelMetadata("refinenet", "resnet18", relighting_width=8)
    rated = with_rates(measurement(), metadata)
    assert rated.network_tflop_per_s == pytest.approx(rated.flops / 1e12 / 0.010)
    assert rated.share_of_matmul == pytest.approx(rated.network_tflop_per_s / 0.5)
    timed_by_device = with_rates(measurement(stages_ms={"infer": 10.0, "device_infer": 5.0}), metadata)
    assert timed_by_device.network_tflop_per_s == pytest.approx(2 * rated.network_tflop_per_s)


def test_the_wait_after_submit_is_not_taken_for_the_networks_time():
    pytest.importorskip("torch", reason="counting needs torch")
    metadata = ModelMetadata("refinenet", "resnet18", relighting_width=8)
    waited = with_rates(measurement(overlapped_frames_per_s=90.0), metadata)
    assert waited.flops > 0
    assert (waited.network_tflop_per_s, waited.share_of_matmul) == (None, None)
    timed = with_rates(
        measurement(overlapped_frames_per_s=90.0, stages_ms={"infer": 1.0, "device_infer": 5.0}), metadata
    )
    assert timed.network_tflop_per_s == pytest.approx(waited.flops / 1e12 / 0.005)


def test_this_machine_multiplies_matrices():
    rate, precision = matmul_rate("cpu")
    assert 1e-4 < rate < 100
    assert precision == "fp32"


def test_the_report_names_the_machine_every_model_and_what_did_not_run(tmp_path):
    path = write_report(tmp_path / "b.json", [measurement()], {"x.engine": "no GPU here"})
    record = json.loads(path.read_text())
    assert {"cpu", "cores", "gpu", "load_average_1_min"} <= set(record["machine"])
    assert record["measurements"][0]["frames_per_s"] == 48.77
    assert record["failures"] == {"x.engine": "no GPU here"}
    shown = (tmp_path / "b.md").read_text()
    assert shown.strip() == table([measurement()], {"x.engine": "no GPU here"})
    assert "| m.onnx | onnxruntime, cpu | fp32 | 512x256 | 20.00 | 30.00 | 40.00 | 48.8 | - | 100 (process) |" in shown
    assert "x.engine did not run: no GPU here" in shown
    page = (tmp_path / "b.html").read_text(encoding="utf-8").partition("<script>")[0]
    assert "<p>x.engine did not run: no GPU here</p>" in page
    assert "<td>48.8</td>" in page
    latency, stages = (json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page))
    one = measurement()
    assert {bar["name"]: bar["x"] for bar in latency["data"]} == {p: [one.latency_ms[p]] for p in ("p50", "p90", "p99")}
    host = {stage: [ms] for stage, ms in one.stages_ms.items() if not stage.startswith("device_")}
    assert {bar["name"]: bar["x"] for bar in stages["data"]} == host


def test_measurements_of_one_name_have_bars_of_their_own(tmp_path):
    write_report(tmp_path / "b.json", [measurement(), measurement()], {})
    page = (tmp_path / "b.html").read_text(encoding="utf-8").partition("<script>")[0]
    latency, _ = (json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page))
    assert len(set(latency["data"][0]["y"])) == 2


def test_without_the_packages_of_the_page_the_table_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("dannet_core.deploy.benchmark_report.page_missing", lambda: "plotly is needed")
    write_report(tmp_path / "b.json", [measurement()], {})
    assert sorted(one.name for one in tmp_path.iterdir()) == ["b.json", "b.md"]
