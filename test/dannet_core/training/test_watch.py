"""The log of a run: each step once and in order, whatever ended the run before; a full disk is said in one line."""

import json

import pytest

pytest.importorskip("torch")

from dannet_core.cli.main import main
from dannet_core.errors import OutputError
from dannet_core.training.recipe import run_training
from dannet_core.training.watch import Watch


def logged(config):
    """The log's lines; each must be whole."""
    return [json.loads(line) for line in (config.run_dir / "metrics.jsonl").read_text().splitlines()]


def spoil(config, *steps):
    """As a run leaves its log that was killed after these steps, in the middle of the next one's line."""
    with (config.run_dir / "metrics.jsonl").open("a") as log:
        log.writelines(json.dumps({"step": step, "segmentation": 7.0}) + "\n" for step in steps)
        log.write('{"step": 9, "segm')


def test_a_resumed_run_logs_every_step_once(tiny_run, tmp_path):
    pytest.importorskip("tensorboard")
    whole = tiny_run(run_dir=tmp_path / "whole")
    run_training(whole, "pretrain")
    changes = {"run_dir": tmp_path / "killed", "watch__tensorboard": True}
    run_training(tiny_run(optimiser__steps=4, **changes), "pretrain")
    killed = tiny_run(**changes, resume=True)
    (killed.run_dir / "checkpoints" / "step_00000004.pt").unlink()
    spoil(killed)
    run_training(killed, "pretrain")
    without_rate = [
        [{name: value for name, value in line.items() if name != "images_per_s"} for line in logged(one)]
        for one in (whole, killed)
    ]
    assert without_rate[0] == without_rate[1]
    assert [line["step"] for line in logged(killed)] == [1, 2, 3, 4]
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = accumulators.EventAccumulator(str(killed.run_dir / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("segmentation")] == [1, 2, 3, 4]


def test_a_run_that_starts_anew_drops_the_log_of_one_killed_before_its_first_checkpoint(tiny_run):
    config = tiny_run()
    config.run_dir.mkdir()
    spoil(config, 1, 2, 3)
    run_training(config, "pretrain")
    assert [line["step"] for line in logged(config)] == [1, 2, 3, 4]
    assert all(line["segmentation"] != 7.0 for line in logged(config))


def test_a_log_that_cannot_be_written_ends_the_run_in_one_line(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    watch = Watch(tmp_path, (0, 4), 1, tensorboard=False)
    with pytest.raises(OutputError, match=r"metrics\.jsonl: cannot write: No space left on device$"):
        watch.record(1, {"segmentation": 1.0})
    watch.close()


def test_a_full_disk_is_one_line_and_exit_code_2(toy_root, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").symlink_to("/dev/full")
    words = ("--device", "cpu", "--data.workers", "0", "--model.arch", "lraspp", "--crop.source", "64", "64")
    data = ("--data.source", str(toy_root / "cityscapes"), "--run_dir", str(run), "--watch.log_every", "1")
    assert main(["pretrain", *words, *data, "--no-watch.tensorboard", "--optimiser.steps", "2"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"dannet pretrain: {run}/metrics.jsonl: cannot write: No space left on device"
    )
