"""The whole product in a minute, without GPU, data or a ROS installation.

Night drive (the toy city's, or a video of one's own) -> rosbag2 -> the night_seg node as its own process on real DDS <-
bag replayed at camera rate -> labels and overlays received here -> a summary and pictures in demo_output/. Nothing is
faked; figures come from this run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from demo_drive import Drive, toy_drive, video_drive  # noqa: E402
from demo_processes import DemoError, background, run_module, use_private_dds  # noqa: E402
from demo_summary import (  # noqa: E402
    DROPPED,
    Agreement,
    class_shares,
    percentiles,
    stage_latencies,
    table,
    why_it_failed,
)

import dannet_core  # noqa: E402 - the tree's own package, whatever is installed
from dannet_core.atomic_files import whole_file, write_whole  # noqa: E402
from dannet_core.classes import CLASS_NAMES  # noqa: E402
from dannet_core.errors import DannetError  # noqa: E402
from dannet_core.metadata import ModelMetadata  # noqa: E402
from dannet_core.pixels import read_rgb, write_png  # noqa: E402
from dannet_core.settings import option, parse  # noqa: E402

IMAGE, CAMERA_INFO = "/camera/image", "/camera/camera_info"
DEFAULT_MODEL = Path(dannet_core.__file__).parent / "models" / "demo.onnx"
START_S, FINISH_S = 60.0, 30.0


@dataclass(frozen=True)
class Settings:
    """Options of the demo."""

    model: Path = option("model file", DEFAULT_MODEL)
    video: Path | None = option("a video to show instead of the toy city's drive", None)
    out: Path = option("folder to write to", Path("demo_output"))
    seconds: float = option("length of the drive, or of the video's beginning", 10.0, limits=(0.2, 600))
    fps: float = option("camera rate in Hz; of a faster video every so many frames are taken", 10.0, limits=(1, 60))
    size: tuple[int, int] = option("height and width of the toy city's pictures in pixels", (540, 960))
    seed: int = option("of the toy city", 2, limits=(0, 2**31 - 1))
    pictures: int = option("overlay pictures to write", 6, limits=(1, 100))
    domain: int | None = option("ROS_DOMAIN_ID; unset: one of this process's own", None, limits=(0, 101))


def main() -> int:
    """Run the demo; 0 only when labels of frames that were sent came back."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = None
    try:
        settings = parse(Settings, sys.argv[1:], "demo", "Night drive, bag, node on real DDS, pictures, summary.")
        run(settings)
    except DannetError as error:
        if settings is not None and isinstance(error, DemoError):
            _show_log(settings.out / "node.log")
        print(f"demo: {error}", file=sys.stderr)
        return 1 if isinstance(error, DemoError) else 2
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    return 0


