"""From `.onnx` to `.engine`: kept with what it was built from and for, built again when any of that changed."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dannet_core.atomic_files import remove_leftovers
from dannet_core.deploy.build_progress import BuildProgress, PhaseTree
from dannet_core.deploy.finite_graph import require_finite_graph
from dannet_core.deploy.plan import OnnxGraph, Plan, PlanOptions, build_plan, read_graph
from dannet_core.errors import BackendError, ModelFileError, OutputError, SettingsError
from dannet_core.file_lock import locked
from dannet_core.inference.engine_file import Difference, EngineInfo, read_engine_info, read_plan, write_engine
from dannet_core.inference.tensorrt_flavour import Flavour, choose_flavour_to_build, import_flavour

ON_MISMATCH: Final = ("rebuild", "refuse")
SUFFIX: Final = ".engine"
KEY_FIELDS: Final = (
    "flavour",
    "flavour_version",
    "gpu",
    "compute_capability",
    "targets",
    "workspace_mib",
    "precision",
    "onnx_sha256",
)
"""An engine is used again only where all of these are what they would be if it were built now."""
TRYING: Final = "trying the graph on dark and bright pictures"
WAITING: Final = "waiting for another process that builds this engine"
_POLL_S: Final = 0.1
_KEY_DIGITS: Final = 16

OnProgress = Callable[[BuildProgress], None]


@dataclass(frozen=True)
class BuildOptions:
    """How to build.

    Attributes:
        flavour: ``tensorrt``, ``tensorrt_rtx``, or ``auto``: TensorRT where it is installed and a GPU is at hand.
        workspace_mib: memory in MiB that layers may use besides weights and activations; 0 = all there is.
        targets: compute capabilities such as ``8.6`` for TensorRT for RTX to build for; none = its own from 8.0 on.
        timing_cache: file that keeps TensorRT's timings from build to build; None = one beside the engine.
        on_mismatch: what to do with an engine of that name that does not fit: ``rebuild`` or ``refuse``.
        frames: 1 x 3 x H x W float32 to try the graph on, besides a black, a dark and a white picture; with some, it is
            tried even where the engine is there.
    """

    flavour: str = "auto"
    workspace_mib: int = 0
    targets: tuple[str, ...] = ()
    timing_cache: Path | None = None
    on_mismatch: str = "rebuild"
    frames: tuple[npt.NDArray[np.float32], ...] = ()


class BuiltEngine(NamedTuple):
    """An engine that fits.

    Attributes:
        path: the `.engine` file.
        info: its side file.
        built: False when it was there already.
        reasons: in words, why an engine that was there could not be used.
        seconds: that the build took; 0 when it was there already.
    """

    path: Path
    info: EngineInfo
    built: bool
    reasons: tuple[str, ...]
    seconds: float


def build_engine(
    onnx_path: str | Path,
    engine_path: str | Path,
    options: BuildOptions = BuildOptions(),
    on_progress: OnProgress | None = None,
) -> BuiltEngine:
    """Bring `X.engine` and `X.engine.json` up to date with a graph, a TensorRT and a GPU.

    Processes that ask for one engine build it once: the others wait, then find it done. An interrupted build leaves
    what was there before.

    Args:
        onnx_path: written by `dannet export` or `dannet quantize`; its types decide about precision.
        engine_path: ends in ``.engine``.
        options: how to build.
        on_progress: called in this thread, about ten times a second, while waiting and building; what it raises stops
            the build.

    Raises:
        MissingPackageError: the flavour is not installed.
        SettingsError: an option is out of its range.
        ModelFileError: the graph does not fit, or the engine that is there does not and ``on_mismatch`` is ``refuse``.
        NotFiniteError: the graph gives NaN or infinity on a frame; the message names frame and node.
        BackendError: TensorRT cannot build it here.
        OutputError: the engine cannot be written.
    """
    target = Path(engine_path)
    _check_target(target)
    flavour, graph = _open(onnx_path, options)
    return _bring_up_to_date(flavour, graph, target, options, on_progress)


def cached_engine(
    onnx_path: str | Path,
    folder: str | Path,
    options: BuildOptions = BuildOptions(),
    on_progress: OnProgress | None = None,
) -> BuiltEngine:
    """The engine of a graph in a cache folder, built if it is not there: its name carries a hash of `KEY_FIELDS`.

    Engines for other GPUs, versions and options lie beside it and are left alone.

    Args:
        onnx_path: see `build_engine`, also for errors.
        folder: made if it does not exist.
        options: see `build_engine`.
        on_progress: see `build_engine`.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make the folder: {error.strerror}") from error
    flavour, graph = _open(onnx_path, options)
    key = engine_key(_wanted(flavour, graph, options))
    return _bring_up_to_date(flavour, graph, target / f"{graph.path.stem}-{key}{SUFFIX}", options, on_progress)


def engine_key(info: EngineInfo) -> str:
    """A short hash of `KEY_FIELDS`."""
    values = json.dumps({name: getattr(info, name) for name in KEY_FIELDS}, sort_keys=True)
    return hashlib.sha256(values.encode()).hexdigest()[:_KEY_DIGITS]


