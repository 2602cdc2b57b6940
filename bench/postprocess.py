"""What follows the network, at camera size: compiled, our NumPy, and the plain ways, side by side in one run.

Run: python bench/postprocess.py [--camera-size 1080 1920] [--rounds 15] [--threads 2] [--out F.json]
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dannet_core.classes import CITYSCAPES_CLASS_SHARES, reweighting_vector
from dannet_core.inference.output_job import OutputJob, OutputMaker
from dannet_core.inference.outputs import NumpyOutputs, open_outputs
from dannet_core.inference.postprocess import class_scaling, require_finite, scale_logits

REPOSITORY = Path(__file__).resolve().parents[1]


def scene_logits(size: tuple[int, int], borders: str) -> np.ndarray:
    """19 x h x w float32: blobs of one class ("street") or a different class everywhere ("noise", the worst case)."""
    rng = np.random.default_rng(0)
    if borders == "noise":
        return rng.normal(0, 5, (19, *size)).astype(np.float32)
    import cv2

    coarse = rng.normal(0, 4, (9, 14, 19)).astype(np.float32)
    field = np.stack([cv2.resize(coarse[..., k], size[::-1], interpolation=cv2.INTER_CUBIC) for k in range(19)])
    return (field + rng.normal(0, 0.3, field.shape)).astype(np.float32)


@functools.cache  # the picture is not what is measured
def job(size: tuple[int, int], *wanted: str) -> OutputJob:
    scaling = class_scaling("logits", CITYSCAPES_CLASS_SHARES, 0.16)
    return OutputJob(scaling, np.zeros((*size, 3), np.uint8), wanted=frozenset(wanted))


def plain_numpy(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """K x H x W floats: weight, gather four corners, argmax."""
    weighted = logits * reweighting_vector(CITYSCAPES_CLASS_SHARES, 0.16)[:, None, None]
    for axis in (1, 2):
        samples, pixels = weighted.shape[axis], size[axis - 1]
        position = np.arange(pixels) * ((samples - 1) / (pixels - 1))
        low = np.minimum(position.astype(int), samples - 2)
        shape = [1, 1, 1]
        shape[axis] = pixels
        fraction = (position - low).astype(np.float32).reshape(shape)
        first = weighted.take(low, axis)
        weighted = first + (weighted.take(low + 1, axis) - first) * fraction
    return weighted.argmax(axis=0).astype(np.uint8)


def plain_torch(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """As the released loop does it: interpolate in torch, 19 x H x W to NumPy, argmax there."""
    import torch
    from torch.nn import functional

    weights = torch.from_numpy(reweighting_vector(CITYSCAPES_CLASS_SHARES, 0.16))[:, None, None]
    weighted = (torch.from_numpy(logits) * weights)[None]
    full = functional.interpolate(weighted, size, mode="bilinear", align_corners=True)[0].numpy()
    return np.asarray(np.argmax(full.transpose(1, 2, 0), axis=2), dtype=np.uint8)


def median_ms(work: Callable[[], Any], rounds: int) -> dict[str, float]:
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1e3)
    quartiles = statistics.quantiles(times, n=4)
    return {"median_ms": round(statistics.median(times), 2), "iqr_ms": round(quartiles[2] - quartiles[0], 2)}


def peak_mb(work: Callable[[], Any]) -> float:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(peak / 1e6, 1)


def machine() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {"cpu": model, "python": platform.python_version(), "numpy": np.__version__, "commit": commit.stdout.strip()}


def ways(makers: dict[str, OutputMaker]) -> dict[str, Callable[[np.ndarray, tuple[int, int]], np.ndarray]]:
    """Logits and camera size to labels."""
    ours = {name: lambda logits, size, m=m: m.make(logits, job(size)).labels for name, m in makers.items()}
    plain = {"plain_numpy": plain_numpy}
    try:
        import torch  # noqa: F401 - only whether it is there

        plain["plain_torch"] = plain_torch
    except ImportError:
        print("torch is not installed: the released loop's way is left out")
    return ours | plain


def measure(
    case: str, stride_size: tuple[int, int], size: tuple[int, int], rounds: int, makers: dict[str, OutputMaker]
) -> dict[str, Any]:
    logits = scene_logits(stride_size, case)
    result: dict[str, Any] = {"case": case, "stride_size": stride_size, "camera_size": size, "labels": {}}
    best = next(iter(makers))
    reference = makers["numpy"].make(logits, job(size)).labels
    for name, way in ways(makers).items():
        row = median_ms(lambda way=way: way(logits, size), rounds)
        row["peak_mb"] = peak_mb(lambda way=way: way(logits, size))
        row["equal_to_numpy"] = float((way(logits, size) == reference).mean())
        result["labels"][name] = row
    for row in result["labels"].values():
        row["times_the_first"] = round(row["median_ms"] / result["labels"][best]["median_ms"], 1)
    for wanted in (
        ("confidence_bytes",),
        ("confidence",),
        ("color", "overlay"),
        ("confidence_bytes", "color", "overlay"),
    ):
        row = {}
        for name, maker in makers.items():
            row[name] = median_ms(lambda m=maker, w=wanted: m.make(logits, job(size, *w)), max(5, rounds // 2))
            row[name]["more_than_labels_ms"] = round(row[name]["median_ms"] - result["labels"][name]["median_ms"], 2)
        result["labels_and_" + "_and_".join(wanted)] = row
    scores = scale_logits(logits, job(size).scaling)
    result["finite_check_numpy"] = median_ms(lambda: require_finite(scores, "scores"), 10 * rounds)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--camera-size", nargs=2, type=int, default=(1080, 1920), metavar=("H", "W"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2, help="of the compiled way")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    size = (arguments.camera_size[0], arguments.camera_size[1])
    fast = open_outputs(arguments.threads)
    makers: dict[str, OutputMaker] = {fast.name: fast, "numpy": NumpyOutputs()}
    cases = [("street", (68, 120)), ("street", (135, 240)), ("noise", (68, 120))]
    results = [measure(case, stride_size, size, arguments.rounds, makers) for case, stride_size in cases]
    for result in results:
        title = f"{result['case']:>7} {result['stride_size']}"
        for name, row in result["labels"].items():
            print(f"{title} labels {name:>12}: {row}")
        for wanted in (key for key in result if key.startswith("labels_and_")):
            for name, row in result[wanted].items():
                print(f"{title} {wanted} {name:>12}: {row}")
    fast.close()
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(
            json.dumps({"machine": machine() | {"threads": arguments.threads}, "results": results}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
