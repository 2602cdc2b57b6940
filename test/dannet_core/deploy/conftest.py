"""Networks and frames for the export tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import dannet_core
from dannet_core.data.toy_city.render import render
from dannet_core.data.toy_city.world import World
from dannet_core.deploy.half_graph import to_half
from dannet_core.deploy.onnx_export import export_onnx
from dannet_core.metadata import ModelMetadata
from dannet_core.networks import DANNet, build_dannet

DEMO = Path(dannet_core.__file__).parent / "models" / "demo.onnx"
DEMO_SIZE = (288, 512)
"""That the shipped model is exported at."""
SIZE = (100, 132)
"""Gives PSPNet 13 x 17 features, which none of its pools divides."""


@pytest.fixture(scope="session")
def demo() -> Path:
    """The shipped model: EfficientViT-B0 at 288 x 512, trained, float32."""
    return DEMO


@pytest.fixture(scope="session")
def frames() -> list[np.ndarray]:
    return [np.random.default_rng(seed).standard_normal((1, 3, *SIZE)).astype(np.float32) for seed in (1, 2)]


@pytest.fixture(scope="session")
def make_net(frames):
    """Builds a seeded network whose batch norms have seen the frames, so that its logits have a real spread."""

    def make(metadata: ModelMetadata) -> DANNet:
        torch.manual_seed(12)
        net = build_dannet(
            metadata.arch,
            backbone=metadata.backbone,
            relighting_width=metadata.relighting_width,
            aspp_branches=metadata.aspp_branches,
        )
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        with torch.no_grad():
            for _ in range(2):
                net(torch.cat([torch.from_numpy(frame) for frame in frames]))
        return net.eval()

    return make


@pytest.fixture(scope="session")
def light_metadata() -> ModelMetadata:
    return ModelMetadata("lraspp", "mobilenet_v3_large", 16, source="random")


@pytest.fixture(scope="session")
def light_net(make_net, light_metadata) -> DANNet:
    return make_net(light_metadata)


@pytest.fixture(scope="session")
def light_fp32(light_net, light_metadata, tmp_path_factory) -> Path:
    return export_onnx(light_net, light_metadata, SIZE, tmp_path_factory.mktemp("fp32") / "light.onnx")


@pytest.fixture(scope="session")
def demo_fp16(tmp_path_factory) -> Path:
    """The shipped weights in half precision."""
    path = tmp_path_factory.mktemp("demo") / "demo_fp16.onnx"
    model = to_half(onnx.load(str(DEMO)))
    properties = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    described = ModelMetadata.from_strings(properties, str(DEMO)).replace(precision="fp16")
    onnx.helper.set_model_props(model, described.to_strings())
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="session")
def toy_nights() -> list[np.ndarray]:
    """Four pictures of the toy city, 288 x 512 x 3 uint8."""
    world = World(11)
    rng = np.random.default_rng(11)
    return [render(world, world.pose_at(7.0 * i), DEMO_SIZE, True, rng)[0] for i in range(4)]