def _open(onnx_path: str | Path, options: BuildOptions) -> tuple[Flavour, OnnxGraph]:
    if options.on_mismatch not in ON_MISMATCH:
        raise SettingsError(f"on_mismatch: got {options.on_mismatch!r}, expected one of {', '.join(ON_MISMATCH)}")
    if options.workspace_mib < 0:
        raise SettingsError(f"workspace_mib: got {options.workspace_mib}, expected 0 or more MiB")
    name = choose_flavour_to_build() if options.flavour == "auto" else options.flavour
    flavour = import_flavour(name, "build engines")
    for target in options.targets:
        flavour.target(target)
    return flavour, read_graph(onnx_path)


def _check_target(target: Path) -> None:
    if target.suffix != SUFFIX:
        raise ModelFileError(f"{target}: got suffix '{target.suffix}', expected '{SUFFIX}'")
    if not target.parent.is_dir():
        raise OutputError(f"{target}: no such folder: make it first")


def _bring_up_to_date(
    flavour: Flavour, graph: OnnxGraph, target: Path, options: BuildOptions, on_progress: OnProgress | None
) -> BuiltEngine:
    report = on_progress or _say_nothing
    wanted = _wanted(flavour, graph, options)
    lock = target.with_name(f".{target.name}.lock")
    with locked(lock, lambda seconds: report(BuildProgress(WAITING, 0.0, seconds))):
        remove_leftovers(target)
        present, reasons = _what_is_there(target, wanted)
        if present is not None:
            if options.frames:
                require_finite_graph(graph.data, str(graph.path), options.frames)
            return BuiltEngine(target, present, built=False, reasons=(), seconds=0.0)
        if reasons and options.on_mismatch == "refuse":
            raise ModelFileError(
                f"{target}: does not fit: {'; '.join(reasons)}: allow the rebuild, or name another file"
            )
        start = time.monotonic()
        timings = options.timing_cache or _timings_beside(target, wanted)
        with_options = PlanOptions(options.workspace_mib, options.targets, timings)
        plan = _watched(lambda tree: _checked_plan(flavour, graph, with_options, options.frames, tree), report)
        info = write_engine(target, plan.data, wanted.replace(inputs=plan.inputs, outputs=plan.outputs))
        return BuiltEngine(target, info, built=True, reasons=reasons, seconds=time.monotonic() - start)


def _wanted(flavour: Flavour, graph: OnnxGraph, options: BuildOptions) -> EngineInfo:
    """The side file of the engine as it would be built now, without what only the build can tell."""
    running = flavour.running()
    if flavour.needs_gpu_to_build and running.gpu is None:
        raise BackendError(
            f"{flavour}: found no NVIDIA GPU, and TensorRT builds on the GPU that the engine will run on: "
            "build there, or use flavour tensorrt_rtx, which builds on any machine"
        )
    if not options.targets:
        flavour.check_gpu(running)
    return EngineInfo(
        flavour=flavour.name,
        flavour_version=flavour.version,
        gpu=running.gpu if flavour.needs_gpu_to_build else None,
        compute_capability=running.compute_capability if flavour.needs_gpu_to_build else None,
        targets=tuple(sorted(set(options.targets), key=lambda text: [int(part) for part in text.split(".")])),
        workspace_mib=options.workspace_mib,
        precision=graph.metadata.precision,
        onnx_sha256=graph.sha256,
        plan_sha256="",
        plan_bytes=0,
        inputs={},
        outputs={},
        metadata=graph.metadata,
    )


def _what_is_there(target: Path, wanted: EngineInfo) -> tuple[EngineInfo | None, tuple[str, ...]]:
    """The engine's record if it fits; else why it does not, or nothing when there is none."""
    if not target.exists():
        return None, ()
    try:
        info = read_engine_info(target)
        differences = [
            Difference(name, getattr(info, name), getattr(wanted, name))
            for name in KEY_FIELDS
            if getattr(info, name) != getattr(wanted, name)
        ]
        if not differences:
            read_plan(target, info)
            return info, ()
    except ModelFileError as error:
        return None, (str(error),)
    return None, tuple(map(str, differences))


def _timings_beside(target: Path, wanted: EngineInfo) -> Path:
    gpu = re.sub(r"[^a-z0-9]+", "_", (wanted.gpu or "any").lower())
    return target.with_name(f"{wanted.flavour}_{wanted.flavour_version}_{gpu}.timing")


def _checked_plan(
    flavour: Flavour, graph: OnnxGraph, options: PlanOptions, frames: Sequence[npt.NDArray[np.float32]], tree: PhaseTree
) -> Plan:
    """An engine computes what the graph does, only where nobody can look any more."""
    tree.start(TRYING, None, 1)
    require_finite_graph(graph.data, str(graph.path), frames)
    return build_plan(flavour, graph, options, tree)


def _watched(build: Callable[[PhaseTree], Plan], report: OnProgress) -> Plan:
    """Build in a thread of its own, so that this one can report, and can be interrupted."""
    tree, start = PhaseTree(), time.monotonic()
    with ThreadPoolExecutor(1, thread_name_prefix="engine_build") as builder:
        future = builder.submit(build, tree)
        try:
            while True:
                try:
                    return future.result(timeout=_POLL_S)
                except FutureTimeout:
                    report(BuildProgress(*tree.now(), time.monotonic() - start))
        finally:
            tree.stop()


def _say_nothing(_: BuildProgress) -> None:
    pass