def run(settings: Settings) -> None:
    """The demo, step by step."""
    begin = time.monotonic()
    metadata = _describe_model(settings.model)
    use_private_dds(1 + os.getpid() % 100 if settings.domain is None else settings.domain)
    out = settings.out
    step(1, f"night drive, up to {settings.seconds:g} s at about {settings.fps:g} Hz")
    drive = _drive(settings)
    print(f"      {drive.text}")
    step(2, "packed as a rosbag2 (mcap) by make_bag")
    print(f"      {_pack(out, drive)}")
    listener = _replay(settings, drive)
    step(6, "summary")
    summary = summarize(listener, drive, metadata)
    write_whole(out / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
    print(table(summary))
    _write_pictures(listener, drive, settings)
    print(f"\npictures, video and summary.json in {out}/ ({time.monotonic() - begin:.0f} s)")


def step(number: int, text: str) -> None:
    """Say what happens now."""
    print(f"[{number}/6] {text}", flush=True)


def _describe_model(path: Path) -> ModelMetadata:
    from dannet_core import NightSegmenter

    with NightSegmenter.load(path) as segmenter:
        metadata = segmenter.metadata
    if not metadata.trained:
        print(f"NOTE  {path.name} is NOT TRAINED ({metadata.source}): the labels below mean nothing, the rest is real")
    return metadata


def _drive(settings: Settings) -> Drive:
    folder = settings.out / "drive"
    if settings.video is not None:
        return video_drive(settings.video, folder, settings.seconds, settings.fps)
    return toy_drive(folder, settings.seconds, settings.fps, settings.size, settings.seed)


def _pack(out: Path, drive: Drive) -> str:
    labels = ["--labels", str(drive.folder / "labels")] if drive.labelled else []
    arguments = [str(drive.folder / "frames"), *labels, "--fps", repr(drive.fps)]
    return run_module("dannet_ros.replay", ["make_bag", *arguments, "--out", str(out / "bag"), "--overwrite"])


def _replay(settings: Settings, drive: Drive) -> Any:
    """Start the node, play the bag to it and listen; returns the listener with all it heard."""
    from demo_listener import NODE, Listener

    height, width = drive.size
    parameters = {"model": settings.model, "diagnostics_period_s": 0.5}
    parameters |= {"warm_up_height": height, "warm_up_width": width}
    words = ["--ros-args", "-r", f"image:={IMAGE}", "-r", f"camera_info:={CAMERA_INFO}"]
    words += [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    step(3, f"the node {NODE} as a process of its own, on Fast DDS in domain {os.environ['ROS_DOMAIN_ID']}")
    with Listener(CAMERA_INFO) as listener, background("dannet_ros.node", words, settings.out / "node.log") as node:

        def alive() -> bool:
            return node.poll() is None

        if not listener.wait(lambda: listener.node_is_ready, START_S, alive):
            raise DemoError(f"the node ended with code {node.poll()}" if not alive() else "the node did not get ready")
        step(4, "bag replayed to it at camera rate by another process")
        # The node's two subscriptions, and the listener's, which takes the time of every frame by its camera_info.
        wanted = [IMAGE, f"{CAMERA_INFO}=2"]
        played = run_module(
            "dannet_ros.replay", ["play", str(settings.out / "bag"), "--wait", "60", "--wait-for", *wanted]
        )
        print(f"      {played}")
        played_at = time.monotonic()
        listener.wait(lambda: listener.node_is_done(len(drive.stamps_ns), played_at), FINISH_S, alive)
        if not alive():
            raise DemoError(f"the node ended early with code {node.poll()}")
    step(5, f"received {len(listener.label_stamps)} labels and {len(listener.overlays)} overlays")
    failure = why_it_failed(list(drive.stamps_ns), listener.label_stamps)
    if failure is not None:
        raise DemoError(failure)
    return listener


def summarize(listener: Any, drive: Drive, metadata: ModelMetadata) -> dict[str, Any]:
    """Everything measured, as it goes into summary.json."""
    agreement, counts = Agreement(), np.zeros(256, dtype=np.int64)
    comparable = drive.labelled and metadata.class_names == CLASS_NAMES
    for index, stamp in enumerate(drive.stamps_ns):
        labels = listener.labels.get(stamp)
        if labels is not None:
            counts += np.bincount(labels.ravel(), minlength=256)
        if labels is not None and comparable:
            truth = cv2.imread(str(drive.folder / "labels" / f"{index:06d}.png"), cv2.IMREAD_UNCHANGED)
            agreement.add(labels, np.asarray(truth, dtype=np.uint8))
    report = listener.diagnostics
    latency = stage_latencies(report)
    both = [stamp for stamp in listener.label_stamps if stamp in listener.sent_at]
    if both:
        late = [1e3 * (listener.labelled_at[stamp] - listener.sent_at[stamp]) for stamp in both]
        latency["end to end"] = percentiles(late)
    sent, received = len(drive.stamps_ns), int(report.get("received", 0))
    return {
        "model": {"arch": metadata.arch, "backbone": metadata.backbone, "trained": metadata.trained}
        | {"source": metadata.source, "backend": report.get("backend", ""), "device": report.get("device", "")},
        "frames": {"sent": sent, "received_by_node": received, "processed": int(report.get("processed", 0))}
        | {"dropped": sum(int(report.get(name, 0)) for name in DROPPED), "lost": sent - received}
        | {"labels_received": len(listener.label_stamps), "overlays_received": len(listener.overlays)},
        "latency_ms": {stage: [round(value, 2) for value in values] for stage, values in latency.items()},
        "class_shares": class_shares(counts, metadata.class_names),
        "agreement": {"pixel_accuracy": agreement.pixel_accuracy, "miou": agreement.miou, "iou": agreement.class_iou}
        if comparable
        else None,
    }


def _write_pictures(listener: Any, drive: Drive, settings: Settings) -> None:
    """Camera beside overlay: some pictures, all of them as a video, a contact sheet; and the labels."""
    number = {stamp: index for index, stamp in enumerate(drive.stamps_ns)}
    shown = sorted(stamp for stamp in listener.overlays if stamp in number)
    for folder in ("labels", "overlays"):
        (settings.out / folder).mkdir(exist_ok=True)
        for old in (settings.out / folder).glob("*.png"):
            old.unlink()
    for stamp, labels in listener.labels.items():
        write_png(settings.out / "labels" / f"{number[stamp]:06d}.png", labels)
    if not shown:
        return
    chosen = {shown[i] for i in np.linspace(0, len(shown) - 1, min(settings.pictures, len(shown))).astype(int)}
    height, width = drive.size
    tiles = []
    with whole_file(settings.out / "demo.mp4") as partial:
        fps = drive.fps * len(shown) / len(drive.stamps_ns)
        video = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*"mp4v"), max(fps, 1.0), (2 * width, height))
        for stamp in shown:
            camera = read_rgb(drive.folder / "frames" / f"{number[stamp]:06d}.png")
            overlay = cv2.imdecode(np.frombuffer(listener.overlays[stamp], np.uint8), cv2.IMREAD_COLOR)
            pair = np.hstack([camera, np.asarray(cv2.cvtColor(overlay, cv2.COLOR_BGR2RGB), dtype=np.uint8)])
            video.write(cv2.cvtColor(pair, cv2.COLOR_RGB2BGR))
            if stamp in chosen:
                write_png(settings.out / "overlays" / f"{number[stamp]:06d}.png", pair)
                tiles.append(cv2.resize(pair, (960, 960 * height // (2 * width)), interpolation=cv2.INTER_AREA))
        video.release()
    rows = [np.hstack(tiles[i : i + 2]) for i in range(0, len(tiles) - len(tiles) % 2, 2)] or tiles[:1]
    write_png(settings.out / "contact_sheet.png", np.vstack(rows))


def _show_log(log: Path) -> None:
    if log.is_file():
        print(f"--- {log} ---\n{log.read_text(errors='replace').strip()}\n---", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
