"""Every backend that runs here, side by side, and the released code's loop where a checkout of it is given.

    python bench/inference.py --arch pspnet --input-size 540 960 --backend pytorch onnxruntime --out results.json
    python bench/inference.py --arch pspnet --released ~/DANNet         # with the ratio to the released loop
    python bench/gpu.py                                                 # on a GPU, with much else

Weights are random and the same for all, with batch norm statistics of pictures, so that activations have a sane scale:
on a CPU vanishing ones cost many times as much. Models are exported and engines built once into --work. Each backend
is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
BACKBONES = {
    "pspnet": "resnet101",
    "deeplabv2": "resnet101",
    "refinenet": "resnet101",
    "efficientvit": "b0",
    "lraspp": "mobilenet_v3_large",
}
RELIGHTING_WIDTHS = {"efficientvit": 0, "lraspp": 16}
"""The others have the paper's 64."""
RELEASED_CLASSES = {"pspnet": "PSPNet", "deeplabv2": "Deeplab", "refinenet": "RefineNet"}
CAMERA_SIZE = (1080, 1920)
RELEASED_INPUT_SIZE = (540, 960)
SUFFIXES = {"tensorrt": ".engine", "pytorch": ".safetensors", "openvino": ".onnx", "onnxruntime": ".onnx"}


