"""Count the nodes of exported graphs beside those of a plain torch export, and build an engine of each.

    python bench/export_graphs.py --out bench/results/export_graphs.json

Weights are random: neither node counts nor build times depend on them. A plain export of PSPNet takes half a minute.
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

from dannet_core.atomic_files import write_whole
from dannet_core.deploy.engine_build import BuildOptions, build_engine
from dannet_core.deploy.onnx_export import DEFAULT_OPSET, DeployedGraph, export_onnx
from dannet_core.errors import DannetError
from dannet_core.metadata import ModelMetadata
from dannet_core.networks import DANNet, build_dannet
from dannet_core.settings import option, parse

MODELS = {
    "pspnet": ("resnet101", 64, 0),
    "deeplabv2": ("resnet101", 64, 4),
    "refinenet": ("resnet101", 64, 0),
    "lraspp": ("mobilenet_v3_large", 16, 0),
}


@dataclass(frozen=True)
class Settings:
    """Options of this script."""

    out: Path = option("JSON to write")
    arch: list[str] = option("architectures", list(MODELS), choices=tuple(MODELS))
    size: list[str] = option("input sizes, HEIGHTxWIDTH", ["540x960", "512x1024"])
    plain: bool = option("also export plainly, for the comparison", True)


def plain_nodes(net: DANNet, size: tuple[int, int]) -> int:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        image = (torch.zeros(1, 3, *size),)
        program: Any = torch.onnx.export(
            DeployedGraph(net).eval(), image, dynamo=True, opset_version=DEFAULT_OPSET, verbose=False
        )
    return len(program.model_proto.graph.node)


def measure(arch: str, size: tuple[int, int], plain: bool) -> dict[str, Any]:
    backbone, width, branches = MODELS[arch]
    torch.manual_seed(0)
    net = build_dannet(arch, backbone=backbone, relighting_width=width).eval()
    metadata = ModelMetadata(arch, backbone, width, branches, source="random")
    figures: dict[str, Any] = {"arch": arch, "backbone": backbone, "size": list(size)}
    if plain:
        figures["nodes_plain"] = plain_nodes(net, size)
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("fp32", "fp16"):
            path = Path(folder) / f"{arch}_{precision}.onnx"
            start = time.perf_counter()
            export_onnx(net, metadata, size, path, precision)
            figures[f"export_{precision}_s"] = round(time.perf_counter() - start, 1)
            figures[f"nodes_{precision}"] = len(onnx.load(str(path)).graph.node)
            figures[f"onnx_{precision}_mb"] = round(path.stat().st_size / 1e6, 1)
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
            results.append(measure(arch, (height, width), settings.plain))
            print(results[-1], flush=True)
    record = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__, "results": results}
    write_whole(settings.out, (json.dumps(record, indent=2) + "\n").encode())


if __name__ == "__main__":
    import sys

    main(parse(Settings, sys.argv[1:], "export_graphs.py", __doc__ or ""))
