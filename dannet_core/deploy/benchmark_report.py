"""Measurements as JSON, as a Markdown table and as a page, with the machine they were made on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import dannet_core
from dannet_core.atomic_files import write_whole
from dannet_core.deploy.benchmark import Measurement, as_json
from dannet_core.inference.gpu import find_gpu
from dannet_core.report.charts import bars
from dannet_core.report.page import figure_div, page_missing, render_page, write_page

COLUMNS: Final = ("model", "backend", "precision", "network", "p50 ms", "p90 ms", "p99 ms", "frames/s", "overlapped")
MORE_COLUMNS: Final = ("memory MiB", "TFLOP/s", "% of matmul")


def machine() -> dict[str, Any]:
    """CPU, cores, load, GPU and versions: what a figure depends on besides the code."""
    gpu = find_gpu()
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "load_average_1_min": round(os.getloadavg()[0], 1),
        "gpu": None if gpu is None else f"{gpu.name}, compute capability {gpu.compute_capability}",
        "python": platform.python_version(),
        "dannet_ros": dannet_core.__version__,
    }


def write_report(path: Path, measurements: Sequence[Measurement], failures: dict[str, str]) -> Path:
    """Write ``path`` (JSON) and beside it the table (``.md``) and, where its packages are there, the page (``.html``).

    Args:
        path: ends in ``.json``.
        measurements: of all models that ran.
        failures: reason by model of those that did not.

    Raises:
        OutputError: the folder cannot be written to.
    """
    record = {"machine": machine(), "measurements": [as_json(one) for one in measurements], "failures": failures}
    write_whole(path.with_suffix(".md"), (table(measurements, failures) + "\n").encode())
    if not page_missing():
        write_page(path.with_suffix(".html"), render(path.stem, record, measurements))
    return write_whole(path, (json.dumps(record, indent=1) + "\n").encode())


def render(name: str, record: Mapping[str, Any], measurements: Sequence[Measurement]) -> str:
    """The page: the table, latencies and stages as bars.

    Args:
        name: what heads it.
        record: what the JSON file holds.
        measurements: of all models that ran.

    Raises:
        MissingPackageError: Jinja2 or Plotly is not installed.
    """
    names, height = _names(measurements), 110 + 62 * len(measurements)
    latency = {point: [one.latency_ms[point] for one in measurements] for point in ("p50", "p90", "p99")}
    stages = list(dict.fromkeys(stage for one in measurements for stage in one.stages_ms))
    by_stage = {stage: [one.stages_ms.get(stage) for one in measurements] for stage in stages}
    host = {stage: times for stage, times in by_stage.items() if not stage.startswith("device_")}
    camera = ", ".join(dict.fromkeys(f"{one.camera_size[1]}x{one.camera_size[0]}" for one in measurements))
    drawn = bool(measurements)
    return render_page(
        "benchmark.html.j2",
        title=f"{name}: benchmark",
        heading=name,
        subheading=f"{len(measurements)} measurements, pictures of {camera or 'no size'}",
        warnings=[f"{model} did not run: {reason}" for model, reason in record["failures"].items()],
        footer=f"dannet_ros {dannet_core.__version__}; every figure is also in {name}.json.",
        note="From call to labels in host memory, one frame after the other, in milliseconds.",
        heads=[*COLUMNS, *MORE_COLUMNS],
        rows=[_cells(one) for one in measurements],
        latency=figure_div(bars(names, latency, "ms", stacked=False), "Latency by model", height) if drawn else None,
        stages=figure_div(bars(names, host, "ms", stacked=True), "Stages by model", height) if drawn else None,
        notes=[_stages(one) for one in measurements],
        machine=list(record["machine"].items()),
    )


def _names(measurements: Sequence[Measurement]) -> list[str]:
    """Names that are all different, so that no bar lies on another."""
    names = [f"{one.model}, {one.backend}" for one in measurements]
    return [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names, 1)]


def table(measurements: Sequence[Measurement], failures: dict[str, str]) -> str:
    """A Markdown table, the stages below it, and what did not run."""
    lines = [_row((*COLUMNS, *MORE_COLUMNS)), _row(["---"] * (len(COLUMNS) + len(MORE_COLUMNS)))]
    lines += [_row(_cells(one)) for one in measurements]
    for one in measurements:
        lines += ["", _stages(one)]
    lines += [line for model, reason in failures.items() for line in ("", f"{model} did not run: {reason}")]
    return "\n".join(lines)


def _stages(one: Measurement) -> str:
    stages = ", ".join(f"{name} {value:.2f}" for name, value in one.stages_ms.items())
    note = f"; {one.note}" if one.note else ""
    return f"{one.model} on {one.backend} ({one.device}), median ms: {stages}{note}"


def _cells(one: Measurement) -> list[str]:
    latency = one.latency_ms
    return [
        one.model,
        f"{one.backend}, {one.device}",
        one.precision,
        f"{one.input_size[1]}x{one.input_size[0]}",
        *(f"{latency[name]:.2f}" for name in ("p50", "p90", "p99")),
        f"{one.frames_per_s:.1f}",
        _or_dash(one.overlapped_frames_per_s, ".1f"),
        f"{one.memory_mib:.0f} ({one.memory_kind})",
        _or_dash(one.network_tflop_per_s, ".3g"),
        _or_dash(None if one.share_of_matmul is None else one.share_of_matmul * 100, ".0f"),
    ]


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
