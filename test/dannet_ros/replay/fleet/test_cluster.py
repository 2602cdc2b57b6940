"""Many bags on a Ray cluster of two nodes of this machine: what processes give, to the bit, whoever is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dannet_ros.replay.__main__ import main

ray = pytest.importorskip("ray", reason="a cluster needs Ray: pip install ray")
pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    # What the nodes start imports this tree, wherever another one is installed, and reports to nobody.
    paths = [str(ROOT), *filter(None, [before.get("PYTHONPATH")])]
    os.environ.update(PYTHONPATH=os.pathsep.join(paths), RAY_USAGE_STATS_ENABLED="0")
    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=small)
    try:
        made.add_node(**{key: value for key, value in small.items() if key != "include_dashboard"})
        yield made
    finally:
        made.shutdown()
        os.environ.clear()
        os.environ.update(before)


def test_a_worker_of_the_cluster_killed_in_the_middle_changes_nothing(
    fleets, cluster: Any, tiny_onnx: Path, tmp_path: Path
) -> None:
    folder, out = fleets.write(tmp_path / "night", [3, 300, 3, 3]), tmp_path / "out"
    assert main(fleets.arguments([folder], tiny_onnx, tmp_path / "serial", "--jobs", "1")) == 0
    command = fleets.arguments([folder], tiny_onnx, out, "--ray", cluster.address)
    with fleets.started(command) as process:
        fleets.kill_worker(process, out, "drive_01")
        _, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors
    (line,) = [line for line in errors.splitlines() if "drive_01" in line]
    assert line.startswith("drive_01: its worker is gone: WorkerCrashedError: ")
    assert line.endswith(" (attempt 1 of 3): done again")
    content = fleets.summary(out)
    assert content["timing"]["attempts"]["drive_01"] == 2
    assert content["timing"]["workers"].startswith("2 at a time on ")
    assert fleets.timeless(out) == fleets.timeless(tmp_path / "serial")
    assert fleets.results(out) == fleets.results(tmp_path / "serial")
    assert fleets.half_done(out) == []


def test_relative_paths_and_failed_bags_are_those_of_where_it_was_started(
    fleets, cluster: Any, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = fleets.write(tmp_path / "night", [2, 2])
    next((folder / "drive_00").glob("*.mcap")).write_bytes(b"nothing")
    monkeypatch.chdir(tmp_path)
    command = fleets.arguments([Path("night")], tiny_onnx, Path("out"), "--write-bag", "none")
    assert main([*command, "--ray", cluster.address]) == 1
    rows = fleets.summary(tmp_path / "out")["bags"]
    assert [(row["path"], row["status"]) for row in rows] == [
        ("night/drive_00", "failed"),
        ("night/drive_01", "evaluated"),
    ]
    assert main([*command, "--ray", cluster.address]) == 1
    assert fleets.summary(tmp_path / "out")["timing"]["kept"] == ["drive_01"]


def test_ctrl_c_stops_the_tasks_of_the_cluster_and_leaves_nothing_half(
    fleets, cluster: Any, tiny_onnx: Path, tmp_path: Path
) -> None:
    folder, out = fleets.write(tmp_path / "night", [3, 400, 400]), tmp_path / "out"
    with fleets.started(fleets.arguments([folder], tiny_onnx, out, "--ray", cluster.address)) as process:
        while not (out / "bags" / "drive_00").exists() or not fleets.half_done(out):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert [path.name for path in (out / "bags").iterdir()] == ["drive_00"]
    content = fleets.summary(out)
    assert (content["interrupted"], content["bags_evaluated"]) == (True, 1)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--threads", "9"], "threads: got 9, expected at most 1, the CPUs of the cluster's largest machine"),
        (["--device", "cuda"], "device: got cuda, but no machine of the cluster has a GPU"),
        (["--device", "cuda:1"], "device: got cuda:1, expected auto, cpu or cuda"),
    ],
)
def test_what_the_cluster_has_not_is_one_line(
    fleets, cluster: Any, tiny_onnx: Path, tmp_path: Path, capsys: Any, more: list[str], said: str
) -> None:
    folder = fleets.write(tmp_path / "night", [1])
    command = fleets.arguments([folder], tiny_onnx, tmp_path / "out", "--ray", cluster.address, *more)
    assert main(command) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]


def test_no_cluster_there_is_one_line(fleets, tiny_onnx: Path, tmp_path: Path) -> None:
    folder = fleets.write(tmp_path / "night", [1])
    with fleets.started(fleets.arguments([folder], tiny_onnx, tmp_path / "out", "--ray", "127.0.0.1:1")) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert (
        errors.strip().splitlines()[-1].startswith("dannet_ros.replay evaluate_bag: ray: no cluster at 127.0.0.1:1: ")
    )


def test_a_machine_of_the_cluster_that_is_lost_changes_nothing(
    fleets, cluster: Any, tiny_onnx: Path, tmp_path: Path
) -> None:
    folder, out = fleets.write(tmp_path / "night", [400, 400]), tmp_path / "out"
    assert main(fleets.arguments([folder], tiny_onnx, tmp_path / "serial", "--jobs", "1")) == 0
    with fleets.started(fleets.arguments([folder], tiny_onnx, out, "--ray", cluster.address)) as process:
        while len(fleets.half_done(out)) < 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
        _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert "(attempt 1 of 3): done again" in errors
    assert sorted(fleets.summary(out)["timing"]["attempts"].values()) == [1, 2]
    assert fleets.timeless(out) == fleets.timeless(tmp_path / "serial")
    assert fleets.results(out) == fleets.results(tmp_path / "serial")
