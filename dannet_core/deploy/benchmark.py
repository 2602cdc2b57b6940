"""How fast a model runs, measured frame by frame through the same door that everybody uses."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from dannet_core.errors import DannetError, MissingPackageError
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.metadata import ModelMetadata
from dannet_core.pixels import Rgb

PERCENTILES: Final = (50, 90, 99)
MATMUL_SIDE: Final = {"cpu": 2048, "cuda": 8192}
MATMUL_SECONDS: Final = 0.5
PICTURES: Final = 8
"""Different pictures in turn, so that nothing is measured from a cache."""


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is measured.

    Attributes:
        camera_size: (height, width) of the pictures.
        frames: timed ones.
        warm_up: frames before them.
        outputs: asked for beside the labels.
    """

    camera_size: tuple[int, int] = (1080, 1920)
    frames: int = 100
    warm_up: int = 10
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """What was measured of one model on one backend.

    Attributes:
        model: the file.
        backend: its name.
        device: where it ran.
        arch: of the network.
        precision: what it computes in.
        input_size: (height, width) of the network.
        camera_size: (height, width) of the pictures.
        outputs: made beside the labels.
        frames: timed.
        latency_ms: ``p50``, ``p90``, ``p99``, ``min`` and ``max`` of a picture from call to labels in host memory.
        frames_per_s: one picture after the other.
        overlapped_frames_per_s: with the next one submitted before this one is collected; None on the CPU.
        stages_ms: median of every stage; ``device_`` in front where a GPU timed it itself, without graphs.
        memory_mib: what ``memory_kind`` says, after the last frame.
        memory_kind: ``gpu`` or ``process`` (resident set).
        flops: floating point operations of the network for one frame; None where torch is not there to count.
        network_tflop_per_s: from them and the network's own time: the stage ``device_infer`` where the network's
            device timed itself, ``infer`` where frames do not overlap; None where they do and nothing timed the
            network, because ``infer`` is then what was left to wait for.
        share_of_matmul: of ``matmul_tflop_per_s``, measured in the same run.
        matmul_tflop_per_s: of a large matrix product in ``matmul_precision``.
        matmul_precision: ``fp16`` on CUDA, ``fp32`` on the CPU.
        note: what a reader should know, e.g. why no graph was used.
    """

    model: str
    backend: str
    device: str
    arch: str
    precision: str
    input_size: tuple[int, int]
    camera_size: tuple[int, int]
    outputs: tuple[str, ...]
    frames: int
    latency_ms: dict[str, float]
    frames_per_s: float
    overlapped_frames_per_s: float | None
    stages_ms: dict[str, float]
    memory_mib: float
    memory_kind: str
    flops: int | None
    network_tflop_per_s: float | None
    share_of_matmul: float | None
    matmul_tflop_per_s: float | None
    matmul_precision: str
    note: str = ""


def measure(
    segmenter: NightSegmenter, model: Path, options: BenchmarkOptions, on_frame: Callable[[], Any]
) -> Measurement:
    """Measure an opened model.

    Args:
        segmenter: as it will run.
        model: its file, for the record.
        options: see there.
        on_frame: called after every frame, e.g. to show progress.

    Raises:
        BackendError: the network failed to run.
    """
    pictures = seeded_pictures(options.camera_size)
    _run(segmenter, pictures, options.warm_up, options, on_frame)
    start_s = time.perf_counter()
    latencies, timings = _run(segmenter, pictures, options.frames, options, on_frame)
    seconds = time.perf_counter() - start_s
    overlapped = _overlapped(segmenter, pictures, options, on_frame) if segmenter.on_device else None
    stages = medians(timings) | _device_stages(segmenter, pictures, options, on_frame)
    memory_mib, memory_kind = _memory(segmenter)
    input_size = segmenter.input_size(options.camera_size)
    kind = "cuda" if segmenter.device.startswith("cuda") else "cpu"
    matmul, precision = matmul_rate(kind)
    return Measurement(
        model=model.name,
        backend=segmenter.backend_name,
        device=segmenter.device,
        arch=segmenter.metadata.arch,
        precision=segmenter.precision,
        input_size=input_size,
        camera_size=options.camera_size,
        outputs=options.outputs,
        frames=options.frames,
        latency_ms=percentiles(latencies),
        frames_per_s=options.frames / seconds,
        overlapped_frames_per_s=overlapped,
        stages_ms=stages,
        memory_mib=memory_mib,
        memory_kind=memory_kind,
        flops=None,
        network_tflop_per_s=None,
        share_of_matmul=None,
        matmul_tflop_per_s=matmul,
        matmul_precision=precision,
        note=segmenter.graph_state(),
    )


def with_rates(measurement: Measurement, metadata: ModelMetadata) -> Measurement:
    """Fill in ``flops`` and what follows from them; last of all, because counting brings torch into the process.

    Args:
        measurement: by `measure`.
        metadata: of the same model.
    """
    flops = _flops(metadata, measurement.input_size)
    if flops is None:
        return measurement
    network_ms = _network_ms(measurement)
    if network_ms is None:
        return dataclasses.replace(measurement, flops=flops)
    rate, ceiling = flops / 1e12 / (network_ms / 1e3), measurement.matmul_tflop_per_s
    share = None if ceiling is None else rate / ceiling
    return dataclasses.replace(measurement, flops=flops, network_tflop_per_s=rate, share_of_matmul=share)


