"""`dannet build_engine`: `.onnx` to `.engine` with its side file; one that fits already is left as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dannet_core.deploy.build_report import ProgressReport
from dannet_core.deploy.calibration_frames import read_frames
from dannet_core.deploy.engine_build import ON_MISMATCH, BuildOptions, build_engine, cached_engine
from dannet_core.errors import SettingsError
from dannet_core.inference.engine_file import FLAVOURS
from dannet_core.settings import option

DESCRIPTION = "Writes X.engine and X.engine.json; builds again only if the graph, TensorRT, GPU or an option changed."


@dataclass(frozen=True)
class Settings:
    """Options of `dannet build_engine`."""

    model: Path = option(".onnx to build from; its types decide about precision")
    out: Path | None = option(".engine to write", None)
    cache: Path | None = option("instead of a name: folder that keeps engines by what they were built from", None)
    flavour: str = option(
        "auto: tensorrt where it and a GPU are at hand, else tensorrt_rtx", "auto", choices=("auto", *FLAVOURS)
    )
    workspace: int = option("memory in MiB that layers may use; 0 = all there is", 0, limits=(0, 1 << 20))
    targets: list[str] = option("tensorrt_rtx: compute capabilities, e.g. 7.5 8.6; none: all it knows from 8.0 on", [])
    timing_cache: Path | None = option("tensorrt: file that keeps timings between builds; unset: beside OUT", None)
    on_mismatch: str = option("what to do with an engine there that does not fit", "rebuild", choices=ON_MISMATCH)
    frames: list[Path] = option("images, or folders of them, to try the graph on; dark and bright ones always are", [])


def run(settings: Settings) -> int:
    """Build or reuse, and say which and why."""
    frames = tuple(read_frames(settings.frames, settings.model) if settings.frames else [])
    targets, timings = tuple(settings.targets), settings.timing_cache
    options = BuildOptions(settings.flavour, settings.workspace, targets, timings, settings.on_mismatch, frames)
    with ProgressReport() as report:
        if settings.out is not None and settings.cache is None:
            engine = build_engine(settings.model, settings.out, options, report)
        elif settings.cache is not None and settings.out is None:
            engine = cached_engine(settings.model, settings.cache, options, report)
        else:
            raise SettingsError("out, cache: got both or neither, expected one of them")
    for reason in engine.reasons:
        print(f"built again: {reason}")
    info = engine.info
    where = info.gpu or ", ".join(info.targets) or "every compute capability from 8.0 on that it knows"
    how = f"built in {engine.seconds:.1f} s" if engine.built else "was there and fits"
    print(
        f"{engine.path}: {how}: {info.flavour} {info.flavour_version}, {info.precision}, "
        f"{info.plan_bytes / 1e6:.1f} MB, for {where}"
    )
    return 0
