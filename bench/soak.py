"""The node at camera rate for a long time: does memory or latency drift, is a frame ever unaccounted for?

    python bench/soak.py [--seconds 3600] [--model M] [--outputs label,overlay] [--out bench/results/soak.json]

Camera, node and subscriber are three processes with the shipped Fast DDS profile. Two things tell a node that grows
slow from a machine that does: a piece of work of always the same size is timed beside every sample, and a new node runs
for two minutes right after the old one. Ctrl-C and SIGTERM keep what was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from node_rate import LAUNCHED, fast_model, node_arguments, wait_until_active
from processes import ROOT, Process, machine

WARM_UP_SHARE = 0.1
"""Share of the samples that is left out of the drift: allocators and latency windows fill first."""
NEW_NODE_S = 120.0
LAYERS = [np.full((1080, 1920, 3), value, np.uint8) for value in (40, 80, 0)]


def machine_ms() -> float:
    """Median time of blending two 1080p pictures, here and now: what an overlay takes."""
    times = []
    for _ in range(9):
        start = time.perf_counter()
        cv2.addWeighted(LAYERS[0], 0.5, LAYERS[1], 0.5, 0.0, dst=LAYERS[2])
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


def sample(node: Process, live: Path, start: float) -> dict[str, Any]:
    """One look at the node: memory, threads, open files, counters and latencies so far; and at the machine's speed."""
    values = json.loads(live.read_text())["values"]
    folder = Path(f"/proc/{node.pid}")
    p50, p95, p99 = (float(part) for part in values.get("total ms p50/p95/p99", "nan/nan/nan").split("/"))
    return {
        "second": round(time.monotonic() - start, 1),
        "rss_mb": round(node.rss_mb(), 2),
        "cpu_s": round(node.cpu_s(), 2),
        "threads": len(list((folder / "task").iterdir())),
        "files": len(list((folder / "fd").iterdir())),
        "total_ms": {"p50": p50, "p95": p95, "p99": p99},
        "machine_ms": round(machine_ms(), 2),
        **{key: int(values[key]) for key in ("received", "processed", "replaced", "failed", "lost before arrival")},
    }


def watch(node: Process, source: Process, live: Path, seconds: float) -> list[dict[str, Any]]:
    """Samples at regular times, at most 360, until the time is over, however slow the camera is."""
    samples, start = [], time.monotonic()
    period_s = max(1.0, seconds / 360)
    try:
        while source.running() and node.running() and time.monotonic() - start < seconds + 5:
            time.sleep(period_s)
            samples.append(sample(node, live, start))
            now = samples[-1]
            text = f"\r{now['second']:7.0f} s  {now['rss_mb']:.1f} MB  p50 {now['total_ms']['p50']:.1f} ms"
            print(text, end="", flush=True)
    except KeyboardInterrupt:
        print("\nstopped")
    print()
    return samples


