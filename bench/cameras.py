"""Several cameras: one process each with the shared model file, or one process that runs all pictures as a batch.

    python bench/cameras.py --model dannet_core/models/demo.onnx --cameras 3 --out bench/results/cameras_cpu.json
    python bench/cameras.py --torch pspnet --input-size 540 960 --cameras 3 --out bench/results/cameras_gpu.json

Only the network is timed, since everything else is done a picture at a time either way. With --torch the network runs
on the GPU in fp16 (random weights), batch by batch in one process: what batching can gain there at all.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from processes import machine


def batched(path: Path, pictures: int) -> bytes:
    """The graph for a batch of that many pictures."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = pictures
    sizes = {node.input[3] for node in model.graph.node if node.op_type == "Resize" and len(node.input) > 3}
    for constant in model.graph.initializer:
        if constant.name in sizes:
            size = numpy_helper.to_array(constant).copy()
            size[0] = pictures
            constant.CopyFrom(numpy_helper.from_array(size, constant.name))
    return bytes(model.SerializeToString())


def session(graph: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def pictures(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)


def times_ms(run: Callable[[], Any], seconds: float) -> list[float]:
    run()
    taken, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


def spread(taken: list[float], pictures_each: int) -> dict[str, float]:
    """Milliseconds until a picture's labels, and pictures a second."""
    p50, p99 = np.percentile(taken, (50, 99))
    rate = pictures_each * len(taken) / (sum(taken) / 1e3)
    return {"ms_p50": round(float(p50), 2), "ms_p99": round(float(p99), 2), "pictures_per_s": round(rate, 1)}


def memory_mib() -> dict[str, float]:
    """Resident memory of this process, and what of it is its own."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: int(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return {"rss": round(sizes["Rss"]), "own": round(sizes["Private_Clean"] + sizes["Private_Dirty"])}


def one_camera(arguments: argparse.Namespace, threads: int, ready: Any, results: Any) -> None:
    """A process that labels one camera's pictures."""
    graph = batched(arguments.model, 1)
    network = session(graph, threads)
    shape = tuple(network.get_inputs()[0].shape)
    picture = pictures(shape)
    network.run(None, {"image": picture})
    ready.wait()
    taken = times_ms(lambda: network.run(None, {"image": picture}), arguments.seconds)
    results.put((taken, memory_mib()))


def process_each(arguments: argparse.Namespace) -> dict[str, Any]:
    threads = max(1, (os.cpu_count() or 1) // arguments.cameras)
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(arguments.cameras), context.Queue()
    children = [
        context.Process(target=one_camera, args=(arguments, threads, ready, results)) for _ in range(arguments.cameras)
    ]
    for child in children:
        child.start()
    got = [results.get(timeout=arguments.seconds * 10 + 60) for _ in children]
    for child in children:
        child.join()
    rate = sum(spread(taken, 1)["pictures_per_s"] for taken, _ in got)
    together = spread([ms for taken, _ in got for ms in taken], 1) | {"pictures_per_s": round(rate, 1)}
    own = sum(memory["own"] for _, memory in got)
    return {"threads_each": threads, **together, "own_memory_mib": own}


def in_one_process(arguments: argparse.Namespace, batch: int, results: Any) -> None:
    network = session(batched(arguments.model, batch), os.cpu_count() or 1)
    height, width = network.get_inputs()[0].shape[2:]
    batches = [pictures((batch, 3, height, width)) for _ in range(arguments.cameras // batch)]
    taken = times_ms(lambda: [network.run(None, {"image": one}) for one in batches], arguments.seconds)
    results.put(spread(taken, arguments.cameras) | {"own_memory_mib": memory_mib()["own"]})


def alone(arguments: argparse.Namespace, batch: int) -> dict[str, Any]:
    """In a fresh process, so that memory is that of this way only."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    child = context.Process(target=in_one_process, args=(arguments, batch, results))
    child.start()
    got: dict[str, Any] = results.get(timeout=arguments.seconds * 10 + 60)
    child.join()
    return got


def on_gpu(arguments: argparse.Namespace) -> dict[str, Any]:
    """Batches of one to the number of cameras through the network in fp16, as CUDA graphs."""
    import torch

    from dannet_core.networks import build_dannet

    if not torch.cuda.is_available():
        raise SystemExit("cameras: --torch needs an NVIDIA GPU: leave it out to measure ONNX Runtime on the CPU")
    net = build_dannet(arguments.torch).cuda().half().eval().to(memory_format=torch.channels_last)
    ways = {}
    with torch.inference_mode():
        for batch in range(1, arguments.cameras + 1):
            image = torch.randn(batch, 3, *arguments.input_size, device="cuda", dtype=torch.half)
            image = image.contiguous(memory_format=torch.channels_last)
            ways[f"batch {batch}"] = spread(_gpu_times_ms(torch, net, image, arguments.seconds), batch)
    return {"gpu": torch.cuda.get_device_name(), "ways": ways}


def _gpu_times_ms(torch: Any, net: Any, image: Any, seconds: float) -> list[float]:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            net(image)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        net(image)

    def run() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return times_ms(run, seconds)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("dannet_core/models/demo.onnx"), help=".onnx with logits")
    parser.add_argument("--torch", choices=("pspnet", "deeplabv2", "refinenet", "lraspp"), help="on the GPU instead")
    parser.add_argument("--input-size", type=int, nargs=2, default=(540, 960), metavar=("H", "W"), help="with --torch")
    parser.add_argument("--cameras", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each way and round")
    parser.add_argument("--rounds", type=int, default=3, help="each way in turn, so many times; the median counts")
    parser.add_argument("--out", type=Path, default=Path("cameras.json"))
    return parser.parse_args()


def median_of(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: round(statistics.median(one[key] for one in rounds), 2) for key in rounds[0]}


def main() -> None:
    arguments = parse()
    facts = machine()
    if arguments.torch:
        measured = on_gpu(arguments)
    else:
        ways: dict[str, Callable[[], dict[str, Any]]] = {
            "a process for each camera": lambda: process_each(arguments),
            "one process, one after the other": lambda: alone(arguments, 1),
            "one process, one batch": lambda: alone(arguments, arguments.cameras),
        }
        rounds = [{name: way() for name, way in ways.items()} for _ in range(arguments.rounds)]
        measured = {"ways": {name: median_of([one[name] for one in rounds]) for name in ways}}
    settings = {"cameras": arguments.cameras, "model": arguments.torch or arguments.model.name}
    report = {"machine": facts, "settings": settings, **measured}
    print(json.dumps(report, indent=1))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