def dannet(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dannet_core", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def make_weights(arch: str, work: Path) -> Path:
    path = work / f"{arch}.safetensors"
    if not path.is_file():
        import torch

        from dannet_core.metadata import ModelMetadata
        from dannet_core.networks import build_dannet, save_weights

        torch.manual_seed(0)
        width = RELIGHTING_WIDTHS.get(arch, 64)
        branches = {"deeplabv2": 4}.get(arch, 0)
        net = build_dannet(arch, backbone=BACKBONES[arch], relighting_width=width)
        calibrate(net)
        described = ModelMetadata(
            arch,
            BACKBONES[arch],
            relighting_width=width,
            aspp_branches=branches,
            align_corners=net.align_corners,
            source="random weights, for timing",
        )
        save_weights(net, path, described)
    return path


def calibrate(net: Any) -> None:
    """Set the running statistics of all batch norms to averages over a few pictures."""
    import torch

    from dannet_core.deploy.benchmark import seeded_pictures
    from dannet_core.pixels import normalize

    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    pictures = torch.from_numpy(np.concatenate([normalize(rgb) for rgb in seeded_pictures((128, 256))]))
    net.train()
    with torch.no_grad():
        for pair in pictures.split(2):
            net(pair)
    net.eval()


def make_graph(arch: str, size: tuple[int, int], precision: str, work: Path) -> Path:
    """Exported without the label check of `dannet export`: random weights put classes too close together for it."""
    path = work / f"{arch}_{size[1]}x{size[0]}_{precision}.onnx"
    if not path.is_file():
        from dannet_core.deploy.onnx_export import export_onnx
        from dannet_core.networks import load_weights
        from dannet_core.networks.weights import load_metadata

        weights = make_weights(arch, work)
        export_onnx(load_weights(weights), load_metadata(weights), size, path, precision)
    return path


def graph_precision(backend: str, has_gpu: bool) -> str:
    """Half only for what runs on the GPU: a processor takes minutes for a frame of PSPNet in it."""
    if backend == "tensorrt":
        return "fp16"
    if backend != "onnxruntime" or not has_gpu:
        return "fp32"
    import onnxruntime

    return "fp16" if "CUDAExecutionProvider" in onnxruntime.get_available_providers() else "fp32"


def make_model(arch: str, size: tuple[int, int], backend: str, has_gpu: bool, work: Path) -> Path:
    if backend == "pytorch":
        return make_weights(arch, work)
    graph = make_graph(arch, size, graph_precision(backend, has_gpu), work)
    if backend in ("openvino", "onnxruntime"):
        return graph
    engine = graph.with_suffix(".engine")
    result = dannet("build_engine", "--model", graph, "--out", engine)
    if result.returncode != 0:
        raise RuntimeError(result.stderr.strip().splitlines()[-1])
    return engine


def measure(
    model: Path, size: tuple[int, int], backend: str, arguments: argparse.Namespace, out: Path
) -> dict[str, Any]:
    options = ["--camera-size", *CAMERA_SIZE, "--frames", arguments.frames, "--warm-up", arguments.warm_up]
    options += ["--threads", arguments.threads, "--device", arguments.device, "--backend", backend]
    if model.suffix == ".safetensors":
        options += ["--input-size", *size]
    if arguments.outputs:
        options += ["--outputs", *arguments.outputs]
    result = dannet("benchmark", "--model", model, *options, "--out", out)
    if result.returncode != 0 and not out.is_file():
        raise RuntimeError(result.stderr.strip().splitlines()[-1])
    record = json.loads(out.read_text())
    if record["failures"]:
        raise RuntimeError(next(iter(record["failures"].values())))
    return record["measurements"][0] | {"machine": record["machine"]}


def released_loop(arch: str, checkout: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The released evaluation's steps, in its order and precision, with its own network classes, without its files.

    Pillow resize, float32 networks, weights on the logits, 19 x 1080 x 1920 upsampled and carried to the CPU,
    transposed, argmax, colour palette; timed from the decoded picture to the label array.
    """
    import torch
    from PIL import Image
    from torchvision import transforms

    sys.path.insert(0, str(checkout))
    import network

    from dannet_core.classes import CITYSCAPES_CLASS_SHARES, reweighting_vector
    from dannet_core.deploy.benchmark import PICTURES, percentiles, seeded_pictures

    device = "cuda" if torch.cuda.is_available() and arguments.device != "cpu" else "cpu"
    torch.manual_seed(0)
    # Its weights are random here too, and its activations vanish; a trained network's do not.
    torch.set_flush_denormal(True)
    options = {"num_classes": 19} | ({"imagenet": False} if arch == "refinenet" else {})
    segmentation = getattr(network, RELEASED_CLASSES[arch])(**options).to(device).eval()
    relighting = network.LightNet().to(device).eval()
    prepare = transforms.Compose(
        [
            transforms.Resize(tuple(arguments.released_input_size)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    upsample = torch.nn.Upsample(size=CAMERA_SIZE, mode="bilinear", align_corners=True)
    weights = torch.from_numpy(reweighting_vector(CITYSCAPES_CLASS_SHARES, 0.16)).to(device)[:, None, None]
    pictures = [Image.fromarray(rgb) for rgb in seeded_pictures(CAMERA_SIZE)]
    latencies_ms = []
    frames = arguments.released_frames
    warm_up = min(arguments.warm_up, frames)
    for index in range(warm_up + frames):
        start_s = time.perf_counter()
        image = prepare(pictures[index % PICTURES])[None].to(device)
        with torch.no_grad():
            answer = segmentation(image + relighting(image))
        logits = answer[1] if isinstance(answer, tuple | list) else answer
        full = upsample(logits * weights).cpu().numpy()[0]
        np.asarray(np.argmax(full.transpose(1, 2, 0), axis=2), dtype=np.uint8)
        if index >= warm_up:
            latencies_ms.append((time.perf_counter() - start_s) * 1e3)
    sys.path.remove(str(checkout))
    return {
        "arch": arch,
        "device": device,
        "precision": "fp32",
        "input_size": arguments.released_input_size,
        "frames": frames,
        "latency_ms": percentiles(latencies_ms),
    }


def torch_operations(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """What the two kernels do, as torch operations on the same device: median ms."""
    try:
        import torch
    except ImportError:
        return None
    from dannet_core import preset
    from dannet_core.deploy.benchmark import seeded_pictures
    from dannet_core.inference.backends.torch_frame import TorchFrame
    from dannet_core.inference.camera_image import CameraImage
    from dannet_core.inference.frame import FrameRequest
    from dannet_core.metadata import ModelMetadata

    device = "cuda" if torch.cuda.is_available() and arguments.device != "cpu" else "cpu"
    frame = TorchFrame(ModelMetadata("pspnet", "resnet101"), device)
    request = FrameRequest(preset("paper"), (540, 960), frozenset(arguments.outputs))
    rgb = frame.upload(CameraImage.from_rgb(seeded_pictures(CAMERA_SIZE)[0]))
    logits = torch.randn(19, 68, 120, device=device)
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None

    def median_ms(work: Any) -> float:
        times = []
        for index in range(23):
            synchronize()
            start_s = time.perf_counter()
            work()
            synchronize()
            if index > 2:
                times.append((time.perf_counter() - start_s) * 1e3)
        return round(statistics.median(times), 3)

    with torch.inference_mode():
        return {
            "device": device,
            "preprocess_ms": median_ms(lambda: frame.preprocess(rgb, request)),
            "postprocess_ms": median_ms(lambda: frame.postprocess(logits, rgb, request)),
        }


def soak(model: Path, frames: int) -> dict[str, Any]:
    """GPU memory before and after many frames, and after closing."""
    from dannet_core import NightSegmenter
    from dannet_core.deploy.benchmark import PICTURES, seeded_pictures

    pictures = seeded_pictures(CAMERA_SIZE)
    with NightSegmenter.load(model) as segmenter:
        segmenter.warm_up(CAMERA_SIZE)
        before = segmenter.memory_mib()
        for index in range(frames):
            segmenter.segment(pictures[index % PICTURES], with_relit=False)
        return {"model": model.name, "frames": frames, "before_mib": before, "after_mib": segmenter.memory_mib()}


def run_backend(
    results: dict[str, Any], model: tuple[str, tuple[int, int], str], has_gpu: bool, arguments: argparse.Namespace
) -> None:
    arch, size, backend = model
    name = f"{arch} {size[1]}x{size[0]} {backend}"
    print(name, flush=True)
    try:
        path = make_model(arch, size, backend, has_gpu, arguments.work)
        one = measure(path, size, backend, arguments, arguments.work / f"{name.replace(' ', '_')}.json")
        results["machine"] = one.pop("machine")
        results["measurements"].append(one)
        print(f"  p50 {one['latency_ms']['p50']} ms, {one['frames_per_s']} frames/s", flush=True)
        if backend == "tensorrt" and arguments.soak:
            results["soak"].append(soak(path, arguments.soak))
    except Exception as error:  # noqa: BLE001 - what does not run here is a result too
        results["failures"][name] = str(error)
        print(f"  did not run: {error}", flush=True)


def run_released(results: dict[str, Any], arch: str, arguments: argparse.Namespace) -> None:
    print(f"{arch} released loop", flush=True)
    released = released_loop(arch, arguments.released, arguments)
    results["released"].append(released)
    print(f"  p50 {released['latency_ms']['p50']:.1f} ms", flush=True)
    for one in results["measurements"]:
        if one["arch"] == arch and list(one["input_size"]) == list(arguments.released_input_size):
            ratio = released["latency_ms"]["p50"] / one["latency_ms"]["p50"]
            results["ratios"][f"{arch} {one['backend']}"] = round(ratio, 2)


def run_all(arguments: argparse.Namespace, has_gpu: bool) -> dict[str, Any]:
    results: dict[str, Any] = {"measurements": [], "failures": {}, "released": [], "ratios": {}, "soak": []}
    sizes = [(height, width) for height, width in arguments.input_size]
    for arch in arguments.arch:
        for model in itertools.product([arch], sizes, arguments.backend):
            run_backend(results, model, has_gpu, arguments)
        if arguments.released is not None and arch in RELEASED_CLASSES:
            run_released(results, arch, arguments)
    results["torch_operations"] = torch_operations(arguments)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--input-size", nargs=2, type=int, action="append", metavar=("H", "W"))
    parser.add_argument("--backend", nargs="+", choices=SUFFIXES, default=list(SUFFIXES))
    parser.add_argument("--outputs", nargs="*", default=[], help="made beside the labels, e.g. color overlay")
    parser.add_argument("--released", type=Path, help="a checkout of the released code, for the ratio")
    parser.add_argument("--released-frames", type=int, default=20)
    parser.add_argument("--released-input-size", nargs=2, type=int, default=RELEASED_INPUT_SIZE, metavar=("H", "W"))
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--soak", type=int, default=0, help="frames after which memory is compared, TensorRT only")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("bench/work"), help="folder for models, kept between runs")
    parser.add_argument("--out", type=Path, default=Path("bench/results/inference.json"))
    arguments = parser.parse_args()
    arguments.input_size = arguments.input_size or [RELEASED_INPUT_SIZE]
    arguments.work = arguments.work.resolve()
    arguments.work.mkdir(parents=True, exist_ok=True)
    from dannet_core.inference.gpu import find_gpu

    results = run_all(arguments, find_gpu() is not None and arguments.device != "cpu")
    commit = ["git", "rev-parse", "--short", "HEAD"]
    results["commit"] = subprocess.run(commit, capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {arguments.out}; ratios to the released loop: {results['ratios'] or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
