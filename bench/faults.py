"""Faults a vehicle will see, done to the node as a process of its own; prints and writes what was seen.

    python bench/faults.py [--only cycles,fuzz] [--out bench/results/faults.json]

A scenario that does not end as it should ends the program with the reason and the node's log. Scenarios that are left
out keep their entry in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from node_rate import fast_model
from processes import ROOT, machine
from running_node import RunningNode

Seen = dict[str, Any]


def check(holds: Any, what: str) -> None:
    if not holds:
        raise SystemExit(f"faults: {what}")


def cycles(model: Path, arguments: argparse.Namespace) -> Seen:
    """configure, activate, label, deactivate, cleanup, again and again through the lifecycle services."""
    node = RunningNode(model)
    try:
        node.listen()
        node.is_labelled(node.camera(), "first")
        camera = node.camera()
        footprints = []
        for cycle in range(arguments.cycles + 5):
            for transition in ("deactivate", "cleanup", "configure", "activate"):
                check(node.change_state(transition), f"{transition} failed in cycle {cycle}")
            node.is_labelled(camera, f"cycle {cycle}")
            if cycle >= 4:
                footprints.append(node.footprint())
        check(footprints[0]["threads"] == footprints[-1]["threads"], f"threads grew: {footprints[-1]}")
        check(footprints[0]["files"] == footprints[-1]["files"], f"files grew: {footprints[-1]}")
        quarters = [footprints[len(footprints) * part // 4]["rss_mb"] for part in range(4)]
        rss = [*quarters, footprints[-1]["rss_mb"]]
        ends = {"after_5": footprints[0], "at_end": footprints[-1]}
        return {"cycles": arguments.cycles, **ends, "rss_mb_by_quarter": rss}
    finally:
        node.close()


def fuzz(_: Path, arguments: argparse.Namespace) -> Seen:
    """Property-based messages through the subscription callback: the test of the test suite, with many more."""
    environment = os.environ | {"DANNET_FUZZ_MESSAGES": str(arguments.messages)}
    command = [sys.executable, "-m", "pytest", "-q", "test/dannet_ros/test_message_fuzz.py"]
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    check(done.returncode == 0, done.stdout[-3000:])
    return {
        "messages": arguments.messages,
        "seconds": round(time.monotonic() - start, 1),
        "result": "one outcome each",
    }


def model_file(model: Path, _: argparse.Namespace) -> Seen:
    """The file is deleted, then replaced by rubbish, then by a good one, under a running node."""
    own = model.with_name("own.onnx")
    own.write_bytes(model.read_bytes())
    node = RunningNode(own, "autostart:=true")
    try:
        node.listen()
        camera = node.camera()
        node.is_labelled(camera, "before")
        seen: Seen = {}
        own.unlink()
        node.is_labelled(camera, "deleted")
        node.until(lambda: "is gone" in node.message, "a diagnostic", lambda: node.send(camera, "x"))
        seen["deleted"] = node.message
        own.write_bytes(b"rubbish")
        node.until(lambda: "was replaced" in node.message, "a diagnostic", lambda: node.send(camera, "x"))
        seen["replaced"] = node.message
        check(node.change_state("deactivate") and node.change_state("cleanup"), "cannot clean up")
        check(not node.change_state("configure"), "rubbish was configured")
        node.until_state("unconfigured")
        node.until(lambda: "own.onnx" in node.message, "a diagnostic that names the file")
        seen["configure_with_rubbish"] = node.message
        own.write_bytes(model.read_bytes())
        check(node.change_state("configure") and node.change_state("activate"), "cannot configure the mended file")
        node.is_labelled(node.camera(), "mended")
        return {**seen, "mended": "labels again"}
    finally:
        node.close()


def backend(model: Path, _: argparse.Namespace) -> Seen:
    """A driver call that hangs, and a driver context that is lost: see faulty_node.py."""
    program = (str(ROOT / "bench" / "faulty_node.py"),)
    node = RunningNode(model, "hang_ms:=500.0", "max_failures:=5", program=program)
    try:
        node.listen()
        camera = node.camera()
        node.is_labelled(camera, "before")
        node.send(camera, "hang")
        node.until(lambda: "worker busy" in node.message, "a hang reported while it hangs")
        seen: Seen = {"hang": node.message}
        node.is_labelled(camera, "after the hang")
        node.until(lambda: "failed" in node.message, "failures reported", lambda: node.send(camera, "poison"))
        seen["poisoned"] = node.message
        node.is_labelled(camera, "after the recovery")
        check("5 frames in a row failed" in node.log(), "the model was not closed")
        seen["recovery"] = "closed through on_error, opened again, labels"
    finally:
        node.close()
    node = RunningNode(model, "hang_ms:=500.0", "max_hang_s:=1.0", program=program)
    try:
        node.listen()
        camera = node.camera()
        node.is_labelled(camera, "before")
        node.send(camera, "hang")
        seen["max_hang_s"] = {"exit_code": node.process.wait(30)}
        check(seen["max_hang_s"]["exit_code"] == 2, f"exit code, log: {node.log()[-500:]}")
        return seen
    finally:
        node.close()


def subscribers(model: Path, arguments: argparse.Namespace) -> Seen:
    """A subscriber that comes and goes, each time getting a label."""
    node = RunningNode(model)
    try:
        camera = node.camera()
        footprints = []
        for number in range(arguments.subscribers):
            subscription = node.listen()
            node.is_labelled(camera, str(number))
            node.client.destroy_subscription(subscription)
            if number >= 20:
                footprints.append(node.footprint())
        check(footprints[0]["files"] == footprints[-1]["files"], f"files grew: {footprints[-1]}")
        return {"subscribers": arguments.subscribers, "after_20": footprints[0], "at_end": footprints[-1]}
    finally:
        node.close()


def publishers(model: Path, arguments: argparse.Namespace) -> Seen:
    """A camera driver whose process restarts: a new DDS participant every time, reliable and best effort in turn."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    node = RunningNode(model)
    try:
        node.listen()
        before: Seen = {}
        for number in range(arguments.publishers):
            context = node.rclpy.Context()
            node.rclpy.init(context=context)
            driver = node.rclpy.create_node("driver", context=context)
            reliability = (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT)[number % 2]
            camera = driver.create_publisher(Image, "image", QoSProfile(depth=1, reliability=reliability))
            node.is_labelled(camera, str(number))
            driver.destroy_node()
            node.rclpy.shutdown(context=context)
            before = before or (node.footprint() if number == 4 else {})
        node.until(lambda: "no publisher" in node.message, "a diagnostic that names the topic")
        return {
            "restarts": arguments.publishers,
            "after_5": before,
            "at_end": node.footprint(),
            "diagnostic_without_one": node.message,
        }
    finally:
        node.close()


