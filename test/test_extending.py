"""docs/extending.md: a network, a data set and a backend take one file and one line each, shown on a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "dannet_core" / "models" / "demo.onnx"

pytestmark = pytest.mark.slow

NETWORK = """
import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Conv2d(3, num_classes, 8, stride=8)
        self.head.bias.data = 10.0 * torch.arange(num_classes)  # no two logits nearly equal: export compares labels

    def forward(self, x):
        return self.head(x), None


def build(backbone, num_classes, aspp_branches):
    return Tiny(num_classes)
"""

DATA_SET = """
from dannet_core.data.layout import DataSetLayout, SplitLayout
from dannet_core.data.sample import TRAIN_IDS

LAYOUT = DataSetLayout(
    "own-drive", {"test": SplitLayout("pictures", "", "labels", (("", TRAIN_IDS),))}, evaluation_split="test"
)
"""

BACKEND = """
import numpy as np
from dannet_core.inference.backends.backend import StrideOutput
from dannet_core.metadata import ModelMetadata


class Constant:
    name, fixed_input_size = "constant", None

    def __init__(self, path, device):
        self.device, self._train_id = device, int(path.read_text())
        self.metadata = ModelMetadata(arch="lraspp", backbone="mobilenet_v3_large", source=str(path))

    def infer(self, image, with_relit):
        logits = np.zeros((19, image.shape[2] // 8, image.shape[3] // 8), np.float32)
        logits[self._train_id] = 9
        return StrideOutput(logits, image[0] if with_relit else None)

    def close(self):
        pass


def open_file(path, device, threads):
    return Constant(path, "cpu")
"""


class Copy:
    """The packages somewhere else, to be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for package in ("dannet_core", "dannet_ros"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))

    def add(self, file: str, content: str, table: str, after: str, line: str) -> None:
        """One file, and one line below the line that holds ``after``."""
        (self.folder / file).write_text(content)
        path = self.folder / table
        lines = path.read_text().splitlines(keepends=True)
        (at,) = [number for number, one in enumerate(lines) if one.strip().startswith(after)]
        lines.insert(at + 1, line + "\n")
        path.write_text("".join(lines))

    def run(self, *arguments: str) -> str:
        """What Python prints; it must end well."""
        environment = os.environ | {"PYTHONPATH": str(self.folder)}
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_a_network_is_built_saved_loaded_and_offered_for_training(copy: Copy) -> None:
    pytest.importorskip("torch", reason="networks are PyTorch")
    table = "dannet_core/architectures.py"
    copy.add("dannet_core/networks/tiny.py", NETWORK, table, '"lraspp":', '        "tiny": ("none",),')
    script = """
import numpy, torch
from dannet_core import NightSegmenter
from dannet_core.metadata import ModelMetadata
from dannet_core.networks import build_dannet, save_weights
net = build_dannet("tiny", relighting_width=8).eval()
with torch.inference_mode():
    out = net(torch.zeros(1, 3, 72, 96))
assert out.logits.shape == (1, 19, 72, 96)
assert out.stride_logits.shape == (1, 19, 9, 12)
metadata = ModelMetadata(arch="tiny", backbone="none", relighting_width=8, source="a test")
save_weights(net, "tiny.safetensors", metadata)
with NightSegmenter.load("tiny.safetensors") as segmenter:
    assert segmenter.segment(numpy.zeros((72, 96, 3), numpy.uint8)).labels.shape == (72, 96)
"""
    copy.run("-c", script)
    size = ["--input-size", "72", "96"]
    copy.run("-m", "dannet_core", "export", "--model", "tiny.safetensors", "--out", "tiny.onnx", *size)
    assert "lraspp, tiny)" in " ".join(copy.run("-m", "dannet_core", "pretrain", "--help").split())


def test_a_data_set_is_evaluated(copy: Copy) -> None:
    table = "dannet_core/data/registry.py"
    copy.add("dannet_core/data/own_drive.py", DATA_SET, table, '"acdc",', '    "own_drive",')
    rng = np.random.default_rng(3)
    for name, picture in (
        ("pictures", rng.integers(0, 90, (96, 160, 3), dtype=np.uint8)),
        ("labels", rng.integers(0, 19, (96, 160), dtype=np.uint8)),
    ):
        (copy.folder / "drive" / name).mkdir(parents=True)
        assert cv2.imwrite(str(copy.folder / "drive" / name / "000.png"), picture)
    arguments = ["--model", str(MODEL), "--dataset", "own-drive", "--root", "drive", "--out", "results"]
    copy.run("-m", "dannet_core", "evaluate", *arguments)
    assert '"data_set": "own-drive"' in (copy.folder / "results" / "metrics.json").read_text()


def test_a_backend_is_chosen_by_its_suffix_and_by_the_node(copy: Copy) -> None:
    table = "dannet_core/inference/backends/selection.py"
    line = '        "constant": ".constant",'
    copy.add("dannet_core/inference/backends/constant.py", BACKEND, table, '"tensorrt": ".engine",', line)
    script = """
import numpy
from pathlib import Path
from dannet_core import NightSegmenter
from dannet_ros.parameters import specs
Path("night.constant").write_text("10")
for name, backend in (("night.constant", "auto"), ("night", "auto"), ("night", "constant")):
    with NightSegmenter.load(name, backend=backend) as segmenter:
        assert segmenter.backend_name == "constant"
        assert (segmenter.segment(numpy.zeros((80, 96, 3), numpy.uint8)).labels == 10).all()
assert specs()["backend"].problem("constant") is None
"""
    copy.run("-c", script)
