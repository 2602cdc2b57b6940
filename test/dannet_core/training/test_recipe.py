import json
import os
import signal
import subprocess
import sys

import pytest
import yaml

torch = pytest.importorskip("torch")

from dannet_core.errors import SettingsError, TrainingError  # noqa: E402 - after the skip
from dannet_core.networks.weights import load_metadata, load_weights  # noqa: E402
from dannet_core.settings import to_plain  # noqa: E402
from dannet_core.training import recipe  # noqa: E402
from dannet_core.training.checkpoint import read_checkpoint  # noqa: E402
from dannet_core.training.panels import PANEL_HEIGHT  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402


def losses_of(run_dir) -> dict[int, dict[str, float]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: {k: v for k, v in line.items() if k not in ("step", "images_per_s")} for line in lines}


def test_a_run_leaves_models_log_and_configuration(tiny_run):
    config = tiny_run(watch__validation="dark-zurich")
    last = run_training(config, "train")
    run = config.run_dir
    assert last == run / "last.safetensors"
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "best.safetensors", "last.safetensors", "checkpoints"} <= names
    assert {"last.discriminator_day.safetensors", "last.discriminator_night.safetensors"} <= names
    assert set(losses_of(run)) == {1, 2, 3, 4}
    metadata = load_metadata(run / "best.safetensors")
    assert metadata.trained
    assert 0 <= metadata.metrics["dark_zurich_miou_present"] <= 1
    assert load_metadata(last).metrics == metadata.metrics  # evaluated after the last step only
    assert "4 steps of batch 2, lr 0.00025, preset paper, seed 0" in load_metadata(last).source
    assert yaml.safe_load((run / "config.yaml").read_text())["preset"] == "paper"
    assert load_weights(last).relighting is not None


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(tiny_run, tmp_path):
    whole = tiny_run(run_dir=tmp_path / "whole")
    run_training(whole, "train")
    half = tiny_run(run_dir=tmp_path / "half")
    stopped = recipe.Run(half, "train", recipe.Processes(0, 1, torch.device("cpu")))
    stopped_after = []

    class StopAfterTwo(recipe.Checkpoints):
        def save(self, step, state):
            path = super().save(step, state)
            stopped_after.append(step)
            if step == 2:
                raise KeyboardInterrupt
            return path

    stopped._checkpoints = StopAfterTwo(half.run_dir / "checkpoints", 2)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    assert stopped_after == [2]
    run_training(tiny_run(run_dir=tmp_path / "half", resume=True), "train")
    first, second = (read_checkpoint(r.run_dir / "checkpoints" / "step_00000004.pt") for r in (whole, half))
    for part in ("net", "discriminators", "optimisers", "rng"):
        torch.testing.assert_close(first[part], second[part], rtol=0, atol=0)
    assert losses_of(whole.run_dir) == losses_of(half.run_dir)


def test_refuses_to_overwrite_a_run_and_to_resume_with_other_settings(tiny_run):
    config = tiny_run(optimiser__steps=1, watch__checkpoint_every=1)
    run_training(config, "pretrain")
    with pytest.raises(SettingsError, match="holds a run already: add --resume"):
        run_training(config, "pretrain")
    with pytest.raises(SettingsError, match=r"optimiser.lr: got 0.5, but the run to resume has 0.00025"):
        run_training(tiny_run(optimiser__steps=1, optimiser__lr=0.5, resume=True), "pretrain")


def test_resuming_nothing_is_an_error(tiny_run):
    with pytest.raises(SettingsError, match="holds no checkpoint"):
        run_training(tiny_run(resume=True), "train")


def test_a_loss_that_is_not_finite_stops_with_step_term_and_files(tiny_run):
    config = tiny_run(optimiser__lr=1e30, watch__checkpoint_every=1)
    with pytest.raises(TrainingError, match=r"step [234]: loss '\w+' is (nan|inf) on .*toycity") as error:
        run_training(config, "train")
    assert "\n" not in str(error.value)
    for path in (config.run_dir / "checkpoints").glob("*.pt"):
        weights = read_checkpoint(path)["step"]
        assert weights < int(str(error.value).split()[1].rstrip(":"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data__target": None}, "data.target is required"),
        ({"optimiser__batch_size": 3, "optimiser__accumulate": 2}, "batch_size: got 3, expected a multiple of 2"),
        ({"data__source": "absent"}, "absent"),
        ({"watch__validation": "acdc-night"}, "validation_root is required"),
        ({"model__backbone": "resnet18"}, "backbone: got 'resnet18'"),
        ({"device": "cuda:99"}, "device: got 'cuda:99'"),
    ],
)
def test_what_is_wrong_is_named_before_the_first_step(tiny_run, changes, said):
    config = tiny_run(**changes)
    with pytest.raises(Exception, match=said) as error:
        run_training(config, "train")
    assert "\n" not in str(error.value)
    assert not (config.run_dir / "checkpoints").exists()


@pytest.mark.slow
def test_starts_from_a_source_only_model(tiny_run, tmp_path):
    source_only = run_training(tiny_run(run_dir=tmp_path / "pre", optimiser__steps=1), "pretrain")
    assert load_metadata(source_only).relighting_width == 0
    config = tiny_run(init=source_only, optimiser__steps=1, optimiser__lr=0.0)
    adapted = load_weights(run_training(config, "train"))
    expected = load_weights(source_only).segmentation
    torch.testing.assert_close(dict(adapted.segmentation.named_parameters()), dict(expected.named_parameters()))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_exits_cleanly_and_the_run_continues(tiny_run, tmp_path, number):
    config = tiny_run(optimiser__steps=500, data__workers=1)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(to_plain(config)))
    process = subprocess.Popen(
        [sys.executable, "-m", "dannet_core", "train", "--config", str(tmp_path / "c.yaml")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    log = config.run_dir / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 2):
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "continue with --resume" in out + err
    newest = max((config.run_dir / "checkpoints").glob("*.pt"))
    assert read_checkpoint(newest)["step"] >= 2


@pytest.mark.parametrize(("mode", "rows"), [("train", 3), ("pretrain", 1)])
def test_tensorboard_gets_every_loss_and_panels(tiny_run, mode, rows):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = tiny_run(optimiser__steps=2, watch__tensorboard=True, watch__panels_every=2)
    run_training(config, mode)
    board = accumulators.EventAccumulator(str(config.run_dir / "tensorboard")).Reload()
    log = [json.loads(line) for line in (config.run_dir / "metrics.jsonl").read_text().splitlines()]
    assert set(board.Tags()["scalars"]) == {name for line in log for name in line} - {"step"}
    assert [(event.step, round(event.value, 4)) for event in board.Scalars("segmentation")] == [
        (line["step"], round(line["segmentation"], 4)) for line in log if "segmentation" in line
    ]
    (picture,) = board.Images("step")
    assert (picture.step, picture.height) == (2, rows * PANEL_HEIGHT)
