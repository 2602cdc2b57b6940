"""The node at camera rate over real DDS: camera, node and subscriber as three processes with the shipped profile.

    python bench/node_rate.py --image night.png --outputs label --outputs label,color,overlay --out rate.json

Without --model a trivially fast graph is used, to measure the node alone. Reports what became of every frame, whether
every output carries a sent stamp and frame_id, latency per stage, CPU and memory.
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

import numpy as np
from processes import ROOT, Process, awake, machine, stolen_s

sys.path.insert(0, str(ROOT))
OUTPUTS = ("label", "color", "overlay", "relit", "confidence", "camera_info")
FRAME_ID = "bench_camera"
LAUNCHED = {"GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")}
"""What `night_seg.launch.py` sets for the node alone."""
SETTLE_S = 1.5
PATIENCE_S = 900.0  # an engine may have to be built first


def fast_model(path: Path, height: int, width: int) -> Path:
    """A graph in the shape `dannet export` writes that does next to nothing: two averages and a 1x1 convolution.

    The first average is a convolution, as networks begin: before it pools, OpenVINO lays the picture out anew, which
    takes longer than all else here. The second smooths, so that labels come in regions, as they do from a network,
    rather than in noise.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from dannet_core.metadata import ModelMetadata

    weights = np.random.default_rng(7).normal(0, 1, (19, 3, 1, 1)).astype(np.float32)
    average = np.zeros((3, 3, 8, 8), np.float32)
    average[range(3), range(3)] = 1 / 64
    nodes = [
        helper.make_node("Conv", ["image", "average"], ["cells"], strides=[8, 8]),
        helper.make_node("AveragePool", ["cells"], ["pooled"], kernel_shape=[9, 9], pads=[4, 4, 4, 4]),
        helper.make_node("Conv", ["pooled", "weights"], ["stride_logits"]),
        helper.make_node("Identity", ["image"], ["relit"]),
    ]
    shapes = {"image": [1, 3, height, width], "stride_logits": [1, 19, height // 8, width // 8]}
    shapes["relit"] = shapes["image"]
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(
        nodes,
        "fast",
        [values["image"]],
        [values["stride_logits"], values["relit"]],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(average, "average")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    metadata = ModelMetadata(arch="lraspp", backbone="mobilenet_v3_large", source="bench/node_rate.py, does nothing")
    helper.set_model_props(model, metadata.to_strings())
    onnx.save(model, str(path))
    return path


def picture(path: Path | None, height: int, width: int) -> np.ndarray:
    if path is not None:
        from dannet_core.pixels import read_rgb

        return read_rgb(path)
    ramp = np.linspace(0, 90, width, dtype=np.float32)[None, :, None] * np.ones((height, 1, 3), np.float32)
    noise = np.random.default_rng(1).normal(20, 12, (height, width, 3))
    return np.clip(ramp + noise, 0, 255).astype(np.uint8)


def camera(arguments: argparse.Namespace, out: Path) -> None:
    """Publish the picture at the wanted rate; writes the stamps that were sent."""
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import CameraInfo, Image
    from std_msgs.msg import Header

    from dannet_ros.conversions import to_image

    rgb = picture(arguments.image, 1080, 1920)
    rclpy.init()
    node = rclpy.create_node("bench_camera")
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy[arguments.camera_reliability.upper()])
    images, infos = node.create_publisher(Image, "image", qos), node.create_publisher(CameraInfo, "camera_info", qos)
    message = to_image(rgb, "rgb8", Header(frame_id=FRAME_ID))
    info = CameraInfo(header=message.header, height=rgb.shape[0], width=rgb.shape[1])
    while not (images.get_subscription_count() and infos.get_subscription_count()):
        time.sleep(0.05)
    time.sleep(SETTLE_S)
    sent, late = [], 0
    start = time.perf_counter()
    for frame in range(int(arguments.seconds * arguments.rate)):
        wait = start + frame / arguments.rate - time.perf_counter()
        late += wait < -0.5 / arguments.rate
        time.sleep(max(0.0, wait))
        message.header.stamp = node.get_clock().now().to_msg()
        infos.publish(info)
        images.publish(message)
        sent.append((message.header.stamp.sec, message.header.stamp.nanosec))
    out.write_text(json.dumps({"sent": sent, "late": late, "seconds": time.perf_counter() - start}))
    time.sleep(0.5)  # the last picture lies in this process's memory and goes with it
    rclpy.shutdown()


def watch(outputs: list[str], out: Path) -> None:
    """Subscribe the outputs and /diagnostics until SIGINT; writes what came, when."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions
    from sensor_msgs.msg import CameraInfo, Image
    from std_msgs.msg import Float32

    from dannet_ros.memory import keep_freed_buffers
    from dannet_ros.taken_image import take_directly

    keep_freed_buffers()
    stopped: list[int] = []
    signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("bench_watch")
    came: dict[str, list[tuple[int, int, str, float]]] = {name: [] for name in outputs}
    latest, added_ms = dict[str, Any](), list[float]()

    def took(name: str, message: Any) -> None:
        stamp = message.header.stamp
        latency_ms = (node.get_clock().now().nanoseconds - stamp.sec * 10**9 - stamp.nanosec) / 1e6
        came[name].append((stamp.sec, stamp.nanosec, message.header.frame_id, latency_ms))

    def diagnosed(message: Any) -> None:
        for status in message.status:
            values = {value.key: value.value for value in status.values}
            latest.update({"message": status.message, "values": values})
        partial = out.with_suffix(".partial")
        partial.write_text(json.dumps(latest))
        partial.replace(out.with_suffix(".live"))  # whole at any moment: others read it while it is written

    for name in outputs:
        kind = CameraInfo if name == "camera_info" else Image
        made = node.create_subscription(kind, f"night_seg/{name}", lambda message, name=name: took(name, message), 5)
        if kind is Image:
            take_directly(made)  # pictures are copied once, as a subscriber in C++ has it
    node.create_subscription(DiagnosticArray, "/diagnostics", diagnosed, 10)
    node.create_subscription(Float32, "night_seg/latency_ms", lambda message: added_ms.append(message.data), 10)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stopped:
        executor.spin_once(timeout_sec=0.1)
    out.write_text(json.dumps({"came": came, "added_ms": added_ms, "diagnostics": latest}))
    rclpy.shutdown()


def run(arguments: argparse.Namespace, outputs: list[str], model: Path, folder: Path) -> dict[str, Any]:
    me = [sys.executable, str(Path(__file__).resolve())]
    watcher = Process(
        [*me, "--role", "watch", "--outputs", ",".join(outputs), "--out", str(folder / "watch")], folder / "w"
    )
    command = [sys.executable, "-m", "dannet_ros.node", *node_arguments(arguments, model)]
    node = Process(command, folder / "n", **LAUNCHED)
    children = [watcher, node]
    try:
        wait_until_active(folder / "watch.live", node, folder / "n")
        passed = ["--rate", str(arguments.rate), "--seconds", str(arguments.seconds)]
        passed += ["--camera-reliability", arguments.camera_reliability]
        passed += ["--image", str(arguments.image)] if arguments.image else []
        stolen, start = stolen_s(), time.monotonic()
        source = Process([*me, "--role", "camera", *passed, "--out", str(folder / "camera")], folder / "c")
        children.append(source)
        samples = _sample(node, source, watcher)
        source.finish(interrupt=False)
        samples["stolen_percent_of_one_core"] = round((stolen_s() - stolen) / (time.monotonic() - start) * 100, 1)
        time.sleep(2.5)
        code = node.finish()
        watcher.finish()
    finally:
        for child in children:
            child.kill()
    report = _report(json.loads((folder / "camera").read_text()), json.loads((folder / "watch").read_text()), outputs)
    return {"outputs": outputs, **report, **samples, "node_exit_code": code}


def node_arguments(arguments: argparse.Namespace, model: Path) -> list[str]:
    extra = [word for setting in arguments.param for word in ("-p", setting)]
    return ["--ros-args", "-p", f"model:={model}", *extra]


def wait_until_active(live: Path, node: Process, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and node.running():
        if live.exists() and '"state": "active"' in live.read_text():
            return
        time.sleep(0.1)
    raise SystemExit(f"node_rate: the node did not become active: {log.read_text()[-500:]}")


def _sample(node: Process, source: Process, watcher: Process) -> dict[str, Any]:
    """CPU and memory every second while the camera runs; the first five seconds are left out."""
    time.sleep(SETTLE_S + 5)
    start = time.monotonic()
    processes = {"node": node, "camera": source, "subscriber": watcher}
    before = {name: process.cpu_s() for name, process in processes.items()}
    rss, cpu, elapsed = [], before, 1.0
    while source.running():
        rss.append(node.rss_mb())
        cpu = {name: p.cpu_s() for name, p in processes.items() if p.running()} or cpu
        elapsed = time.monotonic() - start
        time.sleep(1.0)
    percent = {name: round((cpu.get(name, was) - was) / max(elapsed, 0.1) * 100, 1) for name, was in before.items()}
    memory = {"start": rss[0], "end": rss[-1], "max": max(rss)} if rss else {}
    return {"cpu_percent_of_one_core": percent, "node_rss_mb": {k: round(v, 1) for k, v in memory.items()}}


def _report(sent: dict[str, Any], seen: dict[str, Any], outputs: list[str]) -> dict[str, Any]:
    from dannet_ros.frame_statistics import OUTCOMES

    stamps = {tuple(stamp) for stamp in sent["sent"]}
    values = seen["diagnostics"]["values"]
    counts = {k: int(values[k]) for k in ("received", *OUTCOMES)}
    arrived = {}
    for name in outputs:
        came = seen["came"][name]
        latency = [row[3] for row in came] or [float("nan")]
        arrived[name] = {
            "arrived": len(came),
            "not_arrived": counts["processed"] - len(came),
            "stamp_and_frame_id_exact": sum((r[0], r[1]) in stamps and r[2] == FRAME_ID for r in came),
            "duplicates": len(came) - len({(r[0], r[1]) for r in came}),
            "camera_to_subscriber_ms": _spread(latency),
        }
    stages = {key.partition(" ")[0]: value for key, value in values.items() if "p50/p95/p99" in key}
    return {
        "sent": len(stamps),
        "sent_late": sent["late"],
        "camera_fps": round(len(stamps) / sent["seconds"], 2),
        "lost_before_node": len(stamps) - counts["received"],
        **counts,
        "arrived": arrived,
        "node_added_ms": _spread(seen["added_ms"] or [float("nan")]),
        "node_latency_ms_p50_p95_p99_last_10_s": stages,
        "last_diagnostics": seen["diagnostics"]["message"],
    }


def _spread(values: list[float]) -> dict[str, float]:
    points = np.percentile(values, (50, 95, 99, 100))
    return {name: round(float(p), 1) for name, p in zip(("p50", "p95", "p99", "max"), points, strict=True)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="picture the camera sends; default: a seeded 1920x1080 gradient")
    parser.add_argument("--model", type=Path, help="model file; default: a trivially fast graph of --input-size")
    parser.add_argument("--input-size", type=int, nargs=2, default=(270, 480), metavar=("H", "W"))
    parser.add_argument("--rate", type=float, default=30.0, help="frames per second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--outputs", action="append", help=f"comma-separated, of {', '.join(OUTPUTS)}; may be repeated")
    parser.add_argument("--param", action="append", default=[], help="NAME:=VALUE for the node; may be repeated")
    parser.add_argument("--camera-reliability", choices=("best_effort", "reliable"), default="best_effort")
    parser.add_argument(
        "--keep-awake", action="store_true", help="loops at idle priority, lest a virtual machine's cores be given away"
    )
    parser.add_argument("--without-profile", action="store_true", help="Fast DDS as it comes, to see the difference")
    parser.add_argument("--out", type=Path, default=Path("node_rate.json"))
    parser.add_argument("--role", choices=("camera", "watch"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    sets = [names.split(",") for names in arguments.outputs or ["label"]]
    if arguments.role == "camera":
        return camera(arguments, arguments.out)
    if arguments.role == "watch":
        return watch(sets[0], arguments.out)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_DOMAIN_ID"] = str(101 + os.getpid() % 100)
    os.environ.pop("FASTDDS_DEFAULT_PROFILES_FILE", None)
    if not arguments.without_profile:
        os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(ROOT / "config" / "fastdds.xml")
    facts, runs = machine(), []
    for outputs in sets:
        with tempfile.TemporaryDirectory() as folder, awake(arguments.keep_awake):
            model = arguments.model or fast_model(Path(folder) / "fast.onnx", *arguments.input_size)
            runs.append(run(arguments, outputs, model, Path(folder)))
            print(json.dumps(runs[-1], indent=1))
    settings = {"rate": arguments.rate, "seconds": arguments.seconds, "params": arguments.param}
    settings |= {"model": arguments.model.name if arguments.model else f"fast graph {tuple(arguments.input_size)}"}
    settings |= {"image": arguments.image.name if arguments.image else "seeded gradient 1920x1080"}
    settings |= {"fastdds_profile": not arguments.without_profile, "camera_reliability": arguments.camera_reliability}
    settings |= {"keep_awake": arguments.keep_awake}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"machine": facts, "settings": settings, "runs": runs}, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
