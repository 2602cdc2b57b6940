import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dannet_core.cli.main import main
from dannet_core.pixels import write_png


def write_root(root, folder: str, label_folder: str, names: tuple[str, str], count: int = 2):
    rng = np.random.default_rng(1)
    for index in range(count):
        image, label = (root / folder / f"{index}{names[0]}", root / label_folder / f"{index}{names[1]}")
        image.parent.mkdir(parents=True, exist_ok=True)
        label.parent.mkdir(parents=True, exist_ok=True)
        write_png(image, rng.integers(0, 256, (80, 120, 3), dtype=np.uint8))
        write_png(label, rng.integers(0, 19, (80, 120), dtype=np.uint8))
    return root


@pytest.fixture
def roots(tmp_path):
    """A labelled night of Dark Zurich and one of Nighttime Driving."""
    zurich = ("rgb_anon/val/night/S", "gt/val/night/S", ("_rgb_anon.png", "_gt_labelTrainIds.png"))
    driving = (
        "leftImg8bit/test/night", "gtCoarse_daytime_trainvaltest/test/night",
        ("_leftImg8bit.png", "_gtCoarse_labelTrainIds.png"),
    )  # fmt: skip
    return write_root(tmp_path / "zurich", *zurich), write_root(tmp_path / "driving", *driving)


def run(*argv: object) -> int:
    return main(["evaluate", *map(str, argv)])


def test_one_data_set(tiny_onnx, roots, tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        run("--model", tiny_onnx, "--dataset", "dark-zurich", "--root", roots[0], "--split", "val", "--out", out) == 0
    )
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["images"] == 2
    assert 0 < metrics["miou_present"] < 0.2
    assert len(metrics["iou"]) == 19
    printed = capsys.readouterr().out
    assert f"wrote {out / 'metrics.json'}" in printed
    assert "untrained weights: these figures mean nothing" in printed
    assert "std_sweep" not in metrics


def test_several_data_sets_with_a_preset_and_the_sweep(tiny_onnx, roots, tmp_path, capsys):
    out = tmp_path / "out"
    names = ("--dataset", "dark-zurich", "nighttime-driving", "--root", *roots)
    assert run("--model", tiny_onnx, *names, "--out", out, "--reweight-std", "0.1", "--std-sweep", "--worst", "1") == 0
    metrics = json.loads((out / "metrics.json").read_text())["data_sets"]
    assert [one["split"] for one in metrics.values()] == ["val", "test"]
    assert metrics["dark-zurich"]["model"]["settings"]["reweight_std"] == 0.1
    assert len(metrics["nighttime-driving"]["std_sweep"]) == 9
    assert (out / "nighttime-driving" / "worst_1.png").is_file()
    assert "| | dark-zurich | nighttime-driving |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--dataset", "dark-zurich", "--root", "{zurich}", "{driving}"), "1 data sets, 2 root folders and 0 splits"),
        (("--dataset", "dark-zurich", "--root", "absent"), "absent: no such folder"),
        (("--dataset", "dark-zurch", "--root", "{zurich}"), "dataset: got 'dark-zurch', expected one of cityscapes"),
        (
            ("--dataset", "nighttime-driving", "--root", "{driving}", "--split", "val"),
            "got split 'val', expected one of",
        ),
        (("--dataset", "dark-zurich", "--root", "{zurich}", "--labels", "label_ids"), "no label, expected names like"),
        (
            ("--dataset", "dark-zurich", "--root", "{zurich}", "--model", "absent.onnx"),
            "absent.onnx: no such model file",
        ),
        (("--dataset", "dark-zurich", "--root", "{zurich}", "--out", "{model}"), "cannot write the report there"),
        (("--dataset", "dark-zurich", "--root", "{zurich}", "--preset", "official"), "input_size: got (540, 960)"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tiny_onnx, roots, tmp_path, capsys, argv, said):
    places = {"zurich": roots[0], "driving": roots[1], "model": tiny_onnx}
    words = ["--model", str(tiny_onnx), "--out", str(tmp_path / "out"), *(word.format(**places) for word in argv)]
    assert run(*words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("dannet evaluate: ")
    assert said in lines[0]


def test_ctrl_c_leaves_no_report(tiny_onnx, tmp_path):
    zurich = ("rgb_anon/val/night/S", "gt/val/night/S", ("_rgb_anon.png", "_gt_labelTrainIds.png"))
    root, out = write_root(tmp_path / "zurich", *zurich, count=1), tmp_path / "out"
    image, label = next(root.rglob("*_rgb_anon.png")), next(root.rglob("*_gt_labelTrainIds.png"))
    for index in range(1, 3000):
        os.link(image, image.with_name(f"{index}_rgb_anon.png"))
        os.link(label, label.with_name(f"{index}_gt_labelTrainIds.png"))
    command = [sys.executable, "-m", "dannet_core", "evaluate", "--model", str(tiny_onnx), "--dataset", "dark-zurich"]
    process = subprocess.Popen(
        [*command, "--root", str(root), "--out", str(out), "--std-sweep"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not out.is_dir() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert errors.strip().splitlines()[-1] == "dannet evaluate: interrupted"
    assert list(out.iterdir()) == []
