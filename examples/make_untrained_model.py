"""Make a model file to try the machinery with: the light network with seeded random weights, which says so.

Batch norms get their running statistics from toy city frames, so that activations have a sane scale. No weight is
trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dannet_core.data.toy_city.render import render
from dannet_core.data.toy_city.world import World
from dannet_core.deploy.onnx_export import export_onnx
from dannet_core.errors import OutputError
from dannet_core.metadata import ModelMetadata
from dannet_core.networks import DANNet, build_dannet
from dannet_core.pixels import normalize
from dannet_core.settings import option, parse

ARCH, BACKBONE, RELIGHTING_WIDTH = "lraspp", "mobilenet_v3_large", 16


@dataclass(frozen=True)
class Settings:
    """Options of this script."""

    out: Path = option("file to write", Path("untrained.onnx"))
    seed: int = option("of the weights and of the toy frames", 0, limits=(0, 2**31 - 1))
    input_size: tuple[int, int] = option("height and width in pixels the network runs at", (288, 512))
    frames: int = option("toy frames for the batch norm statistics", 24, limits=(2, 1000))


def calibrate(net: DANNet, settings: Settings) -> None:
    """Set the running statistics of all batch norms to averages over toy night frames."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain average over the batches
    net.train()
    world, batch = World(settings.seed), 4
    with torch.no_grad():
        for start in range(0, settings.frames, batch):
            pictures = []
            for index in range(start, start + batch):
                rng = np.random.default_rng([settings.seed, index])
                rgb, _ = render(world, world.pose_at(1.7 * index), settings.input_size, True, rng)
                pictures.append(torch.from_numpy(normalize(rgb)))
            net(torch.cat(pictures))
    net.eval()


def run(settings: Settings) -> None:
    """Build, calibrate, export."""
    torch.manual_seed(settings.seed)
    net = build_dannet(ARCH, backbone=BACKBONE, relighting_width=RELIGHTING_WIDTH)
    calibrate(net, settings)
    metadata = ModelMetadata(
        arch=ARCH,
        backbone=BACKBONE,
        relighting_width=RELIGHTING_WIDTH,
        trained=False,
        source=f"untrained, seed {settings.seed}",
    )
    try:
        settings.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{settings.out.parent}: cannot write: {error.strerror}") from error
    path = export_onnx(net, metadata, settings.input_size, settings.out)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MB, {metadata.source}")


if __name__ == "__main__":
    import sys

    run(parse(Settings, sys.argv[1:], "make_untrained_model", "Writes the light model with random weights."))
