"""Fixtures that every test may use: pictures, a tiny real ONNX model, a device, the real data where it is found."""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_device import COMPILERS, HostDevice, HostKernels, HostNetwork, compile_kernels

from dannet_core.inference.backends.tensorrt import TensorRTBackend

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_DATA = REPOSITORY.parent / "shared" / "data"

# A shell script's background jobs ignore Ctrl-C, and so would the programs that the tests start to interrupt them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests begin first: of several processes none is left alone with one at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def night_rgb() -> np.ndarray:
    """A seeded 120 x 200 picture, dark to the left and coloured to the right, with a few bright lamps."""
    rng = np.random.default_rng(7)
    rgb = rng.integers(0, 40, (120, 200, 3), dtype=np.uint8)
    rgb[:, 100:] += np.array([150, 90, 20], np.uint8)
    for row, column in rng.integers(10, 110, (8, 2)):
        rgb[row - 3 : row + 3, column - 3 : column + 3] = 220
    return rgb


@pytest.fixture(scope="session")
def real_night_frame() -> Path:
    """The real Dark Zurich night frame, 1920 x 1080; skips where it is not found."""
    frames = sorted((REAL_DATA / "dark_zurich_pair").glob("rgb_anon/**/night/**/*_rgb_anon.png"))
    if not frames:
        pytest.skip(f"no real night frame under {REAL_DATA}")
    return frames[0]


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real `.onnx` in the deployed format: 8 x 8 average pooling and a 1 x 1 convolution, 64 x 96 pixels in."""
    return write_tiny_onnx(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="session")
def host_kernels(tmp_path_factory: pytest.TempPathFactory) -> HostKernels:
    """The CUDA kernels' arithmetic compiled for this machine's CPU; skips without a compiler."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        pytest.skip(f"no C++ compiler here, looked for {', '.join(COMPILERS)}: apt install g++")
    return compile_kernels(compiler, tmp_path_factory.mktemp("host"))


@pytest.fixture
def make_backend(host_kernels: HostKernels, tiny_onnx: Path) -> Callable[..., tuple[TensorRTBackend, HostDevice]]:
    """Makes a `TensorRTBackend` on the host device; gives both."""

    def make(
        seed: int = 0, kind: str = "float32", graphs: bool = True, model: Path = tiny_onnx, **device_options: Any
    ) -> tuple[TensorRTBackend, HostDevice]:
        device = HostDevice(host_kernels, seed, **device_options)
        network = HostNetwork(model, device, kind)
        return TensorRTBackend(device, network, network.metadata, "host", graphs=graphs), device

    return make


@pytest.fixture(scope="session")
def blind_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like `tiny_onnx`, but in the dark it divides 0 by 0: every logit of an almost black picture is NaN."""
    return write_tiny_onnx(tmp_path_factory.mktemp("model") / "blind.onnx", blind_in_the_dark=True)


def write_tiny_onnx(
    path: Path, size: tuple[int, int] = (64, 96), blind_in_the_dark: bool = False, **metadata: object
) -> Path:
    onnx = pytest.importorskip("onnx", reason="onnx builds the test model: pip install onnx")
    from onnx import TensorProto, helper, numpy_helper

    from dannet_core.metadata import ModelMetadata

    rng = np.random.default_rng(3)
    height, width = size
    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["pooled", "kernel", "bias"], ["stride_logits"]),
        helper.make_node("Add", ["image", "lift"], ["relit"]),
    ]
    if blind_in_the_dark:
        nodes[1] = helper.make_node("Conv", ["pooled", "kernel", "bias"], ["plain"])
        nodes += [
            helper.make_node("ReduceMax", ["image"], ["brightest"], keepdims=0),
            helper.make_node("Add", ["brightest", "threshold"], ["above"]),
            helper.make_node("Relu", ["above"], ["light"]),
            helper.make_node("Div", ["light", "light"], ["one"], name="attention/Div"),
            helper.make_node("Mul", ["plain", "one"], ["stride_logits"]),
        ]
    constants = {
        "threshold": np.full((1,), 1.5, np.float32),
        "kernel": rng.normal(0, 3, (19, 3, 1, 1)).astype(np.float32),
        "bias": rng.normal(0, 1, 19).astype(np.float32),
        "lift": np.full((1,), 0.5, np.float32),
    }
    stride_shape = [1, 19, height // 8, width // 8]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height, width])],
        [
            helper.make_tensor_value_info("stride_logits", TensorProto.FLOAT, stride_shape),
            helper.make_tensor_value_info("relit", TensorProto.FLOAT, [1, 3, height, width]),
        ],
        [numpy_helper.from_array(v, name) for name, v in constants.items() if blind_in_the_dark or name != "threshold"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    described = ModelMetadata("lraspp", "mobilenet_v3_large", input_size=size, source="test").replace(**metadata)
    helper.set_model_props(model, described.to_strings())
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="session", params=("lraspp", "fpn", "segformer"))
def foreign_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph as torchvision, segmentation_models_pytorch or transformers export it, 64 x 96, random weights."""
    pytest.importorskip("onnx", reason="onnx builds the test model: pip install onnx")
    from foreign_graphs import export_family

    return export_family(request.param, tmp_path_factory.mktemp("foreign") / f"{request.param}.onnx")


@pytest.fixture(scope="session")
def adopted_model(foreign_model: Path) -> Path:
    """The same, adopted."""
    from foreign_graphs import HEIGHT, WIDTH

    from dannet_core.deploy.adopt import AdoptOptions, adopt
    from dannet_core.deploy.adopt.picture_input import PictureOptions

    path = foreign_model.with_name(f"adopted_{foreign_model.name}")
    adopt(foreign_model, path, AdoptOptions(PictureOptions(size=(HEIGHT, WIDTH))))
    return path
