import os
import signal
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from dannet_core.errors import ModelFileError  # noqa: E402 - after the skip
from dannet_core.training.checkpoint import Checkpoints, read_checkpoint  # noqa: E402


def test_keeps_the_newest_and_reads_back_what_was_saved(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    assert checkpoints.newest() is None
    for step in (1, 2, 3):
        checkpoints.save(step, {"net": {"w": torch.full((2,), float(step))}, "best": -1.0})
    assert [path.name for path in checkpoints.paths()] == ["step_00000002.pt", "step_00000003.pt"]
    state = read_checkpoint(checkpoints.newest())
    assert state["step"] == 3
    assert state["net"]["w"].tolist() == [3.0, 3.0]


def test_refuses_a_pickle_with_code_without_running_it(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"format_version": 1, "step": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ModelFileError, match=r"evil\.pt: not a readable checkpoint") as error:
        read_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()
    assert "\n" not in str(error.value)


def test_names_a_truncated_missing_or_foreign_file(tmp_path):
    path = Checkpoints(tmp_path, keep=1).save(1, {"w": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ModelFileError, match="resume from an older one"):
        read_checkpoint(path)
    with pytest.raises(ModelFileError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "absent.pt")
    torch.save({"w": 1}, tmp_path / "foreign.pt")
    with pytest.raises(ModelFileError, match="got checkpoint version None, expected 1"):
        read_checkpoint(tmp_path / "foreign.pt")


WRITER = """
import sys, torch
from pathlib import Path
from dannet_core.training.checkpoint import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]), keep=2)
for step in range(1, 100000):
    checkpoints.save(step, {"w": torch.full((500_000,), float(step))})
    if step == 2:
        print("ready", flush=True)
"""


@pytest.mark.parametrize("delay_ms", [0, 3, 7, 13])
def test_kill_9_at_any_moment_leaves_a_loadable_checkpoint(tmp_path, delay_ms):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    try:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.05 + delay_ms / 1e3)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=300)
        process.stdout.close()
    state = read_checkpoint(Checkpoints(tmp_path, keep=2).newest())
    assert (state["w"] == float(state["step"])).all()
