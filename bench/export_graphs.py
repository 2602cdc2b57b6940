"""Count the nodes of exported graphs beside those of a plain torch export, and build an engine of each.

    python bench/export_graphs.py --out bench/results/export_graphs.json
    python bench/export_graphs.py --frames night1.png night2.png --no-plain --out parity.json     # and compare labels

Weights are random: neither node counts nor build times depend on them. A plain export of PSPNet takes half a minute.
For the comparison of labels batch norms first see pictures, so that random layers give logits with a spread.
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from inference import calibrate

from dannet_core.atomic_files import write_whole
from dannet_core.deploy.engine_build import BuildOptions, build_engine
from dannet_core.deploy.onnx_export import DEFAULT_OPSET, DeployedGraph, export_onnx
from dannet_core.deploy.parity import check_parity
from dannet_core.errors import DannetError
from dannet_core.inference.preprocess import preprocess
from dannet_core.metadata import ModelMetadata
from dannet_core.networks import DANNet, build_dannet
from dannet_core.pixels import read_rgb
from dannet_core.settings import option, parse

MODELS = {
    "pspnet": ("resnet101", 64, 0),
    "deeplabv2": ("resnet101", 64, 4),
    "refinenet": ("resnet101", 64, 0),
    "efficientvit": ("b0", 0, 0),
    "lraspp": ("mobilenet_v3_large", 16, 0),
}


@dataclass(frozen=True)
class Settings:
    """Options of this script."""

    out: Path = option("JSON to write")
    arch: list[str] = option("architectures", list(MODELS), choices=tuple(MODELS))
    size: list[str] = option("input sizes, HEIGHTxWIDTH", ["540x960", "512x1024"])
    plain: bool = option("also export plainly, for the comparison", True)
    frames: list[Path] = option("also compare the fp32 graph's labels with PyTorch's on these pictures", [])


def plain_nodes(net: DANNet, size: tuple[int, int]) -> int:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        image = (torch.zeros(1, 3, *size),)
        program: Any = torch.onnx.export(
            DeployedGraph(net).eval(), image, dynamo=True, opset_version=DEFAULT_OPSET, verbose=False
        )
    return len(program.model_proto.graph.node)


def parity(net: DANNet, path: Path, size: tuple[int, int], pictures: list[Path]) -> dict[str, Any]:
    frames = [preprocess(read_rgb(picture), size) for picture in pictures]
    with torch.inference_mode():
        classes = [net.at_stride(torch.from_numpy(frame))[1].argmax(1).unique().tolist() for frame in frames]
    seen = sorted(set().union(*classes))
    agreement = check_parity(net, path, frames).label_agreement
    return {"fp32_labels_agree": agreement, "parity_frames": len(frames), "parity_classes": len(seen)}


def measure(arch: str, size: tuple[int, int], settings: Settings) -> dict[str, Any]:
    backbone, width, branches = MODELS[arch]
    torch.manual_seed(0)
    net = build_dannet(arch, backbone=backbone, relighting_width=width).eval()
    metadata = ModelMetadata(arch, backbone, width, branches, align_corners=net.align_corners, source="random")
    figures: dict[str, Any] = {"arch": arch, "backbone": backbone, "size": list(size)}
    if settings.frames:
        calibrate(net)
    if settings.plain:
        figures["nodes_plain"] = plain_nodes(net, size)
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("fp32", "fp16"):
            path = Path(folder) / f"{arch}_{precision}.onnx"
            start = time.perf_counter()
            export_onnx(net, metadata, size, path, precision)
            figures[f"export_{precision}_s"] = round(time.perf_counter() - start, 1)
            figures[f"nodes_{precision}"] = len(onnx.load(str(path)).graph.node)
            figures[f"onnx_{precision}_mb"] = round(path.stat().st_size / 1e6, 1)
            if precision == "fp32" and settings.frames:
                figures |= parity(net, path, size, settings.frames)
        try:
            built = build_engine(path, path.with_suffix(".engine"), BuildOptions(flavour="tensorrt_rtx"))
        except DannetError as error:
            figures["engine"] = str(error)
        else:
            figures["engine"] = f"{built.info.flavour} {built.info.flavour_version}"
            figures |= {"engine_s": round(built.seconds, 1), "engine_mb": round(built.info.plan_bytes / 1e6, 1)}
            figures["used_again"] = not build_engine(path, built.path, BuildOptions(flavour="tensorrt_rtx")).built
    return figures


def main(settings: Settings) -> None:
    results = []
    for arch in settings.arch:
        for text in settings.size:
            height, width = (int(side) for side in text.split("x"))
            results.append(measure(arch, (height, width), settings))
            print(results[-1], flush=True)
    record = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__, "results": results}
    write_whole(settings.out, (json.dumps(record, indent=2) + "\n").encode())


if __name__ == "__main__":
    import sys

    main(parse(Settings, sys.argv[1:], "export_graphs.py", __doc__ or ""))