def drift(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """First against last fifth of what lies behind the warm-up."""
    settled = samples[int(len(samples) * WARM_UP_SHARE) :]
    fifth = max(1, len(settled) // 5)
    first, last = settled[:fifth], settled[-fifth:]

    def change(read: Any) -> dict[str, float]:
        before, after = (float(np.nanmedian([read(s) for s in part])) for part in (first, last))
        return {"first": round(before, 2), "last": round(after, 2), "percent": round((after / before - 1) * 100, 2)}

    return {
        "rss_mb": change(lambda s: s["rss_mb"]),
        "total_p50_ms": change(lambda s: s["total_ms"]["p50"]),
        "total_p99_ms": change(lambda s: s["total_ms"]["p99"]),
        "machine_ms": change(lambda s: s["machine_ms"]),
        "threads": [samples[0]["threads"], samples[-1]["threads"]],
        "files": [samples[0]["files"], samples[-1]["files"]],
        "rss_mb_per_hour": round(_slope_per_s(settled) * 3600, 2),
    }


def _slope_per_s(samples: list[dict[str, Any]]) -> float:
    seconds, rss = [s["second"] for s in samples], [s["rss_mb"] for s in samples]
    return float(np.polyfit(seconds, rss, 1)[0]) if len(samples) > 1 else float("nan")


def drive(arguments: argparse.Namespace, model: Path, folder: Path, seconds: float) -> dict[str, Any]:
    """A new node for ``seconds``: its samples, its counters at the end, its exit code."""
    script = [sys.executable, str(ROOT / "bench" / "node_rate.py")]
    folder.mkdir()
    live = folder / "watch.live"
    outputs = ["--role", "watch", "--outputs", arguments.outputs, "--out", str(folder / "watch")]
    children = [Process([*script, *outputs], folder / "w")]
    try:
        command = [sys.executable, "-m", "dannet_ros.node", *node_arguments(arguments, model)]
        node = Process(command, folder / "n", **LAUNCHED)
        children.append(node)
        wait_until_active(live, node, folder / "n")
        camera = ["--role", "camera", "--rate", str(arguments.rate), "--seconds", str(seconds)]
        camera += ["--image", str(arguments.image)] if arguments.image else []
        source = Process([*script, *camera, "--out", str(folder / "camera")], folder / "c")
        children.append(source)
        samples = watch(node, source, live, seconds)
        if not node.running():
            raise SystemExit(f"soak: the node died: {(folder / 'n').read_text()[-800:]}")
        time.sleep(2.5)
        return {"samples": samples, "last": sample(node, live, time.monotonic()), "code": node.finish()}
    finally:
        for child in children:
            child.kill()


def new_node(samples: list[dict[str, Any]]) -> dict[str, float]:
    """Medians of a short run, its first fifth left out."""
    settled = samples[len(samples) // 5 :]
    medians = {p: float(np.median([s["total_ms"][p] for s in settled])) for p in ("p50", "p99")}
    return {**medians, "machine_ms": float(np.median([s["machine_ms"] for s in settled]))}


def run(arguments: argparse.Namespace, model: Path, folder: Path) -> dict[str, Any]:
    driven = drive(arguments, model, folder / "soak", arguments.seconds)
    samples, last = driven["samples"], driven["last"]
    afterwards = None
    if samples[-1]["second"] >= arguments.seconds:
        try:
            seconds = min(NEW_NODE_S, arguments.seconds)
            again = drive(arguments, model, folder / "new", seconds)["samples"]
            afterwards = new_node(again) if again and again[-1]["second"] >= seconds else None
        except KeyboardInterrupt:
            print("\nstopped")
    elapsed = samples[-1]["second"] - samples[0]["second"]
    return {
        "seconds": round(samples[-1]["second"]),
        "drift": drift(samples),
        "new_node_afterwards_ms": afterwards,
        "counts": {k: last[k] for k in ("received", "processed", "replaced", "failed", "lost before arrival")},
        "cpu_percent_of_one_core": round((samples[-1]["cpu_s"] - samples[0]["cpu_s"]) / max(elapsed, 1) * 100, 1),
        "node_exit_code": driven["code"],
        "samples": samples[:: max(1, len(samples) // 60)],
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--rate", type=float, default=30.0, help="frames per second")
    parser.add_argument("--image", type=Path, help="picture the camera sends; default: a seeded 1920x1080 gradient")
    parser.add_argument("--model", type=Path, help="model file; default: a trivially fast graph")
    parser.add_argument("--outputs", default="label", help="comma-separated")
    parser.add_argument("--param", action="append", default=[], help="NAME:=VALUE for the node; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("soak.json"))
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    # A shell's background jobs ignore SIGINT, and a time limit sends SIGTERM: both keep what was measured.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("ROS_DOMAIN_ID", str(101 + os.getpid() % 100))
    os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(ROOT / "config" / "fastdds.xml")
    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or fast_model(Path(folder) / "fast.onnx", 270, 480)
        result = run(arguments, model, Path(folder))
    settings = {"rate": arguments.rate, "outputs": arguments.outputs, "params": arguments.param}
    settings |= {"model": arguments.model.name if arguments.model else "fast graph (270, 480)"}
    facts["load_average_at_end"] = round(os.getloadavg()[0], 2)
    report = {"machine": facts, "settings": settings, **result}
    print(json.dumps({key: value for key, value in report.items() if key != "samples"}, indent=1))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