def clock_jumps(model: Path, _: argparse.Namespace) -> Seen:
    """/clock of a looping bag: forth, back, forth; ages by it, and no frame lost to the jump."""
    from builtin_interfaces.msg import Time
    from rosgraph_msgs.msg import Clock

    node = RunningNode(model, "use_sim_time:=true", "max_age_ms:=500.0")
    try:
        node.listen()
        camera, clock = node.camera(), node.client.create_publisher(Clock, "/clock", 1)
        node.until(lambda: "/clock" in node.message, "a diagnostic that misses /clock")
        missing = node.message
        for second in (1000, 10, 5000, 20):

            def send(second: int = second) -> None:
                clock.publish(Clock(clock=Time(sec=second)))
                node.send(camera, str(second), Time(sec=second))

            node.labels.clear()
            node.until(lambda s=str(second): any(m.header.frame_id == s for m in node.labels), "a label", send)
        node.until(lambda: int(node.value("time jumps") or 0) >= 2, "two jumps in the diagnostics")
        stale = int(node.value("stale"))
        node.until(
            lambda: int(node.value("stale")) > stale,
            "an old frame dropped",
            lambda: node.send(camera, "old", Time(sec=19)),
        )
        return {"without_clock": missing, "time_jumps": int(node.value("time jumps")), "old_frame": "dropped"}
    finally:
        node.close()


def signals(model: Path, _: argparse.Namespace) -> Seen:
    """Each signal while frames come, and the camera labelled by the next process."""
    node = RunningNode(model)
    try:
        node.listen()
        seen: Seen = {}
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            camera = node.camera()
            node.is_labelled(camera, f"before {number.name}")
            seen[number.name] = node.signal(number)
            wanted = -number if number == signal.SIGKILL else 0
            check(seen[number.name]["exit_code"] == wanted, f"{number.name}: {seen[number.name]}: {node.log()[-800:]}")
            node.start()
            node.is_labelled(camera, f"after {number.name}")
            seen[number.name]["next_process"] = "labels"
        return seen
    finally:
        node.close()


def disk_full(model: Path, _: argparse.Namespace) -> Seen:
    """The node writes engines, through atomic_files like all else: the old file stays, nothing half is left."""
    import importlib.util
    import resource

    from dannet_core.atomic_files import write_whole
    from dannet_core.deploy.engine_build import BuildOptions, cached_engine
    from dannet_core.errors import OutputError

    def refused(write: Callable[[], Any]) -> str:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            write()
        except OutputError as error:
            return str(error).replace(folder, "")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        raise SystemExit("faults: a file larger than the limit was written")

    with tempfile.TemporaryDirectory() as folder:
        target = write_whole(Path(folder) / "cache.bin", b"old")
        seen: Seen = {"error": refused(lambda: write_whole(target, bytes(100_000)))}
        check(target.read_bytes() == b"old", "the old file was damaged")
        seen["old_file"] = "kept"
        if importlib.util.find_spec("tensorrt_rtx"):
            engines = Path(folder) / "engines"
            options = BuildOptions(flavour="tensorrt_rtx")
            seen["engine"] = refused(lambda: cached_engine(model, engines, options))
            check(not list(engines.glob("*.engine*")), "half an engine was left")
            check(cached_engine(model, engines, options).built, "no engine once there is room")
            seen["engine_once_there_is_room"] = "built"
    return seen


SCENARIOS: dict[str, Callable[[Path, argparse.Namespace], Seen]] = {
    scenario.__name__: scenario
    for scenario in (cycles, fuzz, model_file, backend, subscribers, publishers, clock_jumps, signals, disk_full)
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SCENARIOS), help=f"comma-separated, of {', '.join(SCENARIOS)}")
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--publishers", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("faults.json"))
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    wanted = arguments.only.split(",")
    unknown = set(wanted) - set(SCENARIOS)
    check(not unknown, f"unknown scenario {', '.join(sorted(unknown))}: known are {', '.join(SCENARIOS)}")
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("ROS_DOMAIN_ID", str(101 + os.getpid() % 100))
    import rclpy

    rclpy.init()
    seen: Seen = json.loads(arguments.out.read_text())["seen"] if arguments.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        model = fast_model(Path(folder) / "fast.onnx", 128, 192)
        for name in wanted:
            result = SCENARIOS[name](model, arguments) | {"load_average": round(os.getloadavg()[0], 1)}
            seen[name] = json.loads(json.dumps(result).replace(str(ROOT), "").replace(folder, ""))
            print(name, json.dumps(seen[name]), flush=True)
    rclpy.shutdown()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"machine": machine(), "seen": seen}, indent=1) + "\n")


if __name__ == "__main__":
    main()
