"""Runs whose data stops coming, and runs that are told to stop while they wait or evaluate."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch")

from dannet_core.data import workers  # noqa: E402 - after the skip
from dannet_core.errors import TrainingError  # noqa: E402
from dannet_core.settings import to_plain  # noqa: E402
from dannet_core.training import feed, recipe, run_parts  # noqa: E402
from dannet_core.training.checkpoint import read_checkpoint  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402
from dannet_core.training.stopping import Stop, StopRequested, stop_on_signals  # noqa: E402


def newest_step(config) -> int:
    return read_checkpoint(max((config.run_dir / "checkpoints").glob("*.pt")))["step"]


@pytest.fixture
def after_step(monkeypatch):
    """Makes a run call ``function(step)`` after each finished step."""

    def install(function):
        original = recipe.Run._after_step

        def wrapped(self, step, *rest):
            stopped = original(self, step, *rest)
            function(step)
            return stopped

        monkeypatch.setattr(recipe.Run, "_after_step", wrapped)

    return install


def my_workers() -> list[int]:
    """Processes whose parent this one is."""
    own, found = os.getpid(), []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(status.read_text().rsplit(")", 1)[1].split()[1]) == own:
                found.append(int(status.parent.name))
        except OSError:
            continue
    return found


def test_a_worker_that_is_killed_ends_the_run_with_its_reason_and_a_checkpoint(tiny_run, after_step):
    config = tiny_run(optimiser__steps=50, data__workers=2, watch__checkpoint_every=0)
    after_step(lambda step: [os.kill(pid, signal.SIGKILL) for pid in my_workers()] if step == 2 else None)
    start = time.monotonic()
    with pytest.raises(TrainingError, match=r"data worker \d of 2 .* was killed by SIGKILL") as caught:
        run_training(config, "pretrain")
    assert time.monotonic() - start < 300
    step = newest_step(config)
    assert step >= 2
    assert str(caught.value).endswith(f"(saved after step {step}: continue with --resume)")
    assert "\n" not in str(caught.value)
    assert my_workers() == []
    run_training(
        tiny_run(optimiser__steps=50, data__workers=0, watch__checkpoint_every=0, resume=True, device="cpu"), "pretrain"
    )
    assert newest_step(config) == 50


@pytest.fixture
def hanging(monkeypatch):
    """From the third step on, no sample is ever decoded; gives the file that tells when it hangs."""

    def install(folder):
        mark = folder / "hangs"
        original = feed.source_samples

        def samples(given):
            decoded = original(given)
            plain, count = decoded._decode, iter(range(10**6))

            def decode(index):
                if next(count) >= 4:
                    mark.touch()
                    time.sleep(3600)
                return plain(index)

            decoded._decode = decode
            return decoded

        monkeypatch.setattr(feed, "source_samples", samples)
        return mark

    return install


def test_a_worker_that_hangs_ends_the_run_with_its_reason_and_a_checkpoint(tiny_run, hanging, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "HANG_S", 2.0)
    hanging(tmp_path)
    config = tiny_run(optimiser__steps=9, data__workers=1, watch__checkpoint_every=0)
    with pytest.raises(TrainingError, match=r"data worker 1 of 1 .* has decoded nothing for 2 s.*saved after step 2"):
        run_training(config, "pretrain")
    assert newest_step(config) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("count", [0, 1])
def test_the_first_signal_is_obeyed_while_a_batch_is_waited_for(tiny_run, hanging, tmp_path, number, count):
    mark = hanging(tmp_path)
    config = tiny_run(optimiser__steps=9, data__workers=count, watch__checkpoint_every=0)
    script = "import os, signal, sys, time\nwhile not (os.path.exists(sys.argv[1]) and os.path.exists(sys.argv[4])"
    script += " and open(sys.argv[4]).read().count('\\n') >= 2): time.sleep(0.05)\ntime.sleep(0.5)\n"
    script += "os.kill(int(sys.argv[2]), int(sys.argv[3]))"
    log = config.run_dir / "metrics.jsonl"
    killer = subprocess.Popen([sys.executable, "-c", script, str(mark), str(os.getpid()), str(int(number)), str(log)])
    start = time.monotonic()
    run_training(config, "pretrain")
    assert time.monotonic() - start < 300
    assert killer.wait(timeout=60) == 0
    assert newest_step(config) == 2
    assert my_workers() == []


def test_a_signal_before_the_first_step_leaves_nothing_to_resume(tiny_run, monkeypatch):
    config = tiny_run(optimiser__steps=9)

    def decode(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(3600)

    monkeypatch.setattr(feed.Cropper, "__call__", decode)
    with pytest.raises(KeyboardInterrupt):
        run_training(config, "pretrain")
    assert not (config.run_dir / "checkpoints").exists()


def test_an_evaluation_is_given_up_for_a_signal_and_made_up_for_on_resume(tiny_run, tmp_path, monkeypatch):
    changes = {"watch__validation": "dark-zurich", "watch__evaluate_every": 2, "watch__checkpoint_every": 0}
    whole = tiny_run(run_dir=tmp_path / "whole", **changes)
    run_training(whole, "pretrain")
    original, calls = run_parts.evaluate, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(3600)
        return original(*arguments, **options)

    monkeypatch.setattr(run_parts, "evaluate", interrupted)
    half = tiny_run(run_dir=tmp_path / "half", **changes)
    run_training(half, "pretrain")
    assert newest_step(half) == 2
    assert not (half.run_dir / "best.safetensors").exists()
    run_training(tiny_run(run_dir=tmp_path / "half", resume=True, **changes), "pretrain")
    scores = [
        [
            line
            for line in map(json.loads, (run.run_dir / "metrics.jsonl").read_text().splitlines())
            if "miou_19" in line
        ]
        for run in (whole, half)
    ]
    assert scores[0] == scores[1]
    assert [line["step"] for line in scores[1]] == [2, 4]


def test_a_stop_is_remembered_until_it_may_interrupt():
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        with pytest.raises(StopRequested), stop.may_interrupt():
            raise AssertionError("not entered")
        with stop.may_interrupt(allowed=False):
            pass
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_second_interrupt_is_not_held_back():
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_interrupts_outside_the_blocks_that_allow_it():
    stop = Stop()
    with pytest.raises(StopRequested), stop.may_interrupt():
        stop.request()
    stop.request()


def test_sigterm_while_the_data_is_read_at_the_start_ends_at_once(tiny_run, tmp_path):
    config = tiny_run()
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(to_plain(config)))
    script = (
        "import os, signal, sys, time\nfrom dannet_core.training import recipe\n"
        "def slow(*_):\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(3600)\n"
        "recipe.open_feed = slow\nfrom dannet_core.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "pretrain", "--config", str(tmp_path / "c.yaml")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.strip()) == (130, "dannet pretrain: interrupted")
