"""Two gloo processes on the CPU are one process with the whole batch, where batch norm stands still."""

import json
import os
import socket
import subprocess
import sys

import pytest
import yaml

torch = pytest.importorskip("torch")

from dannet_core.errors import SettingsError  # noqa: E402 - after the skip
from dannet_core.settings import to_plain  # noqa: E402
from dannet_core.training.distributed import choose_device  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402


def curve(run_dir) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_s"} for line in lines]


@pytest.mark.slow
def test_two_processes_draw_the_loss_curve_of_one_with_the_whole_batch(tiny_run, tmp_path):
    common = {"optimiser__freeze_batch_norm": True, "optimiser__steps": 3, "optimiser__lr": 0.01}
    alone = tiny_run(run_dir=tmp_path / "alone", **common)
    run_training(alone, "train")
    both = tiny_run(run_dir=tmp_path / "both", **common)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(to_plain(both)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "dannet_core", "train", "--config", str(tmp_path / "c.yaml")]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    for one, two in zip(curve(alone.run_dir), curve(both.run_dir), strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert two[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(SettingsError, match="device: got 'quantum', expected auto, cpu, cuda or cuda:N"):
        choose_device("quantum")


def test_cudnn_tries_its_algorithms_where_training_runs_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    choose_device("cpu")
    assert not torch.backends.cudnn.benchmark
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert taken == [torch.device("cuda:1")]
    assert torch.backends.cudnn.benchmark