def as_json(measurement: Measurement) -> dict[str, Any]:
    """The record with its numbers rounded to what was measured."""
    return {name: _rounded(value) for name, value in dataclasses.asdict(measurement).items()}


def percentiles(latencies_ms: Sequence[float]) -> dict[str, float]:
    """``p50``, ``p90``, ``p99`` (the smallest value that so many percent do not exceed), ``min`` and ``max``."""
    ordered = sorted(latencies_ms)
    ranks = {f"p{p}": ordered[max(0, math.ceil(p / 100 * len(ordered)) - 1)] for p in PERCENTILES}
    return {**ranks, "min": ordered[0], "max": ordered[-1]}


def medians(timings: Sequence[dict[str, float]]) -> dict[str, float]:
    """Median of every stage, in the order they ran."""
    return {stage: float(np.median([timing[stage] for timing in timings])) for stage in timings[0]}


def seeded_pictures(size: tuple[int, int]) -> list[Rgb]:
    """Dark pictures with coloured patches, different ones, the same every time."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 120, (PICTURES, 9, 16, 3), dtype=np.uint8)
    return [np.asarray(cv2.resize(one, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8) for one in small]


def matmul_rate(kind: str) -> tuple[float | None, str]:
    """TFLOP/s of a large square matrix product, and in which precision.

    Args:
        kind: ``cuda``: half precision, through torch, None without it; ``cpu``: single precision, through NumPy.
    """
    side = MATMUL_SIDE[kind]
    if kind == "cuda":
        try:
            import torch
        except ImportError:
            return None, "fp16"
        if not torch.cuda.is_available():
            return None, "fp16"
        a, b = (torch.randn(side, side, device="cuda", dtype=torch.float16) for _ in range(2))
        return _rate(lambda: torch.matmul(a, b), side, torch.cuda.synchronize), "fp16"
    rng = np.random.default_rng(0)
    first, second = (rng.normal(0, 1, (side, side)).astype(np.float32) for _ in range(2))
    return _rate(lambda: first @ second, side, lambda: None), "fp32"


def _rate(product: Callable[[], Any], side: int, synchronize: Callable[[], Any]) -> float:
    """Best of several runs: the ceiling is what the machine can do, not what it did on average."""
    best_s, start_s = math.inf, time.perf_counter()
    product()
    while time.perf_counter() - start_s < MATMUL_SECONDS or best_s is math.inf:
        synchronize()
        begun_s = time.perf_counter()
        product()
        synchronize()
        best_s = min(best_s, time.perf_counter() - begun_s)
    return 2 * side**3 / best_s / 1e12


def _run(
    segmenter: NightSegmenter, pictures: list[Rgb], count: int, options: BenchmarkOptions, on_frame: Callable[[], Any]
) -> tuple[list[float], list[dict[str, float]]]:
    latencies, timings = [], []
    for index in range(count):
        start_s = time.perf_counter()
        prediction = segmenter.segment(pictures[index % PICTURES], with_relit=False, outputs=options.outputs)
        latencies.append((time.perf_counter() - start_s) * 1e3)
        timings.append(prediction.timings_ms)
        # A prediction that lives on makes a device keep its frame's data.
        del prediction
        on_frame()
    return latencies, timings


def _overlapped(
    segmenter: NightSegmenter, pictures: list[Rgb], options: BenchmarkOptions, on_frame: Callable[[], Any]
) -> float:
    """Frames per second with the next frame submitted before this one is collected."""

    def submit(index: int) -> None:
        segmenter.submit(pictures[index % PICTURES], with_relit=False, outputs=options.outputs)

    submit(0)
    for warm_up in (True, False):
        start_s = time.perf_counter()
        for index in range(options.warm_up if warm_up else options.frames):
            submit(index)
            segmenter.collect()
            on_frame()
    seconds = time.perf_counter() - start_s
    segmenter.collect()
    return options.frames / seconds


def _device_stages(
    segmenter: NightSegmenter, pictures: list[Rgb], options: BenchmarkOptions, on_frame: Callable[[], Any]
) -> dict[str, float]:
    if not segmenter.set_profiling(True):
        return {}
    try:
        _, timings = _run(segmenter, pictures, options.frames, options, on_frame)
    finally:
        segmenter.set_profiling(False)
    return {stage: value for stage, value in medians(timings).items() if stage.startswith("device_")}


def _memory(segmenter: NightSegmenter) -> tuple[float, str]:
    on_gpu = segmenter.memory_mib()
    if on_gpu is not None:
        return on_gpu, "gpu"
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20), "process"


def _network_ms(measurement: Measurement) -> float | None:
    """Time of the network alone; None where only the wait after ``submit`` is known."""
    stages, overlaps = measurement.stages_ms, measurement.overlapped_frames_per_s is not None
    return stages.get("device_infer", None if overlaps else stages["infer"])


def _flops(metadata: ModelMetadata, input_size: tuple[int, int]) -> int | None:
    """Counted on the network's shapes; a graph that is not what its metadata says is not noticed."""
    try:
        from dannet_core.networks.flops import count_flops

        return count_flops(metadata, input_size)
    except (ImportError, MissingPackageError, DannetError):
        return None


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return value
